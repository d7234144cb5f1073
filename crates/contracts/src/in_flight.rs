//! How many calls an instance has, so that closing can wait for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Counts the calls of one session.
#[derive(Default)]
pub(crate) struct InFlight {
    calls: AtomicU32,
    none_left: Notify,
}

/// One call, counted until this is dropped.
pub(crate) struct Counted(Arc<InFlight>);

impl InFlight {
    /// Counts one more, and says how many there are with it.
    pub(crate) fn enter(self: &Arc<Self>) -> (Counted, u32) {
        let calls = self.calls.fetch_add(1, Ordering::AcqRel) + 1;
        (Counted(self.clone()), calls)
    }

    /// Waits until there are none, but no longer than `at_most`.
    pub(crate) async fn drained(&self, at_most: Duration) {
        let none_left = async {
            loop {
                let notified = self.none_left.notified();
                if self.calls.load(Ordering::Acquire) == 0 {
                    return;
                }
                notified.await;
            }
        };
        let _ = tokio::time::timeout(at_most, none_left).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}
