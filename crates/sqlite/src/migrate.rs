//! Schemas, brought up to date step by step.

use crate::Fault;
use rusqlite::{Connection, TransactionBehavior};
use xebec_core::{Error, ErrorKind};

/// The steps that make a schema, oldest first. Number N is the N-th; `user_version` holds the last one done.
/// A released step is never changed: a new one is added.
pub type Migrations = &'static [&'static str];

/// Does the steps that are missing, each in a transaction of its own.
pub(crate) fn up(connection: &mut Connection, migrations: Migrations) -> Result<(), Fault> {
    let done = version(connection)?;
    if done > migrations.len() {
        return Err(newer(done, migrations.len()).into());
    }
    for (index, sql) in migrations.iter().enumerate().skip(done) {
        let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.execute_batch(sql)?;
        step.pragma_update(None, "user_version", number(index + 1))?;
        step.commit()?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn number(step: usize) -> u32 {
    u32::try_from(step).unwrap_or(u32::MAX)
}

fn newer(found: usize, known: usize) -> Error {
    Error::new(
        ErrorKind::Refused,
        "XB4007",
        format!("the data was written by a newer version (schema {found}, this one knows up to {known})"),
    )
    .with_hint("start the newer version, or restore a backup that this version made")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);";
    const SECOND: &str = "ALTER TABLE a ADD COLUMN y INTEGER; UPDATE a SET y = x + 1;";

    fn open() -> Connection {
        Connection::open_in_memory().unwrap()
    }

    #[test]
    fn an_older_schema_goes_forward_and_keeps_its_rows() {
        let mut connection = open();
        up(&mut connection, &[FIRST]).unwrap();
        connection.execute("INSERT INTO a VALUES (5)", []).unwrap();
        up(&mut connection, &[FIRST, SECOND]).unwrap();
        up(&mut connection, &[FIRST, SECOND]).unwrap();
        let sum: i64 = connection.query_row("SELECT sum(y) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 8);
        assert_eq!(version(&connection).unwrap(), 2);
    }

    #[test]
    fn a_step_that_fails_changes_nothing() {
        let mut connection = open();
        up(&mut connection, &[FIRST]).unwrap();
        assert!(up(&mut connection, &[FIRST, "DROP TABLE a; NOT SQL"]).is_err());
        assert_eq!(version(&connection).unwrap(), 1);
        let rows: i64 = connection.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let mut connection = open();
        up(&mut connection, &[FIRST, SECOND]).unwrap();
        let error = up(&mut connection, &[FIRST]).unwrap_err().into_error("open");
        assert_eq!(error.code, "XB4007");
    }
}
