//! Giving free pages back to the file system.

use crate::{Fault, Job};
use rusqlite::Connection;

/// Pages given back in one transaction.
const CHUNK: i64 = 256;
/// Free pages that are kept in any case: the next rows will need them.
const SPARE: i64 = 1024;

/// How many pages are free that need not be.
///
/// # Errors
/// What SQLite says.
pub fn surplus(connection: &Connection) -> Result<i64, Fault> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (pages, free) = (number("page_count")?, number("freelist_count")?);
    // A fifth of the file is left alone: a table of a steady size goes up and down by less.
    Ok((free - SPARE.max(pages / 5)).max(0))
}

/// One step, within a transaction; tells whether there is more to do.
///
/// # Errors
/// What SQLite says.
pub fn step(connection: &Connection) -> Result<bool, Fault> {
    let surplus = surplus(connection)?;
    if surplus > 0 {
        connection.execute_batch(&format!("PRAGMA incremental_vacuum({})", surplus.min(CHUNK)))?;
    }
    Ok(surplus > CHUNK)
}

/// One step as a job.
#[derive(Default)]
pub(crate) struct Step {
    more: bool,
}

impl Job for Step {
    type Output = bool;

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        self.more = step(connection)?;
        Ok(())
    }

    fn settle(self) -> bool {
        self.more
    }
}
