//! Records of invocations.

use crate::{
    bounds::{self, Table},
    codes,
    origins::{self, Names, Origins},
};
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;
use xebec_core::{
    Digest, Error, InvocationId,
    invocation::Timing,
    ports::records::{Records, Retention},
    record::{InvocationRecord, RecordPage, RecordQuery},
};
use xebec_sqlite::{
    Database, Fault, Job,
    rusqlite::{Connection, Row, params, params_from_iter, types::Value},
    time::{from_nanoseconds, to_nanoseconds},
};

/// The most records in a page.
pub const MAX_PAGE: u32 = 1000;
/// Records in a page where the query does not say.
const DEFAULT_PAGE: u32 = 100;
/// The longest message kept, in bytes.
const MAX_MESSAGE_BYTES: usize = 4096;

const TABLE: Table = Table { name: "records", time: "received" };

const COLUMNS: &str = "seq, id, function, received, outcome, clock, cold, wait_us, first_byte_us, run_us, \
                       status, request_bytes, response_bytes, revision, instance, message";

/// Records in SQLite. A second record of the same id takes the place of the first.
#[derive(Clone)]
pub struct SqliteRecords(pub(crate) Arc<Database>);

#[async_trait]
impl Records for SqliteRecords {
    async fn append(&self, records: Vec<InvocationRecord>) -> Result<(), Error> {
        if records.is_empty() { Ok(()) } else { self.0.write(Append(records)).await }
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

struct Append(Vec<InvocationRecord>);

impl Job for Append {
    type Output = ();

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        let mut origins = Origins::default();
        let mut insert = connection.prepare_cached(
            "INSERT OR REPLACE INTO records
             (id, tenant, function, received, outcome, clock, cold, wait_us, first_byte_us, run_us, status,
              request_bytes, response_bytes, revision, instance, message)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?;
        for record in &self.0 {
            let function = origins.function(connection, &record.function)?;
            let (outcome, clock) = codes::of_outcome(&record.outcome);
            let revision: Option<[u8; 32]> = record.revision.map(|digest| *digest.as_bytes());
            insert.execute(params![
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
            ])?;
        }
        Ok(())
    }

    fn settle(self) {}
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
            first_byte_us: unsigned(row.get(8)?),
            run_us: unsigned(row.get(9)?),
        },
        status: row.get(10)?,
        request_bytes: unsigned(row.get(11)?),
        response_bytes: unsigned(row.get(12)?),
        revision: row.get::<_, Option<[u8; 32]>>(13)?.map(Digest::from_bytes),
        instance: row.get(14)?,
        message: row.get(15)?,
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

/// What to look for. Known functions and tenants have numbers; nothing was recorded of others.
struct Filter {
    query: RecordQuery,
    outcome: Option<i64>,
}

impl Filter {
    fn of(query: &RecordQuery) -> Result<Self, Error> {
        let number = |name: &String| {
            codes::of_name(name).ok_or_else(|| {
                Error::invalid("XB4015", format!("{name:?} is not an outcome"))
                    .with_hint(format!("one of {}", codes::names()))
            })
        };
        Ok(Self { outcome: query.outcome.as_ref().map(number).transpose()?, query: query.clone() })
    }

    /// The condition and its values; `None` where nothing can match.
    fn condition(&self, connection: &Connection) -> Result<Option<(String, Vec<Value>)>, Fault> {
        let query = &self.query;
        let mut terms = Vec::new();
        let mut values = Vec::new();
        let mut term = |text: &str, value: i64| {
            values.push(Value::from(value));
            terms.push(format!("{text} ?{}", values.len()));
        };
        if let Some(key) = &query.function {
            if query.tenant.as_ref().is_some_and(|tenant| *tenant != key.tenant) {
                return Ok(None);
            }
            let Some(function) = origins::function(connection, key)? else { return Ok(None) };
            term("function =", function);
        } else if let Some(tenant) = &query.tenant {
            let Some(tenant) = origins::tenant(connection, tenant)? else { return Ok(None) };
            term("tenant =", tenant);
        }
        if let Some(since) = query.since {
            term("received >=", to_nanoseconds(since));
        }
        if let Some(until) = query.until {
            term("received <", to_nanoseconds(until));
        }
        if let Some(outcome) = self.outcome {
            term("outcome =", outcome);
            if outcome != codes::SUCCESS {
                // Lets SQLite see that the indexes of failures will do.
                terms.push("outcome <> 0".to_owned());
            }
        }
        let condition = if terms.is_empty() { "TRUE".to_owned() } else { terms.join(" AND ") };
        Ok(Some((condition, values)))
    }
}

fn page(
    connection: &Connection,
    filter: &Filter,
    after: Option<Place>,
    limit: usize,
) -> Result<RecordPage, Fault> {
    let Some((mut condition, mut values)) = filter.condition(connection)? else {
        return Ok(RecordPage::default());
    };
    if let Some(Place { received, seq }) = after {
        let next = values.len() + 1;
        condition += &format!(" AND (received, seq) < (?{next}, ?{})", next + 1);
        values.extend([Value::from(received), Value::from(seq)]);
    }
    // One more than asked for tells whether there is another page.
    values.push(Value::from(limit as i64 + 1));
    let sql = format!(
        "SELECT {COLUMNS} FROM records WHERE {condition} ORDER BY received DESC, seq DESC LIMIT ?{}",
        values.len()
    );
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

/// Successes are counted as all but the failures, which indexes answer without reading a record.
fn count(connection: &Connection, mut filter: Filter) -> Result<u64, Fault> {
    let only_successes = filter.outcome == Some(codes::SUCCESS);
    if only_successes {
        filter.outcome = None;
    }
    let Some((condition, values)) = filter.condition(connection)? else { return Ok(0) };
    let count = |condition: &str| -> Result<u64, Fault> {
        let sql = format!("SELECT count(*) FROM records WHERE {condition}");
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(unsigned(statement.query_row(params_from_iter(values.iter()), |row| row.get(0))?))
    };
    let found = count(&condition)?;
    let failures = if only_successes { count(&format!("{condition} AND outcome <> 0"))? } else { 0 };
    Ok(found.saturating_sub(failures))
}

/// Counts and sizes are kept as SQLite has them, and no real one is that large.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
