//! The suite of the port.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use tempfile::TempDir;
use xebec_blobs::LocalBlobs;
use xebec_core::ports::blobs::Blobs;

fn open() -> (Arc<dyn Blobs>, TempDir) {
    let kept = tempfile::tempdir().unwrap();
    (Arc::new(LocalBlobs::open(&kept.path().join("blobs")).unwrap()), kept)
}

xebec_conformance::blobs_suite!(open);
