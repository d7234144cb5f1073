//! Backups: which pieces make one, in which order.

use crate::failure::Failure;
use std::{path::Path, sync::Arc};
use xebec_api_native::BackUp;
use xebec_blobs::HeldBlobs;
use xebec_core::ports::{blobs::Blobs as _, control::Control, queue::Queue};
use xebec_store_sqlite::backup as store;

/// Writes complete backups of a running server.
pub(super) fn back_up(
    control: Arc<dyn Control>,
    queue: Arc<dyn Queue>,
    bodies: Arc<HeldBlobs>,
    data: &Path,
) -> BackUp {
    let data: Arc<Path> = Arc::from(data);
    Box::new(move |directory| {
        let (control, data) = (Arc::clone(&control), Arc::clone(&data));
        let (queue, bodies) = (Arc::clone(&queue), Arc::clone(&bodies));
        Box::pin(async move {
            store::begin(&directory)?;
            control.backup(&directory).await?;
            store::copy_key(&data, &directory)?;
            // Every body that a message of the copy names is there: none is deleted between the two.
            let messages = async {
                if queue.backup(&directory).await? {
                    bodies.backup(&directory.join(store::BODIES_DIRECTORY)).await?;
                }
                Ok(())
            };
            bodies.hold(messages).await?;
            store::complete(&directory)
        })
    })
}

/// Makes a data directory of a backup.
pub(crate) fn restore(from: &Path, to: &Path) -> Result<(), Failure> {
    Ok(store::restore(from, to)?)
}
