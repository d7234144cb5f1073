//! How much is kept of what happened.

use serde::Deserialize;
use xebec_api_native::wire::{Bytes, Span};
use xebec_core::ports::records::Retention;

/// `[records]` in `xebec.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileRecords {
    keep: Option<Span>,
    entries: Option<u64>,
    bytes: Option<Bytes>,
    keep_requests: Option<Bytes>,
}

/// `[logs]` in `xebec.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileLogs {
    keep: Option<Span>,
    entries: Option<u64>,
    bytes: Option<Bytes>,
}

/// What is kept of calls, and of what functions print, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) records: Retention,
    pub(crate) logs: Retention,
    /// Requests of at most so many bytes are kept beside their records; `None`: none is.
    pub(crate) keep_requests: Option<u64>,
}

impl History {
    pub(super) fn decide(records: &FileRecords, logs: &FileLogs) -> Self {
        Self {
            records: retention(records.keep, records.entries, records.bytes),
            logs: retention(logs.keep, logs.entries, logs.bytes),
            keep_requests: records.keep_requests.map(|bytes| bytes.0).filter(|bytes| *bytes > 0),
        }
    }
}

fn retention(keep: Option<Span>, entries: Option<u64>, bytes: Option<Bytes>) -> Retention {
    let built_in = Retention::default();
    Retention {
        seconds: keep.map_or(built_in.seconds, |span| span.0.as_secs()),
        entries: entries.unwrap_or(built_in.entries),
        bytes: bytes.map_or(built_in.bytes, |bytes| bytes.0),
    }
}
