//! Opening a connection.

use crate::{Durability, Fault};
use rusqlite::{Connection, OpenFlags};
use std::{path::Path, time::Duration};

/// How long SQLite itself waits for a lock. Only a program from outside can hold one that long.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// The connection that writes; creates the file.
pub(crate) fn open(path: &Path, durability: Durability) -> Result<Connection, Fault> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = with(path, flags)?;
    let synchronous = match durability {
        Durability::Commit => "FULL",
        Durability::Checkpoint => "NORMAL",
    };
    // Incremental vacuum can only be chosen before the first table. The log is cut back after a checkpoint,
    // so that a burst does not keep its space. `fullfsync` is what makes an fsync one on macOS.
    connection.execute_batch(&format!(
        "PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = {synchronous};
         PRAGMA fullfsync = {};
         PRAGMA journal_size_limit = 16777216;
         PRAGMA foreign_keys = ON;",
        u8::from(durability == Durability::Commit),
    ))?;
    Ok(connection)
}

/// A connection that reads.
pub(crate) fn reader(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = with(path, flags)?;
    connection.execute_batch("PRAGMA query_only = ON;")?;
    Ok(connection)
}

fn with(path: &Path, flags: OpenFlags) -> Result<Connection, Fault> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCK_WAIT)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
