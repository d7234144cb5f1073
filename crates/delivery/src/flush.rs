//! One flush of records for all who wait for it.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};
use tokio::sync::Semaphore;
use xebec_core::Error;

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
    pub(crate) async fn wait<W>(&self, flush: impl FnOnce() -> W) -> Result<(), Error>
    where
        W: Future<Output = Result<(), Error>>,
    {
        let before = self.begun.load(SeqCst);
        // Never closed, so never an error.
        let _turn = self.turn.acquire().await.ok();
        if self.done.load(SeqCst) > before {
            return Ok(());
        }
        let mine = self.begun.fetch_add(1, SeqCst) + 1;
        flush().await?;
        self.done.store(mine, SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::AtomicU32;
    use tokio::task::yield_now;

    #[tokio::test]
    async fn one_serves_all_who_wait() {
        let flush = Flush::new();
        let flushed = AtomicU32::new(0);
        let one = || async {
            // Whoever asks while a flush is under way may have come too late for it.
            yield_now().await;
            flushed.fetch_add(1, SeqCst);
            Ok(())
        };
        join_all((0..100).map(|_| flush.wait(one))).await.into_iter().for_each(|done| done.unwrap());
        assert_eq!(flushed.load(SeqCst), 2, "the first one's own, and one for all the others");
        flush.wait(one).await.unwrap();
        assert_eq!(flushed.load(SeqCst), 3);
    }

    #[tokio::test]
    async fn one_that_failed_serves_nobody_else() {
        let flush = Flush::new();
        let fails = || async { Err(Error::internal("XB4003", "no")) };
        assert!(flush.wait(fails).await.is_err());
        let flushed = AtomicU32::new(0);
        let works = || async {
            flushed.fetch_add(1, SeqCst);
            Ok(())
        };
        flush.wait(works).await.unwrap();
        assert_eq!(flushed.load(SeqCst), 1);
    }
}
