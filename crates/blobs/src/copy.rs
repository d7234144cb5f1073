//! Copying blobs, for backups.

use crate::LocalBlobs;
use std::path::Path;
use xebec_core::{Body, Error, ports::blobs::Blobs};

/// Copies all blobs of `from` into the directory `to`, in the layout that [`LocalBlobs`] opens, and checks
/// each against its name. Blobs that come meanwhile may be missing; one that goes meanwhile is left out.
/// Returns how many bytes there are.
///
/// # Errors
/// `XB4012` a blob is damaged, `XB4002` disk full, `XB4003` anything else.
pub async fn copy(from: &dyn Blobs, to: &Path) -> Result<u64, Error> {
    let directory = to.to_owned();
    let to = tokio::task::spawn_blocking(move || LocalBlobs::open(&directory))
        .await
        .map_err(|stopped| crate::fault("copy the blobs", stopped))??;
    let mut bytes = 0;
    for blob in from.list().await? {
        let content = match from.get(&blob.digest).await {
            Err(error) if error.code == "XB4010" => continue,
            content => content?,
        };
        let (stored, size) = to.put(Body::full(content), u64::MAX).await?;
        if stored != blob.digest {
            to.delete(&stored).await?;
            return Err(crate::damaged(&blob.digest));
        }
        bytes += size;
    }
    Ok(bytes)
}
