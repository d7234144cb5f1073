//! What can go wrong, and under which code it is told.

use rusqlite::ffi;
use xebec_core::{Error, ErrorKind};

/// Why work on the database failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// SQLite says so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The file system says so.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The work itself says so, e.g. that an expectation was not met.
    #[error(transparent)]
    Refused(#[from] Error),
}

impl Fault {
    /// The error for people: `doing` completes "could not …".
    pub fn into_error(self, doing: &str) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::File(error) if is_full(&error) => full(doing, &error.to_string()),
            Self::File(error) => Error::internal("XB4003", format!("could not {doing}: {error}")),
            Self::Sqlite(error) => of_sqlite(doing, &error),
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

fn full(doing: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, "XB4002", format!("could not {doing}: {why}"))
        .with_hint("free space on the disk that holds the data directory; nothing acknowledged was lost")
}

fn of_sqlite(doing: &str, error: &rusqlite::Error) -> Error {
    let Some(cause) = error.sqlite_error() else {
        return Error::internal("XB4003", format!("could not {doing}: {error}"));
    };
    match cause.extended_code {
        ffi::SQLITE_FULL => full(doing, "the disk is full"),
        // What a full disk looks like where it shows only at an fsync, or when a file is extended.
        ffi::SQLITE_IOERR_WRITE
        | ffi::SQLITE_IOERR_FSYNC
        | ffi::SQLITE_IOERR_DIR_FSYNC
        | ffi::SQLITE_IOERR_TRUNCATE
        | ffi::SQLITE_IOERR_SHMSIZE
        | ffi::SQLITE_IOERR_SHMOPEN => full(doing, "the disk is full or fails to write"),
        code if matches!(code & 0xff, ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => busy(doing),
        code if matches!(code & 0xff, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB) => {
            Error::internal("XB4003", format!("could not {doing}: the database is damaged ({error})"))
                .with_hint("restore the last backup into a new data directory")
        }
        _ => Error::internal("XB4003", format!("could not {doing}: {error}")),
    }
}

pub(crate) fn busy(doing: &str) -> Error {
    Error::new(ErrorKind::Unavailable, "XB4005", format!("could not {doing}: the storage is busy"))
        .with_hint("try again in a moment; if it stays so, the disk is too slow for what is written")
}
