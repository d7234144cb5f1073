//! Documents in SQLite, and the data directory that everything embedded lives in.
//!
//! * [`DataDirectory`]: one directory, one server
//! * [`SqliteStore`]: `state.db`, the [`Store`] of one machine
//! * [`backup`]: a backup directory's layout, and [`backup::restore`]

pub mod backup;
mod directory;
mod list;
mod rows;
mod schema;
mod watch;
mod write;

pub use backup::restore;
pub use directory::DataDirectory;
pub use write::{MAX_BATCH, MAX_DOCUMENT_BYTES, MAX_KEY_BYTES};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::{path::Path, sync::Arc};
use watch::Hub;
use write::{Batch, Keep};
use xebec_core::{
    Error,
    document::{Document, DocumentKey, List, ListQuery, WatchEvent, Write},
    ports::{
        clock::{Clock, SystemClock},
        store::Store,
    },
};
use xebec_sqlite::Database;

/// The file's name within the data directory.
pub const STATE_FILE: &str = "state.db";

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// The file.
    pub database: xebec_sqlite::Options,
    /// Changes kept on disk: how far back a watch can start.
    pub changes: u64,
    /// The same in bytes of JSON; whichever bound is met first counts.
    pub change_bytes: u64,
    /// Changes kept in memory, for watchers that keep up.
    pub recent: usize,
    /// The same in bytes of JSON.
    pub recent_bytes: usize,
    /// Where `created` and `updated` come from.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            database: xebec_sqlite::Options::default(),
            changes: 10_000,
            change_bytes: 64 * 1024 * 1024,
            recent: 1024,
            recent_bytes: 4 * 1024 * 1024,
            clock: Arc::new(SystemClock),
        }
    }
}

/// The documents of one machine, in SQLite. What it acknowledged survives power loss.
pub struct SqliteStore {
    database: Arc<Database>,
    hub: Arc<Hub>,
    keep: Keep,
    clock: Arc<dyn Clock>,
    /// Held, so that the directory stays ours for as long as the store is open.
    _directory: DataDirectory,
}

impl SqliteStore {
    /// Opens `state.db` in a data directory, or creates it.
    ///
    /// # Errors
    /// `XB4002`, `XB4003`, `XB4007`.
    pub fn open(directory: &DataDirectory, options: Options) -> Result<Self, Error> {
        let file = directory.path().join(STATE_FILE);
        let database = Database::open(&file, schema::MIGRATIONS, options.database)?;
        let last = database.read_now(rows::last_version)?;
        Ok(Self {
            database: Arc::new(database),
            hub: Arc::new(Hub::new(last, options.recent, options.recent_bytes)),
            keep: Keep { changes: options.changes, bytes: options.change_bytes },
            clock: options.clock,
            _directory: directory.clone(),
        })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, Error> {
        let key = key.clone();
        self.database.read(move |connection| rows::find(connection, &key)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<List, Error> {
        let query = query.clone();
        self.database.read(move |connection| list::list(connection, &query)).await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Option<Document>>, Error> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let batch = Batch::new(writes, self.keep, Arc::clone(&self.clock), Arc::clone(&self.hub))?;
        self.database.write(batch).await
    }

    async fn watch(
        &self,
        kind: Option<String>,
        version: u64,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
        watch::watch(&self.hub, &self.database, kind, version).await
    }

    async fn backup(&self, file: &Path) -> Result<(), Error> {
        self.database.backup(file).await
    }
}
