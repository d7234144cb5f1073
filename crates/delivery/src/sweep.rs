//! Deleting bodies that no message names: what a crash left between storing a body and storing its message.

use crate::shared::Shared;
use std::collections::HashSet;
use tokio::time::sleep;
use xebec_core::Error;

/// A body younger than this may belong to a message that is just being accepted.
const GRACE_SECONDS: u64 = 3600;

/// Sweeps now and then, for ever.
pub(crate) async fn now_and_then(shared: &Shared) {
    loop {
        match once(shared).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "deleted bodies that no message names"),
            Err(error) => tracing::warn!(%error, "cannot look for bodies that no message names"),
        }
        sleep(shared.options.sweep).await;
    }
}

/// Returns how many it deleted.
async fn once(shared: &Shared) -> Result<u64, Error> {
    let mut old = shared.bodies.blobs().list().await?;
    old.retain(|blob| blob.age_seconds >= GRACE_SECONDS);
    if old.is_empty() {
        return Ok(0);
    }
    // Asked after the list was made: what is named by a message now was so before, or is too young.
    let named: HashSet<_> = shared.queue.blobs().await?.into_iter().collect();
    let mut deleted = 0;
    for blob in old.iter().filter(|blob| !named.contains(&blob.digest)) {
        shared.bodies.blobs().delete(&blob.digest).await?;
        deleted += 1;
    }
    Ok(deleted)
}
