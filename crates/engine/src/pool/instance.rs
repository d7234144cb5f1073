//! One running copy of a revision, as the engine holds it.

use super::{Pool, state::Number};
use crate::{lines::InstanceLines, usage::Measured};
use parking_lot::Mutex;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::Notify;
use xebec_contracts::Session;
use xebec_core::{
    ports::instance::{Exit, InstanceId, InstanceIo},
    slot::{Retire, Slot, SlotOwner},
};

/// One running copy of a revision.
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(super) number: Number,
    /// While it is in its pool, pool and instance hold each other; leaving the pool cuts that.
    pub(super) pool: Arc<Pool>,
    pub(crate) lines: Arc<InstanceLines>,
    pub(crate) io: OnceLock<Arc<dyn InstanceIo>>,
    pub(crate) measured: Mutex<Measured>,
    pub(super) session: OnceLock<Arc<dyn Session>>,
    /// What its contract needed to bring it to take calls.
    pub(crate) init: OnceLock<Duration>,
    /// How it ended, once it has.
    exit: OnceLock<Exit>,
    gone: Notify,
    /// Its keeper shall look again.
    pub(super) wake: Notify,
}

impl Instance {
    pub(super) fn new(id: InstanceId, number: Number, pool: Arc<Pool>, lines: Arc<InstanceLines>) -> Self {
        let now = pool.shared.now();
        Self {
            id,
            number,
            pool,
            lines,
            io: OnceLock::new(),
            measured: Mutex::new(Measured::nothing(now)),
            session: OnceLock::new(),
            init: OnceLock::new(),
            exit: OnceLock::new(),
            gone: Notify::new(),
            wake: Notify::new(),
        }
    }

    /// What speaks with it. There is one before it has any slot.
    pub(crate) fn session(&self) -> Option<&Arc<dyn Session>> {
        self.session.get()
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.get().copied()
    }

    /// Completes when it has ended.
    pub(crate) async fn ended(&self) -> Exit {
        loop {
            let gone = self.gone.notified();
            if let Some(exit) = self.exit.get() {
                return *exit;
            }
            gone.await;
        }
    }

    pub(super) fn set_exit(&self, exit: Exit) {
        // The first one counts.
        let _ = self.exit.set(exit);
        self.gone.notify_waiters();
    }
}

/// Slots come back here.
impl SlotOwner for Instance {
    fn announce(&self, count: u32) {
        self.pool.announced(self.number, count);
    }

    fn free(&self) {
        self.pool.freed(self.number);
    }

    fn retire(&self, _why: Retire) {
        self.pool.used_up(self.number);
    }
}

/// What contracts announce slots to, without holding one. It does not hold the instance: the instance holds
/// the session, and that holds this.
pub(super) struct Announcer {
    pub(super) pool: Arc<Pool>,
    pub(super) number: Number,
}

impl SlotOwner for Announcer {
    fn announce(&self, count: u32) {
        self.pool.announced(self.number, count);
    }

    fn free(&self) {
        self.pool.announced(self.number, 1);
    }

    fn retire(&self, _why: Retire) {
        self.pool.retire(self.number);
    }
}

/// A slot that was acquired and not used yet. Dropped, it goes back as it was.
pub(crate) struct Lease {
    instance: Option<Arc<Instance>>,
    /// The caller waited for this instance to start.
    pub(crate) cold: bool,
}

impl Lease {
    pub(super) fn new(instance: Arc<Instance>, cold: bool) -> Self {
        Self { instance: Some(instance), cold }
    }

    /// The instance and the right to send it one call.
    pub(crate) fn take(mut self) -> Option<(Arc<Instance>, Slot)> {
        let instance = self.instance.take()?;
        let slot = Slot::new(instance.clone());
        Some((instance, slot))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            instance.free();
        }
    }
}
