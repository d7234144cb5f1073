//! Keeping tables within their bounds. How many rows a table has and about how many bytes they take is kept
//! in a row of `kept`, which changes in the same transaction as they do.

use crate::origins;
use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};
use xebec_core::{Error, ports::records::Retention};
use xebec_sqlite::{
    Database, Fault, Job,
    rusqlite::{Connection, types::Value},
    time::to_nanoseconds,
};

/// Rows that go in one transaction at most.
const CHUNK: usize = 2000;

/// How long one transaction deletes, so that nobody waits much longer for the writer.
const STEP: Duration = Duration::from_millis(10);

/// Rows that go in any case: on a slow machine, too, as many as come in a batch.
const FEWEST: u64 = 500;

/// A table, its column of times, and how a row of it is deleted.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) time: &'static str,
    /// Deletes the row of that number with all that belongs to it; returns how many bytes it took.
    pub(crate) delete: fn(&Connection, i64) -> Result<i64, Fault>,
}

/// How much is in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) entries: i64,
    pub(crate) bytes: i64,
}

impl Kept {
    pub(crate) fn of(connection: &Connection, table: &str) -> Result<Self, Fault> {
        let mut statement = connection.prepare_cached("SELECT entries, bytes FROM kept WHERE name = ?1")?;
        Ok(statement.query_row([table], |row| Ok(Self { entries: row.get(0)?, bytes: row.get(1)? }))?)
    }

    /// Adds a change to what a table has.
    pub(crate) fn change(self, connection: &Connection, table: &str) -> Result<(), Fault> {
        let sql = "UPDATE kept SET entries = entries + ?2, bytes = bytes + ?3 WHERE name = ?1";
        connection.prepare_cached(sql)?.execute((table, self.entries, self.bytes))?;
        Ok(())
    }

    /// Counts a row that came.
    pub(crate) fn add(&mut self, bytes: i64) {
        self.entries += 1;
        self.bytes += bytes;
    }

    /// Counts a row that went.
    pub(crate) fn remove(&mut self, bytes: i64) {
        self.entries -= 1;
        self.bytes -= bytes;
    }
}

/// Deletes what is past any bound, oldest first, in small steps; returns how many rows went.
pub(crate) async fn trim(database: &Database, table: Table, retention: &Retention) -> Result<u64, Error> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let age = SignedDuration::from_secs(signed(retention.seconds));
    // An age that reaches back before all times is no bound.
    let oldest = Timestamp::now().checked_sub(age).map_or(i64::MIN, to_nanoseconds);
    let most = Kept { entries: signed(retention.entries), bytes: signed(retention.bytes) };
    let mut gone = 0;
    loop {
        let (deleted, more) = database.write(Trim { table, oldest, most, deleted: 0, more: false }).await?;
        gone += deleted;
        if !more {
            break;
        }
    }
    clean_up(database, gone).await?;
    Ok(gone)
}

struct Trim {
    table: Table,
    oldest: i64,
    most: Kept,
    deleted: u64,
    /// There may be more to delete.
    more: bool,
}

impl Job for Trim {
    type Output = (u64, bool);

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        let Table { name, time, delete } = self.table;
        let sql = format!("SELECT seq, {time} FROM {name} ORDER BY {time}, seq LIMIT {CHUNK}");
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows = rows.collect::<Result<Vec<(i64, i64)>, _>>()?;
        let kept = Kept::of(connection, name)?;
        let mut change = Kept::default();
        let began = Instant::now();
        self.more = rows.len() == CHUNK;
        for (seq, time) in rows {
            let within = kept.entries + change.entries <= self.most.entries
                && kept.bytes + change.bytes <= self.most.bytes;
            if time >= self.oldest && within {
                self.more = false;
                break;
            }
            if change.entries.unsigned_abs() >= FEWEST && began.elapsed() > STEP {
                self.more = true;
                break;
            }
            change.remove(delete(connection, seq)?);
        }
        self.deleted = change.entries.unsigned_abs();
        change.change(connection, name)
    }

    fn settle(self) -> (u64, bool) {
        (self.deleted, self.more)
    }
}

/// Deletes all rows that meet a condition on `?1`, in small steps.
pub(crate) async fn delete_where(
    database: &Database,
    table: Table,
    condition: &'static str,
    value: Value,
) -> Result<(), Error> {
    let mut gone = 0;
    loop {
        let deleted =
            database.write(DeleteWhere { table, condition, value: value.clone(), deleted: 0 }).await?;
        gone += deleted;
        if deleted == 0 {
            return clean_up(database, gone).await;
        }
    }
}

struct DeleteWhere {
    table: Table,
    condition: &'static str,
    value: Value,
    deleted: u64,
}

impl Job for DeleteWhere {
    type Output = u64;

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        let Table { name, delete, .. } = self.table;
        let sql = format!("SELECT seq FROM {name} WHERE {} LIMIT {CHUNK}", self.condition);
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map([&self.value], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        let mut change = Kept::default();
        let began = Instant::now();
        for seq in rows {
            change.remove(delete(connection, seq)?);
            if change.entries.unsigned_abs() >= FEWEST && began.elapsed() > STEP {
                break;
            }
        }
        self.deleted = change.entries.unsigned_abs();
        change.change(connection, name)
    }

    fn settle(self) -> u64 {
        self.deleted
    }
}

async fn clean_up(database: &Database, gone: u64) -> Result<(), Error> {
    if gone > 0 {
        origins::prune(database).await?;
        database.shrink().await?;
    }
    Ok(())
}
