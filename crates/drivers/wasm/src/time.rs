//! The time that guests run.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// Runs a guest's future, and counts in nanoseconds how long it runs: not while it waits for something. That
/// a thread may be taken from it meanwhile counts, too; asking the kernel for the exact time on every turn
/// would cost more than many a call does.
pub(crate) async fn counted<F: Future>(count: &AtomicU64, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let begun = Instant::now();
        let polled = future.as_mut().poll(context);
        let nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        count.fetch_add(nanoseconds, Ordering::Relaxed);
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn work_counts_and_waiting_does_not() {
        let count = AtomicU64::new(0);
        let waits = async {
            tokio::time::sleep(Duration::from_secs(86_400)).await;
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(5) {
                std::hint::spin_loop();
            }
            7
        };
        assert_eq!(counted(&count, waits).await, 7);
        let counted = Duration::from_nanos(count.load(Ordering::Relaxed));
        assert!(counted >= Duration::from_millis(5), "{counted:?}");
        assert!(counted < Duration::from_secs(86_400), "{counted:?}");
    }
}
