//! SQLite as Xebec uses it: a file in WAL mode, written by one thread that commits what waits in groups,
//! read by a few connections of their own.
//!
//! What is written is a [`Job`]. Jobs that wait at the same time share one transaction, and so one fsync;
//! each runs in a savepoint, so that one that fails leaves the others alone. The queue before the writer is
//! bounded, and every wait has a deadline.
//!
//! Errors: `XB4002` storage full or failing writes, `XB4003` storage failed, `XB4005` busy,
//! `XB4007` written by a newer version.

mod backup;
mod connection;
pub mod durable;
mod fault;
mod migrate;
mod readers;
pub mod shrink;
pub mod time;
mod writer;

pub use backup::check;
pub use fault::Fault;
pub use migrate::Migrations;
pub use rusqlite;
pub use writer::Job;

use readers::Readers;
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use writer::Writer;
use xebec_core::Error;

/// How a file is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What a commit waits for.
    pub durability: Durability,
    /// Connections that read.
    pub readers: usize,
    /// Jobs that may wait for the writer; the next is refused with `XB4005`.
    pub queue: usize,
    /// Jobs that share a transaction, at most.
    pub group: usize,
    /// How long a job or a read may take, its wait included.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Commit,
            readers: 2,
            queue: 1024,
            group: 256,
            deadline: Duration::from_secs(30),
        }
    }
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The disk: what was answered survives power loss (`synchronous=FULL`).
    Commit,
    /// The operating system: what was answered survives `kill -9`; power loss may take the last moments,
    /// never the file's consistency (`synchronous=NORMAL`).
    Checkpoint,
}

/// An open file. Dropping it waits until its writer has finished and closed it.
pub struct Database {
    // Dropped in this order: the last connection to close, the writer's, puts the log into the file.
    reading: Reading,
    writer: Writer,
}

/// The half of a file that reads.
pub struct Reading {
    path: PathBuf,
    readers: Readers,
}

/// Opens the file, or creates it, and brings its schema up to date, for someone who writes by rules of their
/// own: the connection that writes, and what reads beside it. The one that writes should be dropped last.
///
/// # Errors
/// As listed for the crate.
pub fn split(path: &Path, migrations: Migrations, options: Options) -> Result<(Connection, Reading), Error> {
    let open = || -> Result<_, Fault> {
        let mut writer = connection::open(path, options.durability)?;
        migrate::up(&mut writer, migrations)?;
        if let Some(directory) = path.parent() {
            durable::sync_directory(directory)?;
        }
        let readers = Readers::open(path, options)?;
        Ok((writer, Reading { path: path.to_owned(), readers }))
    };
    open().map_err(|fault| fault.into_error(&format!("open {}", path.display())))
}

impl Reading {
    /// Reads, in one snapshot.
    ///
    /// # Errors
    /// The reading's own; `XB4005` where no connection came free before the deadline.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.readers.read(read).await
    }

    /// Writes a consistent copy to `file`, which must not exist, while the file is in use.
    ///
    /// # Errors
    /// `XB4009` where `file` exists; as listed for the crate.
    pub async fn backup(&self, file: &Path) -> Result<(), Error> {
        backup::copy(self.path.clone(), file.to_owned()).await
    }
}

impl Database {
    /// Opens the file, or creates it, and brings its schema up to date.
    ///
    /// # Errors
    /// As listed for the crate.
    pub fn open(path: &Path, migrations: Migrations, options: Options) -> Result<Self, Error> {
        let (connection, reading) = split(path, migrations, options)?;
        let writer = Writer::start(connection, options)
            .map_err(|fault| fault.into_error(&format!("open {}", path.display())))?;
        Ok(Self { reading, writer })
    }

    /// Runs a job in the next group, and answers once that is committed.
    ///
    /// A job whose caller went away before it began is skipped; one that had begun is completed.
    ///
    /// # Errors
    /// The job's own; `XB4005` where the queue is full or the deadline passed.
    pub async fn write<J: Job>(&self, job: J) -> Result<J::Output, Error> {
        self.writer.write(job).await
    }

    /// Reads, in one snapshot.
    ///
    /// # Errors
    /// The reading's own; `XB4005` where no connection came free before the deadline.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.reading.read(read).await
    }

    /// Reads where blocking is no matter, as at start.
    ///
    /// # Errors
    /// The reading's own.
    pub fn read_now<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Error> {
        self.reading.readers.read_now(read)
    }

    /// Gives pages that deletions left free back to the file system, in small steps, where they are many.
    ///
    /// # Errors
    /// As listed for the crate.
    pub async fn shrink(&self) -> Result<(), Error> {
        while self.write(shrink::Step::default()).await? {}
        Ok(())
    }

    /// Writes a consistent copy to `file`, which must not exist, while the database is in use.
    ///
    /// # Errors
    /// `XB4009` where `file` exists; as listed for the crate.
    pub async fn backup(&self, file: &Path) -> Result<(), Error> {
        self.reading.backup(file).await
    }
}
