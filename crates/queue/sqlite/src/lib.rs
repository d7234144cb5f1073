//! The queue in SQLite: the [`xebec_core::ports::queue::Queue`] of one machine, `queue.db` in its data directory.
//!
//! One thread writes. What waits for it goes together in one transaction, so that many share an fsync, and
//! those who wait for messages get theirs in the same transaction. Which message comes next is a seek in an
//! index, however many wait; whose turn it is, what is claimed and until when are kept in memory, and rebuilt
//! when the file is opened.
//!
//! | file | what it is about |
//! |---|---|
//! | `schema`, `sql` | tables, statements |
//! | `message`, `entry` | messages on their way in and out |
//! | `inbox`, `task`, `desk` | the line before the writing thread, what it does for others, the thread |
//! | `work`, `memory` | a transaction under way; what is known by heart, and how it is rolled back |
//! | `enqueue`, `claim`, `settle`, `letters`, `upkeep` | what happens to messages |
//! | `select`, `load` | finding messages; opening |

#[cfg(test)]
mod agreement;
mod claim;
mod desk;
mod enqueue;
mod entry;
mod inbox;
mod letters;
mod load;
mod memory;
mod message;
mod queue;
mod schema;
mod select;
mod settle;
mod sql;
#[cfg(test)]
mod sql_plans;
mod task;
mod upkeep;
mod work;

use desk::Desk;
use inbox::{Inbox, Order, stopped};
use std::{path::Path, sync::Arc, thread::JoinHandle, time::Duration};
use task::{Job, Pending};
use tokio::{sync::oneshot, time::timeout};
use xebec_core::{Error, ports::clock::Clock};
use xebec_sqlite::{Fault, Reading, rusqlite::Connection};

/// The file's name within the data directory.
pub const QUEUE_FILE: &str = "queue.db";

/// How much a queue takes, and keeps.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The file.
    pub database: xebec_sqlite::Options,
    /// Messages in all.
    pub messages: u64,
    /// Messages of a tenant.
    pub tenant_messages: u64,
    /// Bytes in all, bodies that are blobs included.
    pub bytes: u64,
    /// Bytes of a message, those that travel with it.
    pub message_bytes: usize,
    /// Messages accepted at once.
    pub batch: usize,
    /// How long dead letters are kept.
    pub dead_age: Duration,
    /// How many dead letters are kept.
    pub dead: u64,
    /// Bytes that may wait to be written.
    pub waiting_bytes: usize,
    /// What shares a transaction, at most.
    pub group: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            database: xebec_sqlite::Options { queue: 4096, ..xebec_sqlite::Options::default() },
            messages: 10_000_000,
            tenant_messages: 2_000_000,
            bytes: 8 << 30,
            message_bytes: 1 << 20,
            batch: 10_000,
            dead_age: Duration::from_secs(14 * 24 * 3600),
            dead: 1_000_000,
            waiting_bytes: 64 << 20,
            group: 512,
        }
    }
}

/// The queue of one machine. What it acknowledged survives power loss.
pub struct SqliteQueue {
    reading: Option<Reading>,
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
    clock: Arc<dyn Clock>,
    options: Options,
}

impl SqliteQueue {
    /// Opens `queue.db` in a data directory, or creates it. Nobody else may have it open. What ran when it was
    /// closed, or killed, waits again.
    ///
    /// # Errors
    /// `XB4002`, `XB4003`, `XB4007`.
    pub fn open(directory: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Self, Error> {
        let file = directory.join(QUEUE_FILE);
        let fault = |fault: Fault| fault.into_error(&format!("open {}", file.display()));
        let (connection, reading) = xebec_sqlite::split(&file, schema::MIGRATIONS, options.database)?;
        tune(&connection).map_err(fault)?;
        let memory = load::load(&connection, &*clock, &options).map_err(fault)?;
        let inbox = Arc::new(Inbox::new(options.database.queue.max(1), options.waiting_bytes));
        let desk = Desk::new(connection, memory, Arc::clone(&clock), Arc::clone(&inbox), options);
        let thread = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || desk.run())
            .map_err(|error| fault(error.into()))?;
        Ok(Self { reading: Some(reading), inbox, thread: Some(thread), clock, options })
    }

    /// Has something done, and answers once it is on disk.
    async fn ask<J: Job>(&self, job: J) -> Result<J::Output, Error> {
        let (answer, answered) = oneshot::channel();
        self.inbox.push(Order::Task(Pending::new(job, answer)))?;
        self.answered(answered).await
    }

    /// The same for what must not be refused while much waits, since it makes room.
    async fn insist<J: Job>(&self, job: J) -> Result<J::Output, Error> {
        let (answer, answered) = oneshot::channel();
        self.inbox.insist(Order::Task(Pending::new(job, answer)));
        self.answered(answered).await
    }

    async fn answered<T>(&self, answered: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        let deadline = self.options.database.deadline;
        match timeout(deadline, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(desk::too_slow(deadline)),
        }
    }

    fn reading(&self) -> Result<&Reading, Error> {
        // It is there until the queue is dropped.
        self.reading.as_ref().ok_or_else(stopped)
    }
}

/// Pages change often while messages come and go: a log that is put into the file less often has more of the
/// same pages, which then are written once. The cache is for the ends of indexes of a long queue; it is only
/// taken as it is used.
fn tune(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.execute_batch("PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -16384;")?)
}

impl Drop for SqliteQueue {
    fn drop(&mut self) {
        // The last connection to close, the writer's, puts the log into the file.
        self.reading = None;
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            // A panic has already been printed; there is no one to hand it to.
            let _ = thread.join();
        }
    }
}
