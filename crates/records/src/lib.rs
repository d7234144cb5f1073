//! Records of invocations and lines that functions printed, in one SQLite file.
//!
//! Unlike state, this may lose its last moments at power loss; it never loses its consistency. Names of
//! functions and instances are kept once and referred to by number, so that a million rows stay small.

mod bounds;
mod codes;
mod filter;
mod logs;
mod origins;
mod page;
mod records;
mod requests;
mod rows;
mod schema;

pub use logs::{MAX_LINES, SqliteLogs};
pub use records::{MAX_PAGE, SqliteRecords};

use std::{path::Path, sync::Arc};
use xebec_core::Error;
use xebec_sqlite::{Database, Durability, Options};

/// The file's name within the data directory.
pub const RECORDS_FILE: &str = "records.db";

/// Opens `records.db` in a directory, or creates it. Nobody else may have it open.
///
/// # Errors
/// `XB4002`, `XB4003`, `XB4007`.
pub fn open(directory: &Path) -> Result<(SqliteRecords, SqliteLogs), Error> {
    let options = Options { durability: Durability::Checkpoint, ..Options::default() };
    let file = directory.join(RECORDS_FILE);
    let database = Arc::new(Database::open(&file, schema::MIGRATIONS, options)?);
    Ok((SqliteRecords(Arc::clone(&database)), SqliteLogs(database)))
}
