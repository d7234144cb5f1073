//! Keeping tables within their bounds.

use crate::origins;
use jiff::{SignedDuration, Timestamp};
use xebec_core::{Error, ports::records::Retention};
use xebec_sqlite::{
    Database, Fault, Job,
    rusqlite::{Connection, types::Value},
    time::to_nanoseconds,
};

/// Rows that go in one transaction: few enough that nobody waits long for the writer.
const CHUNK: u64 = 1000;

/// A table and its column of times.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) time: &'static str,
}

/// Deletes what is too old or too much, oldest first, in small steps; returns how many rows went.
pub(crate) async fn trim(database: &Database, table: Table, retention: &Retention) -> Result<u64, Error> {
    let Table { name, time } = table;
    let seconds = i64::try_from(retention.seconds).unwrap_or(i64::MAX);
    let mut gone = 0;
    if let Ok(oldest) = Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)) {
        let oldest = to_nanoseconds(oldest);
        gone +=
            delete(database, table, u64::MAX, Some((format!("{time} < ?2"), Value::from(oldest)))).await?;
    }
    let rows = database.read(move |connection| {
        let sql = format!("SELECT count(*) FROM {name}");
        Ok(connection.prepare_cached(&sql)?.query_row([], |row| row.get::<_, i64>(0))?)
    });
    let rows = u64::try_from(rows.await?).unwrap_or(0);
    gone += delete(database, table, rows.saturating_sub(retention.entries), None).await?;
    clean_up(database, gone).await?;
    Ok(gone)
}

/// Deletes the oldest rows until what the file holds is within `max_bytes`; returns how many rows went.
pub(crate) async fn trim_to_size(database: &Database, table: Table, max_bytes: u64) -> Result<u64, Error> {
    let mut gone = 0;
    while database.read(used_bytes).await? > max_bytes {
        match delete(database, table, CHUNK, None).await? {
            // The rest is not this table's.
            0 => break,
            deleted => gone += deleted,
        }
    }
    clean_up(database, gone).await?;
    Ok(gone)
}

fn used_bytes(connection: &Connection) -> Result<u64, Fault> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let pages = number("page_count")? - number("freelist_count")?;
    Ok(u64::try_from(pages * number("page_size")?).unwrap_or(0))
}

async fn clean_up(database: &Database, gone: u64) -> Result<(), Error> {
    if gone > 0 {
        origins::prune(database).await?;
        database.shrink().await?;
    }
    Ok(())
}

/// Deletes at most `most` rows that meet a condition on `?2`, oldest first, in small steps.
pub(crate) async fn delete(
    database: &Database,
    table: Table,
    most: u64,
    condition: Option<(String, Value)>,
) -> Result<u64, Error> {
    let Table { name, time } = table;
    let (condition, value) = condition.unwrap_or_else(|| ("?2 IS NULL".to_owned(), Value::Null));
    let sql = format!(
        "DELETE FROM {name} WHERE seq IN (SELECT seq FROM {name} WHERE {condition} ORDER BY {time} LIMIT ?1)"
    );
    let mut gone = 0;
    while gone < most {
        let chunk = CHUNK.min(most - gone);
        let deleted =
            database.write(Delete { sql: sql.clone(), value: value.clone(), chunk, deleted: 0 }).await?;
        gone += deleted;
        if deleted < chunk {
            break;
        }
    }
    Ok(gone)
}

struct Delete {
    sql: String,
    value: Value,
    chunk: u64,
    deleted: u64,
}

impl Job for Delete {
    type Output = u64;

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        let chunk = i64::try_from(self.chunk).unwrap_or(i64::MAX);
        self.deleted = connection.prepare_cached(&self.sql)?.execute((chunk, &self.value))? as u64;
        Ok(())
    }

    fn settle(self) -> u64 {
        self.deleted
    }
}
