//! The suites of both ports.

#![allow(clippy::unwrap_used)]

mod records {
    use std::sync::Arc;
    use tempfile::TempDir;
    use xebec_core::ports::records::Records;

    fn open() -> (Arc<dyn Records>, TempDir) {
        let kept = tempfile::tempdir().unwrap();
        (Arc::new(xebec_records::open(kept.path()).unwrap().0), kept)
    }

    xebec_conformance::records_suite!(open);
}

mod logs {
    use std::sync::Arc;
    use tempfile::TempDir;
    use xebec_core::ports::records::Logs;

    fn open() -> (Arc<dyn Logs>, TempDir) {
        let kept = tempfile::tempdir().unwrap();
        (Arc::new(xebec_records::open(kept.path()).unwrap().1), kept)
    }

    xebec_conformance::logs_suite!(open);
}
