//! Backups of a running server.

use crate::engine::Engine;
use std::path::Path;
use xebec_core::Error;

impl Engine {
    /// Writes documents to `state.db` and blobs to `blobs/` in an empty directory. Documents first: what
    /// they point at is older than they are, and nothing is deleted meanwhile.
    pub(crate) async fn back_up(&self, directory: &Path) -> Result<(), Error> {
        let _cleaning = self.cleaning.lock().await;
        self.store.backup(&directory.join("state.db")).await?;
        self.shared.blobs.backup(&directory.join("blobs")).await?;
        Ok(())
    }
}
