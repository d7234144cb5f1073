//! What every queue does, by this one.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use tempfile::TempDir;
use xebec_core::ports::queue::Queue;

fn open() -> (Arc<dyn Queue>, TempDir) {
    reopen(tempfile::tempdir().unwrap())
}

fn reopen(directory: TempDir) -> (Arc<dyn Queue>, TempDir) {
    (Arc::new(support::open(directory.path())), directory)
}

xebec_conformance::queue_suite!(open);
xebec_conformance::queue_reopen_suite!(open, reopen);
