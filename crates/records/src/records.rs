//! Records of invocations.

use crate::{
    bounds::{self, Kept, Table},
    codes,
    filter::Filter,
    origins::{Names, Origins},
    page::{self, Extent, Place},
    requests,
    rows::{self, signed},
    schema::record_bytes,
};
use async_trait::async_trait;
use std::sync::Arc;
use xebec_core::{
    Error, InvocationId,
    message::Call,
    ports::records::{Records, Retention},
    record::{InvocationRecord, KeptRequest, RecordPage, RecordQuery},
};
use xebec_sqlite::{
    Database, Fault, Job,
    rusqlite::{Connection, OptionalExtension as _, params},
    time::to_nanoseconds,
};

/// The most records in a page.
pub const MAX_PAGE: u32 = 1000;
/// Records in a page where the query does not say.
const DEFAULT_PAGE: u32 = 100;
/// The longest message kept, in bytes.
const MAX_MESSAGE_BYTES: usize = 4096;

const TABLE: Table = Table { name: "records", time: "received", delete };

/// Records in SQLite. A second record of the same id takes the place of the first.
#[derive(Clone)]
pub struct SqliteRecords(pub(crate) Arc<Database>);

#[async_trait]
impl Records for SqliteRecords {
    async fn append_with_requests(
        &self,
        records: Vec<InvocationRecord>,
        requests: Vec<KeptRequest>,
    ) -> Result<(), Error> {
        if records.is_empty() { Ok(()) } else { self.0.write(Append { records, requests }).await }
    }

    async fn get(&self, id: &InvocationId) -> Result<Option<InvocationRecord>, Error> {
        let id = id.0;
        self.0
            .read(move |connection| {
                let sql = format!("SELECT {} FROM records WHERE id = ?1", rows::columns(true));
                let mut statement = connection.prepare_cached(&sql)?;
                let mut rows = statement.query([id.as_bytes().as_slice()])?;
                let mut names = Names::default();
                rows.next()?.map(|row| rows::record(connection, row, &mut names)).transpose()
            })
            .await
    }

    async fn request(&self, id: &InvocationId) -> Result<Option<Call>, Error> {
        let id = *id;
        self.0.read(move |connection| requests::find(connection, &id)).await
    }

    async fn query(&self, query: &RecordQuery) -> Result<RecordPage, Error> {
        let filter = Filter::of(query)?;
        let after = query.cursor.as_deref().map(Place::parse).transpose()?;
        let limit = query.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE) as usize;
        let extent = Extent { after, skip: query.skip, limit };
        self.0.read(move |connection| page::page(connection, &filter, extent)).await
    }

    async fn count(&self, query: &RecordQuery) -> Result<u64, Error> {
        let filter = Filter::of(query)?;
        self.0.read(move |connection| page::count(connection, filter)).await
    }

    async fn trim(&self, retention: &Retention) -> Result<u64, Error> {
        bounds::trim(&self.0, TABLE, retention).await
    }
}

struct Append {
    records: Vec<InvocationRecord>,
    requests: Vec<KeptRequest>,
}

impl Job for Append {
    type Output = ();

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        let mut origins = Origins::default();
        // Nothing where the id is there already: that is rare, and then costs more.
        let mut insert = connection.prepare_cached(concat!(
            "INSERT INTO records
             (id, tenant, function, received, outcome, clock, cold, wait_us, init_us, first_byte_us, run_us,
              status, request_bytes, response_bytes, revision, instance, message, attempt,
              filed_for, filed, cause, details, answer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                     ?22, ?23)
             ON CONFLICT (id) DO NOTHING RETURNING ",
            record_bytes!()
        ))?;
        let mut change = Kept::default();
        for record in &self.records {
            let function = origins.function(connection, &record.function)?;
            let (outcome, clock) = codes::of_outcome(&record.outcome);
            let revision: Option<[u8; 32]> = record.revision.map(|digest| *digest.as_bytes());
            let noted = record.noted.as_deref();
            let filed = noted.and_then(|noted| noted.filed.as_ref());
            let list = filed.map(|filed| origins.list(connection, filed)).transpose()?;
            let details = noted.map(|noted| &noted.details).filter(|details| !details.is_null());
            let values = params![
                record.id.0.as_bytes().as_slice(),
                function.tenant,
                function.id,
                to_nanoseconds(record.received),
                outcome,
                clock,
                record.timing.cold,
                signed(record.timing.wait_us),
                signed(record.timing.init_us),
                signed(record.timing.first_byte_us),
                signed(record.timing.run_us),
                record.status,
                signed(record.request_bytes),
                signed(record.response_bytes),
                revision,
                record.instance,
                record.message.as_deref().map(shortened),
                record.attempt,
                list.map(|list| list.tenant),
                list.map(|list| list.id),
                noted.and_then(|noted| noted.cause).map(|cause| *cause.0.as_bytes()),
                details.map(serde_json::Value::to_string),
                noted.map(|noted| &*noted.answer).filter(|answer| !answer.is_empty()),
            ];
            let mut insert = || insert.query_row(values, |row| row.get::<_, i64>(0)).optional();
            let bytes = match insert()? {
                Some(bytes) => bytes,
                None => {
                    // Another attempt of the same call: the later one counts.
                    change.remove(replace(connection, &record.id)?);
                    insert()?.unwrap_or_default()
                }
            };
            change.add(bytes);
        }
        for request in &self.requests {
            change.bytes += requests::put(connection, request)?;
        }
        change.change(connection, TABLE.name)
    }

    fn settle(self) {}
}

/// Deletes a record, not its request.
fn replace(connection: &Connection, id: &InvocationId) -> Result<i64, Fault> {
    let sql = concat!("DELETE FROM records WHERE id = ?1 RETURNING ", record_bytes!());
    Ok(connection.prepare_cached(sql)?.query_row([id.0.as_bytes().as_slice()], |row| row.get(0))?)
}

/// Deletes a record and its request.
fn delete(connection: &Connection, seq: i64) -> Result<i64, Fault> {
    let sql = concat!("DELETE FROM records WHERE seq = ?1 RETURNING id, ", record_bytes!());
    let (id, bytes): (Vec<u8>, i64) =
        connection.prepare_cached(sql)?.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(bytes + requests::delete(connection, &id)?)
}

fn shortened(message: &str) -> String {
    if message.len() <= MAX_MESSAGE_BYTES {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(MAX_MESSAGE_BYTES - '…'.len_utf8());
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"é".repeat(MAX_MESSAGE_BYTES));
        assert!(cut.len() <= MAX_MESSAGE_BYTES && cut.ends_with("é…"));
    }
}
