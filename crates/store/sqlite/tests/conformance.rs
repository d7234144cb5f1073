//! The suite of the port.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use tempfile::TempDir;
use xebec_core::ports::store::Store;
use xebec_store_sqlite::{DataDirectory, Options, SqliteStore};

fn open() -> (Arc<dyn Store>, TempDir) {
    let kept = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open(kept.path()).unwrap();
    (Arc::new(SqliteStore::open(&directory, Options::default()).unwrap()), kept)
}

xebec_conformance::store_suite!(open);

/// The same once more with so little memory for changes that watchers read from disk.
mod from_disk {
    use super::*;

    fn open() -> (Arc<dyn Store>, TempDir) {
        let kept = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(kept.path()).unwrap();
        let options = Options { recent: 2, ..Options::default() };
        (Arc::new(SqliteStore::open(&directory, options).unwrap()), kept)
    }

    xebec_conformance::store_suite!(open);
}
