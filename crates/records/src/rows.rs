//! Records as rows.

use crate::{codes, origins::Names};
use uuid::Uuid;
use xebec_core::{
    Digest, Error, InvocationId,
    invocation::Timing,
    record::{InvocationRecord, Noted},
};
use xebec_sqlite::{
    Fault,
    rusqlite::{self, Connection, Row},
    time::from_nanoseconds,
};

/// What [`record`] reads, without what was kept of answers.
const COLUMNS: &str = "seq, id, function, received, outcome, clock, cold, wait_us, init_us, first_byte_us, run_us, \
                       status, request_bytes, response_bytes, revision, instance, message, attempt, \
                       filed, cause, details";

/// What [`record`] reads.
pub(crate) fn columns(with_answers: bool) -> String {
    format!("{COLUMNS}, {}", if with_answers { "answer" } else { "NULL" })
}

/// The record of a row.
pub(crate) fn record(
    connection: &Connection,
    row: &Row<'_>,
    names: &mut Names,
) -> Result<InvocationRecord, Fault> {
    let id = InvocationId(Uuid::from_bytes(row.get(1)?));
    Ok(InvocationRecord {
        id,
        function: names.function(connection, row.get(2)?)?,
        received: from_nanoseconds(row.get(3)?),
        outcome: codes::outcome(row.get(4)?, row.get(5)?),
        timing: Timing {
            cold: row.get(6)?,
            wait_us: unsigned(row.get(7)?),
            init_us: unsigned(row.get(8)?),
            first_byte_us: unsigned(row.get(9)?),
            run_us: unsigned(row.get(10)?),
        },
        status: row.get(11)?,
        request_bytes: unsigned(row.get(12)?),
        response_bytes: unsigned(row.get(13)?),
        revision: row.get::<_, Option<[u8; 32]>>(14)?.map(Digest::from_bytes),
        instance: row.get(15)?,
        message: row.get(16)?,
        attempt: row.get(17)?,
        noted: noted(connection, row, names, &id)?,
    })
}

/// What was noted; `None` where that is nothing.
fn noted(
    connection: &Connection,
    row: &Row<'_>,
    names: &mut Names,
    id: &InvocationId,
) -> Result<Option<Box<Noted>>, Fault> {
    let filed: Option<i64> = row.get(18)?;
    let cause: Option<[u8; 16]> = row.get(19)?;
    let details = row.get_ref(20)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let answer = row.get_ref(21)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
    if (filed, cause, details, answer) == (None, None, None, None) {
        return Ok(None);
    }
    let damaged = |error: serde_json::Error| {
        Error::internal("XB4003", format!("what was noted of {id} is not as it was written: {error}"))
    };
    Ok(Some(Box::new(Noted {
        filed: filed.map(|list| names.list(connection, list)).transpose()?,
        cause: cause.map(|cause| InvocationId(Uuid::from_bytes(cause))),
        details: details.map(serde_json::from_str).transpose().map_err(damaged)?.unwrap_or_default(),
        answer: answer.map(bytes::Bytes::copy_from_slice).unwrap_or_default(),
    })))
}

/// Counts and sizes are kept as SQLite has them, and no real one is that large.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
