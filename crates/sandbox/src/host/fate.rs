//! How a sandbox ended, for whoever asks, then or later.

use crate::exec::SandboxExit;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct Fate {
    requested: AtomicBool,
    ended: watch::Sender<Option<SandboxExit>>,
}

impl Fate {
    pub(super) fn new() -> Self {
        Self { requested: AtomicBool::new(false), ended: watch::Sender::new(None) }
    }

    /// It was asked to end; `false` if it had been before.
    pub(super) fn request(&self) -> bool {
        !self.requested.swap(true, Ordering::Relaxed)
    }

    /// All of it is gone.
    pub(super) fn settle(&self, out_of_memory: bool) {
        let exit = SandboxExit { out_of_memory, requested: self.requested.load(Ordering::Relaxed) };
        self.ended.send_if_modified(|ended| ended.is_none() && ended.replace(exit).is_none());
    }

    pub(super) fn now(&self) -> Option<SandboxExit> {
        *self.ended.borrow()
    }

    pub(super) async fn wait(&self) -> SandboxExit {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(exit) = *ended.borrow_and_update() {
                return exit;
            }
            // The sender lives in `self`: this cannot fail while we wait.
            let _ = ended.changed().await;
        }
    }
}
