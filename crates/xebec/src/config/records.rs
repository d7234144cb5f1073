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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_built_in() {
        let records = "keep = \"30d\"\nbytes = \"2GiB\"\nkeep-requests = \"64KiB\"";
        let records: FileRecords = toml::from_str(records).unwrap();
        let logs: FileLogs = toml::from_str("entries = 5").unwrap();
        let decided = History::decide(&records, &logs);
        let built_in = Retention::default();
        assert_eq!(decided.records, Retention { seconds: 30 * 86_400, bytes: 2 << 30, ..built_in });
        assert_eq!(decided.logs, Retention { entries: 5, ..built_in });
        assert_eq!(decided.keep_requests, Some(65_536));
        let nothing = History::decide(&FileRecords::default(), &FileLogs::default());
        assert_eq!((nothing.records, nothing.logs, nothing.keep_requests), (built_in, built_in, None));
    }
}
