//! Doing again what storage refused for now.

use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep};
use xebec_core::{Error, rules::backoff::Backoff};

/// For how long it is done again. Past it the claim is let go; its messages run again once its lease is over.
const PATIENCE: Duration = Duration::from_secs(600);

/// The pauses between.
pub(crate) const PAUSES: Backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_secs(5) };

/// Whether the same may succeed later.
pub(crate) fn may_pass(error: &Error) -> bool {
    matches!(error.code, "XB4002" | "XB4003" | "XB4005" | "XB4020" | "XB4023")
}

/// Does something until storage takes it. `what` completes "cannot …".
///
/// # Errors
/// What cannot pass, and what did not pass for ten minutes.
pub(crate) async fn persist<T, F, W>(what: &str, mut doing: F) -> Result<T, Error>
where
    F: FnMut() -> W,
    W: Future<Output = Result<T, Error>>,
{
    let began = Instant::now();
    let mut failures = 0;
    loop {
        let error = match doing().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !may_pass(&error) || began.elapsed() >= PATIENCE {
            return Err(error);
        }
        failures += 1;
        if failures == 1 {
            tracing::warn!(%error, "cannot {what} for now, trying again");
        }
        sleep(PAUSES.jittered(failures, rand::random())).await;
    }
}
