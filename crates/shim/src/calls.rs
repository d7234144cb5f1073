//! How many calls there are, and how many there may be.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use xebec_core::slot::{Retire, Slot, SlotOwner};

/// When nothing has come for so long, nothing more is expected.
const QUIET: Duration = Duration::from_secs(2);

/// The calls that the function is at. A slot is held until the function is done with the call, which may be
/// after its answer (a call that was given up) and long after its head (a tunnel).
#[derive(Default)]
pub(crate) struct Calls {
    in_flight: AtomicU32,
    begun: AtomicU64,
    limit: Option<u32>,
    none_left: Notify,
}

impl Calls {
    pub(crate) fn new(limit: Option<u32>) -> Arc<Self> {
        Arc::new(Self { limit, ..Self::default() })
    }

    /// One more; `None` where that is too many.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Slot> {
        (!self.is_full()).then(|| self.begin_always())
    }

    /// One more, however many there are.
    pub(crate) fn begin_always(self: &Arc<Self>) -> Slot {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Slot::new(self.clone())
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.in_flight() >= limit)
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit.unwrap_or(u32::MAX)
    }

    /// Waits until there were none for a while.
    pub(crate) async fn quiet(&self) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(QUIET).await;
            if self.in_flight() == 0 && self.begun.load(Ordering::Relaxed) == begun {
                return;
            }
        }
    }

    /// Waits until there are none, but no longer than `at_most`.
    pub(crate) async fn drained(&self, at_most: Duration) {
        let none_left = async {
            loop {
                let notified = self.none_left.notified();
                if self.in_flight() == 0 {
                    return;
                }
                notified.await;
            }
        };
        let _ = tokio::time::timeout(at_most, none_left).await;
    }
}

impl SlotOwner for Calls {
    /// There is one instance, and calls are counted and not handed out.
    fn announce(&self, _: u32) {}

    fn free(&self) {
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none_left.notify_waiters();
        }
    }

    /// There is no other instance to go to.
    fn retire(&self, _: Retire) {
        self.free();
    }
}
