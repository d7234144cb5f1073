//! Backups: which pieces make one, in which order.

use crate::failure::Failure;
use std::{path::Path, sync::Arc};
use xebec_api_native::BackUp;
use xebec_core::ports::control::Control;
use xebec_store_sqlite::backup as store;

/// Writes complete backups of a running server.
pub(super) fn back_up(control: Arc<dyn Control>, data: &Path) -> BackUp {
    let data: Arc<Path> = Arc::from(data);
    Box::new(move |directory| {
        let (control, data) = (Arc::clone(&control), Arc::clone(&data));
        Box::pin(async move {
            store::begin(&directory)?;
            control.backup(&directory).await?;
            store::copy_key(&data, &directory)?;
            store::complete(&directory)
        })
    })
}

/// Makes a data directory of a backup.
pub(crate) fn restore(from: &Path, to: &Path) -> Result<(), Failure> {
    Ok(store::restore(from, to)?)
}
