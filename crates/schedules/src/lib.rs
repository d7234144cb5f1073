//! Schedules: functions that are called by themselves.
//!
//! * [`Schedules`] keeps them and fires them: [`xebec_core::ports::schedules::Schedules`] for doors
//! * `documents`: what is stored of a schedule, and how it goes on when it is changed
//! * `table`: what is known in memory, and what is due next
//! * `follow`: how the table learns what others do, here and on other servers
//! * `clockwork`: the one timer
//! * `firing`: one time that is due becomes one message
//!
//! A time that is due is submitted first, under an id and an idempotency key that follow from schedule and time,
//! and noted after that. Whoever is killed between the two, or loses the race for the note, submits the same
//! message again, which is none.

mod clockwork;
mod documents;
mod firing;
mod follow;
mod port;
mod table;

use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use table::Table;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::timeout,
};
use xebec_core::{
    Error,
    ports::{clock::Clock, control::Control, deliveries::Deliveries, store::Store},
};

/// Schedules that a tenant may have, those of its functions' policies not counted.
pub const MOST_PER_TENANT: usize = 10_000;

/// How long a shutdown waits for what is just being submitted.
const GRACE: Duration = Duration::from_secs(5);

/// What schedules are made from.
#[derive(Clone)]
pub struct Parts {
    /// Where they are kept.
    pub store: Arc<dyn Store>,
    /// Which functions there are, and what their policies say.
    pub control: Arc<dyn Control>,
    /// Who makes the calls.
    pub deliveries: Arc<dyn Deliveries>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Keeps schedules and fires them.
pub struct Schedules {
    inner: Arc<Inner>,
    tasks: Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
}

struct Inner {
    store: Arc<dyn Store>,
    control: Arc<dyn Control>,
    deliveries: Arc<dyn Deliveries>,
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
    /// Something is due earlier than it was.
    sooner: Notify,
}

impl Schedules {
    /// Schedules that do not fire yet.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, control, deliveries, clock } = parts;
        let inner =
            Inner { store, control, deliveries, clock, table: Mutex::default(), sooner: Notify::new() };
        Self { inner: Arc::new(inner), tasks: Mutex::default(), stop: watch::Sender::new(false) }
    }

    /// Reads what there is, and fires from now on. Functions must be there already: what was missed is seen to at
    /// once.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(&self) -> Result<(), Error> {
        let followed = self.inner.load().await?;
        let mut tasks = self.tasks.lock();
        let stopped = || {
            let mut stop = self.stop.subscribe();
            async move {
                // Fails when the sender is gone, which is an end as well.
                let _ = stop.wait_for(|stop| *stop).await;
            }
        };
        for task in Inner::follow(&self.inner, followed) {
            let stopped = stopped();
            tasks.spawn(async move {
                tokio::select! {
                    () = task => {}
                    () = stopped => {}
                }
            });
        }
        tasks.spawn(Arc::clone(&self.inner).run(stopped()));
        Ok(())
    }

    /// Fires no more; what is being submitted is waited for, for a moment.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            tracing::warn!("a schedule was still being submitted; it is again at the next start, once");
        }
    }
}
