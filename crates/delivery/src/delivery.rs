//! Delivery as the binary and the doors see it.

use crate::{
    backlog, conclude, dispatch::dispatch, lanes, metrics, options::DeliveryParts, shared::Shared, submit,
    sweep,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use xebec_core::{
    Body, Error, InvocationId, Tenant,
    message::{Receipt, Submission},
    ports::{
        deliveries::Deliveries,
        queue::{Entry, EntryPage, EntryQuery, EntryState, LaneStats, Place, Selection},
    },
};

/// How long what was stopped may take to be handed back.
const HANDING_BACK: Duration = Duration::from_secs(5);

/// Accepts calls that outlive their caller, and makes them.
pub struct Delivery {
    shared: Arc<Shared>,
    stopping: watch::Sender<bool>,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    dispatcher: Option<JoinHandle<()>>,
    around: Vec<JoinHandle<()>>,
}

impl Delivery {
    /// Puts it together; nothing runs yet, but calls can be accepted.
    ///
    /// # Errors
    /// `XB6050` where the HTTP client cannot start.
    pub fn new(parts: DeliveryParts) -> Result<Self, Error> {
        let shared = Arc::new(Shared::new(parts)?);
        Ok(Self { shared, stopping: watch::Sender::new(false), tasks: Mutex::default() })
    }

    /// Begins to make calls. Functions must be known to [`DeliveryParts::control`] by now: a call of one that
    /// is not there is a dead letter.
    pub async fn start(&self) {
        // Listening first, so that nothing is missed; and before anything is claimed, the queue must know how
        // lanes are served.
        let events = self.shared.control.events();
        lanes::look(&self.shared).await;
        let mut tasks = self.tasks.lock();
        if tasks.dispatcher.is_some() {
            return;
        }
        tasks.dispatcher = Some(tokio::spawn(dispatch(self.shared.clone(), self.stopping.subscribe())));
        let shared = self.shared.clone();
        tasks.around.push(tokio::spawn(async move { lanes::follow(&shared, events).await }));
        let shared = self.shared.clone();
        tasks.around.push(tokio::spawn(async move { sweep::now_and_then(&shared).await }));
        let shared = self.shared.clone();
        tasks.around.push(tokio::spawn(async move { metrics::refresh(&shared).await }));
        let shared = self.shared.clone();
        tasks.around.push(tokio::spawn(async move { backlog::tell(&shared).await }));
    }

    /// Ends: claims nothing more, lets what runs end within `grace`, and hands the rest back to the queue.
    /// What may run at most once and had begun is a dead letter then. The engine must still be there.
    pub async fn shutdown(&self, grace: Duration) {
        self.stopping.send_replace(true);
        let Tasks { dispatcher, around } = std::mem::take(&mut *self.tasks.lock());
        around.iter().for_each(JoinHandle::abort);
        if let Some(dispatcher) = dispatcher {
            // It ends by itself, within a fraction of a second.
            let _ = dispatcher.await;
        }
        let all = self.shared.options.claims;
        let ended = || self.shared.room.acquire_many(all);
        if timeout(grace, ended()).await.is_err() {
            self.shared.running.hand_back();
            if timeout(HANDING_BACK, ended()).await.is_err() {
                tracing::warn!(
                    "some calls could not be handed back: they begin again when their lease is over"
                );
            }
        }
    }

    /// Appends what is counted, in Prometheus' text format. What is said of the queue is some seconds old.
    pub fn metrics(&self, out: &mut String) {
        self.shared.metrics.write(out, self.shared.clock.now(), self.shared.running.count());
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut();
        tasks.dispatcher.iter().chain(&tasks.around).for_each(JoinHandle::abort);
    }
}

#[async_trait]
impl Deliveries for Delivery {
    async fn submit(&self, submission: Submission) -> Result<Receipt, Error> {
        submit::submit(&self.shared, submission).await
    }

    async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error> {
        let entry = self.shared.queue.cancel(id).await?;
        match entry.state {
            EntryState::Running { .. } => self.shared.running.cancel(*id),
            EntryState::Waiting { .. } => {
                conclude::cancelled_waiting(&self.shared, &entry).await;
                self.shared.bodies.forget(&entry.message.call.body).await;
            }
            EntryState::Dead { .. } => self.shared.bodies.forget(&entry.message.call.body).await,
        }
        Ok(entry)
    }

    async fn message(&self, id: &InvocationId) -> Result<Option<Entry>, Error> {
        self.shared.queue.get(id).await
    }

    async fn body(&self, id: &InvocationId) -> Result<Body, Error> {
        let entry = self.shared.queue.get(id).await?;
        let entry = entry.ok_or_else(|| Error::not_found("XB4021", format!("there is no message {id}")))?;
        Ok(Body::full(self.shared.bodies.open(*id, &entry.message.call.body).await?.bytes))
    }

    async fn messages(&self, query: &EntryQuery) -> Result<EntryPage, Error> {
        self.shared.queue.list(query).await
    }

    async fn queues(&self, tenant: Option<&Tenant>) -> Result<Vec<LaneStats>, Error> {
        self.shared.queue.stats(tenant).await
    }

    fn queues_lately(&self) -> Vec<LaneStats> {
        self.shared.metrics.queues()
    }

    async fn redrive(&self, which: &Selection, rate: Option<u32>) -> Result<u64, Error> {
        self.shared.queue.redrive(which, rate).await
    }

    async fn discard(&self, which: &Selection) -> Result<u64, Error> {
        let mut count = 0;
        loop {
            let discarded = self.shared.queue.discard(which).await?;
            if discarded.is_empty() {
                return Ok(count);
            }
            count += discarded.len() as u64;
            for message in &discarded {
                self.shared.bodies.forget(&message.call.body).await;
            }
        }
    }

    async fn pause(&self, place: &Place) -> Result<(), Error> {
        self.shared.queue.pause(place).await
    }

    async fn resume(&self, place: &Place) -> Result<(), Error> {
        self.shared.queue.resume(place).await
    }

    async fn paused(&self) -> Result<Vec<Place>, Error> {
        self.shared.queue.paused().await
    }

    async fn health(&self) -> Result<(), Error> {
        self.shared.queue.health().await
    }
}
