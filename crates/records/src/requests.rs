//! Requests kept beside records, so that calls can be made again.

use crate::schema::request_bytes;
use bytes::Bytes;
use xebec_core::{
    Error, InvocationId,
    message::{Call, Payload},
    record::KeptRequest,
};
use xebec_sqlite::{
    Fault,
    rusqlite::{Connection, OptionalExtension as _},
};

/// Stores a request in place of an earlier one of that call; returns by how many bytes there are more now.
pub(crate) fn put(connection: &Connection, request: &KeptRequest) -> Result<i64, Fault> {
    let id = request.id.0.as_bytes().as_slice();
    let before = delete(connection, id)?;
    let head = serde_json::to_vec(&request.call).map_err(|error| damaged(&request.id, &error))?;
    let body: &[u8] = match &request.call.body {
        Payload::Inline(bytes) => bytes,
        // Blobs belong to messages; no such request is ever kept.
        Payload::Blob { .. } => return Ok(-before),
    };
    let sql =
        concat!("INSERT INTO requests (id, head, body) VALUES (?1, ?2, ?3) RETURNING ", request_bytes!());
    let bytes: i64 = connection.prepare_cached(sql)?.query_row((id, head, body), |row| row.get(0))?;
    Ok(bytes - before)
}

/// Deletes a call's request, if there is one; returns how many bytes it took.
pub(crate) fn delete(connection: &Connection, id: &[u8]) -> Result<i64, Fault> {
    let sql = concat!("DELETE FROM requests WHERE id = ?1 RETURNING ", request_bytes!());
    Ok(connection.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// A call's request.
pub(crate) fn find(connection: &Connection, id: &InvocationId) -> Result<Option<Call>, Fault> {
    let mut statement = connection.prepare_cached("SELECT head, body FROM requests WHERE id = ?1")?;
    let found = statement
        .query_row([id.0.as_bytes().as_slice()], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    let Some((head, body)) = found else { return Ok(None) };
    let call: Call = serde_json::from_slice(&head).map_err(|error| damaged(id, &error))?;
    Ok(Some(Call { body: Payload::Inline(Bytes::from(body)), ..call }))
}

fn damaged(id: &InvocationId, error: &serde_json::Error) -> Error {
    Error::internal("XB4003", format!("the request of {id} is not as it was written: {error}"))
}
