//! The port.

use crate::{
    index::Index,
    link::{Link, Status},
    options::NatsOptions,
    shared::Shared,
    watch,
    wire::WorkerId,
    workers,
};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use xebec_core::{
    Digest, Error, ErrorKind, InvocationId, Tenant,
    message::{Lane, Message, Receipt},
    ports::{
        clock::Clock,
        queue::{
            Ask, Claim, ClaimId, Entry, EntryPage, EntryQuery, Held, LaneRules, LaneStats, Place, Queue,
            Selection, Settled, Settlement,
        },
    },
};

/// How often leases are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How often the server is asked how much it may still store.
const MEASURE: Duration = Duration::from_secs(1);

/// How often lines are searched for locks that nobody has.
const SEARCH: Duration = Duration::from_secs(2);

/// The queue on NATS JetStream, as one worker has it.
pub struct NatsQueue {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for NatsQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsQueue").field("urls", &self.shared.options.urls).finish_non_exhaustive()
    }
}

impl NatsQueue {
    /// Connects, checks the server, and reads what is in the queue. Where the server is away it waits for it
    /// up to `options.patience`, then starts without: every call says so until it is there.
    ///
    /// # Errors
    /// `XB6040` it does not sync what it acknowledges, `XB6041` whether it does cannot be asked, `XB6042` it is
    /// too old, or runs without JetStream, or has too few copies; `XB6043` the options are wrong.
    pub async fn connect(options: NatsOptions, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let worker = WorkerId::from(&uuid::Uuid::new_v4().simple().to_string()[..16]);
        let link = Link::new(&options, &format!("xebec {worker}")).await?;
        let index = Index::new(worker.clone(), options.cache_bytes);
        let shared = Arc::new(Shared::new(options, clock, link, index));
        let (fresh, connections) = tokio::sync::watch::channel(0);
        let queue = Self {
            tasks: vec![
                tokio::spawn({
                    let (shared, worker) = (shared.clone(), worker.clone());
                    async move { shared.link.keep(&shared.options, &worker, fresh).await }
                }),
                tokio::spawn({
                    let shared = shared.clone();
                    async move { watch::follow(&shared, connections).await }
                }),
                tokio::spawn({
                    let shared = shared.clone();
                    async move { tend(&shared).await }
                }),
                tokio::spawn({
                    let shared = shared.clone();
                    async move { workers::meet(&shared, &worker).await }
                }),
            ],
            shared,
        };
        queue.settle_in().await?;
        Ok(queue)
    }

    /// Waits until the queue can be used, or its server is found unfit, or patience ends.
    async fn settle_in(&self) -> Result<(), Error> {
        let mut status = self.shared.link.watch();
        let patience = tokio::time::sleep(self.shared.options.patience);
        tokio::pin!(patience);
        loop {
            let now = status.borrow_and_update().clone();
            match now {
                Status::Not(error) if error.code.starts_with("XB6") => return Err(error),
                Status::Ready(_) if self.shared.index.lock().synced => {
                    self.shared.measure_room().await;
                    return Ok(());
                }
                Status::Ready(_) | Status::Not(_) => {}
            }
            tokio::select! {
                () = &mut patience => {
                    let why = self.shared.link.log().err().map(|error| error.to_string());
                    tracing::warn!(why, "the queue starts before its server is there");
                    return Ok(());
                }
                _ = status.changed() => {}
                () = self.shared.wake.notified() => {}
            }
        }
    }
}

