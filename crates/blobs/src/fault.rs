//! What can go wrong, and under which code it is told.

use std::{error::Error as StdError, io};
use xebec_core::{Error, ErrorKind};

/// The error for people: `doing` completes "could not …".
pub(crate) fn fault(doing: &str, error: impl StdError + 'static) -> Error {
    let cause = cause(&error).map(io::Error::kind);
    if matches!(cause, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
        return Error::new(ErrorKind::Unavailable, "XB4002", format!("could not {doing}: the disk is full"))
            .with_hint(
                "free space on the disk that holds the data directory; nothing acknowledged was lost",
            );
    }
    Error::internal("XB4003", format!("could not {doing}: {error}"))
}

/// The operating system's error at the bottom, if there is one.
fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    let mut error = Some(error);
    while let Some(this) = error {
        if let Some(found) = this.downcast_ref::<io::Error>() {
            return Some(found);
        }
        error = this.source();
    }
    None
}

pub(crate) fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. })
}
