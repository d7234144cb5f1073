//! One flush of records for all who wait for it.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tokio::sync::Semaphore;
use xebec_core::{Error, ports::control::Control};

/// One flush of records for all who wait for it.
pub(crate) struct Flush {
    /// One permit: whoever holds it flushes.
    turn: Semaphore,
    begun: AtomicU64,
    done: AtomicU64,
}

impl Flush {
    pub(crate) fn new() -> Self {
        Self { turn: Semaphore::new(1), begun: AtomicU64::new(0), done: AtomicU64::new(0) }
    }

    /// Returns once a flush is through that began after this was asked.
    ///
    /// # Errors
    /// What the flush says, where this did it itself.
    pub(crate) async fn wait(&self, control: &dyn Control) -> Result<(), Error> {
        let before = self.begun.load(SeqCst);
        // Never closed, so never an error.
        let _turn = self.turn.acquire().await.ok();
        if self.done.load(SeqCst) > before {
            return Ok(());
        }
        let mine = self.begun.fetch_add(1, SeqCst) + 1;
        control.flush_records().await?;
        self.done.store(mine, SeqCst);
        Ok(())
    }
}
