//! Records of invocations.

use crate::{
    bounds::{self, Kept, Table},
    codes,
    filter::{Filter, Selection},
    origins::{Names, Origins},
    requests,
    schema::record_bytes,
};
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;
use xebec_core::{
    Digest, Error, InvocationId,
    invocation::Timing,
    message::Call,
    ports::records::{Records, Retention},
    record::{InvocationRecord, KeptRequest, RecordPage, RecordQuery},
};
use xebec_sqlite::{
    Database, Fault, Job,
    rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter, types::Value},
    time::{from_nanoseconds, to_nanoseconds},
};

/// The most records in a page.
pub const MAX_PAGE: u32 = 1000;
/// Records in a page where the query does not say.
const DEFAULT_PAGE: u32 = 100;
/// The longest message kept, in bytes.
const MAX_MESSAGE_BYTES: usize = 4096;

const TABLE: Table = Table { name: "records", time: "received", delete };

const COLUMNS: &str = "seq, id, function, received, outcome, clock, cold, wait_us, first_byte_us, run_us, \
                       status, request_bytes, response_bytes, revision, instance, message, attempt";

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
                let sql = format!("SELECT {COLUMNS} FROM records WHERE id = ?1");
                let mut statement = connection.prepare_cached(&sql)?;
                let mut rows = statement.query([id.as_bytes().as_slice()])?;
                rows.next()?.map(|row| record(connection, row, &mut Names::default())).transpose()
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
        self.0.read(move |connection| page(connection, &filter, after, limit)).await
    }

    async fn count(&self, query: &RecordQuery) -> Result<u64, Error> {
        let filter = Filter::of(query)?;
        self.0.read(move |connection| count(connection, filter)).await
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
             (id, tenant, function, received, outcome, clock, cold, wait_us, first_byte_us, run_us, status,
              request_bytes, response_bytes, revision, instance, message, attempt)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
             ON CONFLICT (id) DO NOTHING RETURNING ",
            record_bytes!()
        ))?;
        let mut change = Kept::default();
        for record in &self.records {
            let function = origins.function(connection, &record.function)?;
            let (outcome, clock) = codes::of_outcome(&record.outcome);
            let revision: Option<[u8; 32]> = record.revision.map(|digest| *digest.as_bytes());
            let values = params![
                record.id.0.as_bytes().as_slice(),
                function.tenant,
                function.id,
                to_nanoseconds(record.received),
                outcome,
                clock,
                record.timing.cold,
                signed(record.timing.wait_us),
                signed(record.timing.first_byte_us),
                signed(record.timing.run_us),
                record.status,
                signed(record.request_bytes),
                signed(record.response_bytes),
                revision,
                record.instance,
                record.message.as_deref().map(shortened),
                record.attempt,
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

fn record(connection: &Connection, row: &Row<'_>, names: &mut Names) -> Result<InvocationRecord, Fault> {
    Ok(InvocationRecord {
        id: InvocationId(Uuid::from_bytes(row.get(1)?)),
        function: names.function(connection, row.get(2)?)?,
        received: from_nanoseconds(row.get(3)?),
        outcome: codes::outcome(row.get(4)?, row.get(5)?),
        timing: Timing {
            cold: row.get(6)?,
            wait_us: unsigned(row.get(7)?),
            init_us: 0,
            first_byte_us: unsigned(row.get(8)?),
            run_us: unsigned(row.get(9)?),
        },
        status: row.get(10)?,
        request_bytes: unsigned(row.get(11)?),
        response_bytes: unsigned(row.get(12)?),
        revision: row.get::<_, Option<[u8; 32]>>(13)?.map(Digest::from_bytes),
        instance: row.get(14)?,
        message: row.get(15)?,
        attempt: row.get(16)?,
        noted: None,
    })
}

/// Where a page ended: records are sorted by time, then by number.
#[derive(Clone, Copy)]
struct Place {
    received: i64,
    seq: i64,
}

impl Place {
    fn text(self) -> String {
        format!("{:016x}{:016x}", self.received, self.seq)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let part = |range| {
            let digits: &str = text.get(range)?;
            u64::from_str_radix(digits, 16).ok().map(u64::cast_signed)
        };
        match (text.len(), part(0..16), part(16..32)) {
            (32, Some(received), Some(seq)) => Ok(Self { received, seq }),
            _ => Err(Error::invalid("XB4014", format!("{text:?} is not a cursor"))
                .with_hint("pass the cursor of the page before, unchanged, or none")),
        }
    }
}

fn page(
    connection: &Connection,
    filter: &Filter,
    after: Option<Place>,
    limit: usize,
) -> Result<RecordPage, Fault> {
    let Some((sql, values)) = page_statement(connection, filter, after, limit)? else {
        return Ok(RecordPage::default());
    };
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut names = Names::default();
    let mut records = Vec::with_capacity(limit);
    let mut end = None;
    while let Some(row) = rows.next()? {
        if records.len() == limit {
            return Ok(RecordPage { records, cursor: end.map(Place::text) });
        }
        end = Some(Place { received: row.get(3)?, seq: row.get(0)? });
        records.push(record(connection, row, &mut names)?);
    }
    Ok(RecordPage { records, cursor: None })
}

fn page_statement(
    connection: &Connection,
    filter: &Filter,
    after: Option<Place>,
    limit: usize,
) -> Result<Option<(String, Vec<Value>)>, Fault> {
    let Some(mut selection) = filter.select(connection)? else { return Ok(None) };
    if let Some(Place { received, seq }) = after {
        selection.before(received, seq);
    }
    // One more than asked for tells whether there is another page.
    selection.values.push(Value::from(limit as i64 + 1));
    let sql = format!(
        "SELECT {COLUMNS} FROM {} ORDER BY received DESC, seq DESC LIMIT ?{}",
        selection.source(),
        selection.values.len()
    );
    Ok(Some((sql, selection.values)))
}

/// Successes are counted as all but the failures, which indexes answer without reading a record.
fn count(connection: &Connection, mut filter: Filter) -> Result<u64, Fault> {
    let only_successes = filter.outcome == Some(codes::SUCCESS);
    if only_successes {
        filter.outcome = None;
    }
    let Some(selection) = filter.select(connection)? else { return Ok(0) };
    let count = |selection: &Selection| -> Result<u64, Fault> {
        let sql = format!("SELECT count(*) FROM {}", selection.source());
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(unsigned(statement.query_row(params_from_iter(&selection.values), |row| row.get(0))?))
    };
    let found = count(&selection)?;
    let failures = if only_successes { count(&selection.failures())? } else { 0 };
    Ok(found.saturating_sub(failures))
}

/// Counts and sizes are kept as SQLite has them, and no real one is that large.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::{FunctionKey, Tenant};

    #[test]
    fn every_question_has_an_index() {
        let connection = Connection::open_in_memory().unwrap();
        crate::schema::MIGRATIONS.iter().for_each(|step| connection.execute_batch(step).unwrap());
        let (tenant, now) = (Tenant::new("t"), jiff::Timestamp::now());
        let function = FunctionKey::new(&tenant, "native", "f");
        Origins::default().function(&connection, &function).unwrap();
        let base = RecordQuery::default();
        for (query, index) in [
            (base.clone(), "records_by_time"),
            (RecordQuery { function: Some(function.clone()), ..base.clone() }, "records_by_function"),
            (RecordQuery { tenant: Some(tenant.clone()), ..base.clone() }, "records_by_tenant"),
        ] {
            for (outcome, index) in [
                (None, index),
                (Some("success"), index),
                (
                    Some("crash"),
                    &*index.replace("records_by_time", "failures").replace("records", "failures"),
                ),
            ] {
                for time in [None, Some(now)] {
                    for after in [None, Some(Place { received: 1, seq: 1 })] {
                        let outcome = outcome.map(str::to_owned);
                        let query = RecordQuery { outcome, since: time, until: time, ..query.clone() };
                        let plan = plan(&connection, &query, after);
                        assert!(
                            plan.contains(&format!("INDEX {index} ")) || plan.ends_with(index),
                            "{query:?}: {plan}"
                        );
                        assert!(!plan.contains("TEMP B-TREE"), "{query:?}: {plan}");
                    }
                }
            }
        }
    }

    /// How SQLite would find what a query asks for.
    fn plan(connection: &Connection, query: &RecordQuery, after: Option<Place>) -> String {
        let filter = Filter::of(query).unwrap();
        let (sql, values) = page_statement(connection, &filter, after, 10).unwrap().unwrap();
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"é".repeat(MAX_MESSAGE_BYTES));
        assert!(cut.len() <= MAX_MESSAGE_BYTES && cut.ends_with("é…"));
    }
}