impl Drop for NatsQueue {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Ends leases that ran out, whoever's they were, and heals locks.
async fn tend(shared: &Shared) {
    let mut measured = tokio::time::Instant::now();
    let mut searched = tokio::time::Instant::now();
    let mut stray = Vec::new();
    loop {
        tokio::time::sleep(TICK).await;
        if shared.link.log().is_err() {
            continue;
        }
        shared.end_lapsed().await;
        let now = shared.now();
        shared.index.lock().tick(now);
        if measured.elapsed() >= MEASURE {
            measured = tokio::time::Instant::now();
            shared.measure_room().await;
        }
        if searched.elapsed() < SEARCH {
            continue;
        }
        searched = tokio::time::Instant::now();
        // What is stray twice in a row is not merely about to be read.
        let seen = std::mem::take(&mut stray);
        stray = shared.index.lock().stray_locks();
        for lock in stray.iter().filter(|lock| seen.contains(lock)) {
            if let Err(error) = shared.heal_lock(*lock).await {
                tracing::debug!(%error, "a lock could not be looked after");
            }
        }
    }
}

#[async_trait]
impl Queue for NatsQueue {
    async fn enqueue(&self, messages: Vec<Message>) -> Result<Vec<Receipt>, Error> {
        self.shared.enqueue(&messages).await
    }

    async fn claim(&self, ask: Ask) -> Result<Vec<Claim>, Error> {
        self.shared.claim(ask).await
    }

    async fn extend(&self, claim: ClaimId, lease: Duration) -> Result<Held, Error> {
        self.shared.extend(claim, lease).await
    }

    async fn settle(&self, claim: ClaimId, settlement: Settlement) -> Result<Settled, Error> {
        self.shared.settle(claim, &settlement).await
    }

    fn configure(&self, lane: &Lane, rules: LaneRules) {
        self.shared.index.lock().configure(lane, rules, self.shared.now());
        self.shared.wake.notify_waiters();
    }

    fn limit(&self, tenant: &Tenant, claims: Option<u32>) {
        self.shared.index.lock().limit(tenant, claims);
        self.shared.wake.notify_waiters();
    }

    async fn get(&self, id: &InvocationId) -> Result<Option<Entry>, Error> {
        self.shared.get(id).await
    }

    async fn list(&self, query: &EntryQuery) -> Result<EntryPage, Error> {
        self.known().await?;
        self.shared.list(query).await
    }

    async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error> {
        self.shared.cancel(id).await
    }

    async fn redrive(&self, which: &Selection, rate: Option<u32>) -> Result<u64, Error> {
        self.known().await?;
        self.shared.redrive(which, rate).await
    }

    async fn discard(&self, which: &Selection) -> Result<Vec<Message>, Error> {
        self.known().await?;
        self.shared.discard(which).await
    }

    async fn pause(&self, place: &Place) -> Result<(), Error> {
        self.shared.set_pause(place, true).await
    }

    async fn resume(&self, place: &Place) -> Result<(), Error> {
        self.shared.set_pause(place, false).await
    }

    async fn paused(&self) -> Result<Vec<Place>, Error> {
        self.known().await?;
        Ok(self.shared.paused())
    }

    async fn stats(&self, tenant: Option<&Tenant>) -> Result<Vec<LaneStats>, Error> {
        self.known().await?;
        Ok(self.shared.stats(tenant))
    }

    async fn blobs(&self) -> Result<Vec<Digest>, Error> {
        self.shared.blobs().await
    }

    async fn health(&self) -> Result<(), Error> {
        self.shared.health().await
    }

    async fn backup(&self, _directory: &std::path::Path) -> Result<bool, Error> {
        Ok(false)
    }
}

impl NatsQueue {
    /// What the queue knows by itself is good only once it read the stream.
    async fn known(&self) -> Result<(), Error> {
        let read = async {
            loop {
                let woken = self.shared.wake.notified();
                self.shared.link.log()?;
                if self.shared.index.lock().synced {
                    return Ok(());
                }
                let _ = tokio::time::timeout(TICK, woken).await;
            }
        };
        tokio::time::timeout(self.shared.options.answer, read).await.unwrap_or_else(|_| {
            let message = "what is in the queue is still being read";
            Err(Error::new(ErrorKind::Unavailable, "XB4005", message).with_hint("try again in a moment"))
        })
    }
}
