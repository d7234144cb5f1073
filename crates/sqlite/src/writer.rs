//! The one thread that writes, in group commits.

use crate::{Fault, Options, fault::busy};
use rusqlite::Connection;
use std::{
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::timeout,
};
use xebec_core::{Error, ErrorKind};

const DOING: &str = "write to storage";

/// Something to write.
pub trait Job: Send + 'static {
    /// What its caller gets.
    type Output: Send + 'static;

    /// Does it, inside a transaction. It may run a second time, after all it did was rolled back.
    ///
    /// # Errors
    /// Whatever makes its part of the transaction void; that of others stands.
    fn run(&mut self, connection: &Connection) -> Result<(), Fault>;

    /// Called once it is committed, on the writer's thread and in the order of commits.
    fn settle(self) -> Self::Output;
}

/// A job and whoever waits for it.
struct Pending<J: Job> {
    job: J,
    answer: oneshot::Sender<Result<J::Output, Error>>,
}

trait Waiting: Send {
    fn is_abandoned(&self) -> bool;
    fn run(&mut self, connection: &Connection) -> Result<(), Fault>;
    fn finish(self: Box<Self>, result: Result<(), Fault>);
}

impl<J: Job> Waiting for Pending<J> {
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        self.job.run(connection)
    }

    fn finish(self: Box<Self>, result: Result<(), Fault>) {
        let Self { job, answer } = *self;
        // Whoever asked may have gone meanwhile; what was committed stays so.
        let _ = answer.send(match result {
            Ok(()) => Ok(job.settle()),
            Err(fault) => Err(fault.into_error(DOING)),
        });
    }
}

pub(crate) struct Writer {
    /// `None` only while being dropped.
    queue: Option<mpsc::Sender<Box<dyn Waiting>>>,
    thread: Option<JoinHandle<()>>,
    deadline: Duration,
}

impl Writer {
    pub(crate) fn start(connection: Connection, options: Options) -> Result<Self, Fault> {
        let (queue, waiting) = mpsc::channel(options.queue.max(1));
        let thread = thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_groups(&connection, waiting, options.group.max(1)))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), deadline: options.deadline })
    }

    pub(crate) async fn write<J: Job>(&self, job: J) -> Result<J::Output, Error> {
        let stopped = || Error::internal("XB4003", format!("could not {DOING}: its writer has stopped"));
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.try_send(Box::new(Pending { job, answer })).map_err(|error| match error {
            TrySendError::Full(_) => busy(DOING),
            TrySendError::Closed(_) => stopped(),
        })?;
        match timeout(self.deadline, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(too_slow(self.deadline)),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic has already been printed; there is no one to hand it to.
            let _ = thread.join();
        }
    }
}

fn too_slow(deadline: Duration) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "XB4005",
        format!("the storage did not answer within {deadline:?}; what was asked may still be written"),
    )
    .with_hint("read it back before you try again; the disk is too slow or hangs")
}

fn write_groups(connection: &Connection, mut waiting: mpsc::Receiver<Box<dyn Waiting>>, most: usize) {
    while let Some(first) = waiting.blocking_recv() {
        // What came while the last commit was on its way to the disk goes together now.
        let mut group = vec![first];
        while group.len() < most
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        group.retain(|job| !job.is_abandoned());
        match group.len() {
            0 => {}
            1 => group.into_iter().for_each(|job| alone(connection, job)),
            _ => together(connection, group),
        }
    }
}

/// Commits a group. Where the transaction as a whole is lost (a full disk, say), each job gets one of its own.
fn together(connection: &Connection, mut group: Vec<Box<dyn Waiting>>) {
    match transaction(connection, |connection| {
        group.iter_mut().map(|job| in_savepoint(connection, job.as_mut())).collect::<Result<Vec<_>, _>>()
    }) {
        Ok(results) => group.into_iter().zip(results).for_each(|(job, result)| job.finish(result)),
        Err(fault) => {
            tracing::debug!(jobs = group.len(), %fault, "a group commit failed; its jobs go one by one");
            group.into_iter().for_each(|job| alone(connection, job));
        }
    }
}

fn alone(connection: &Connection, mut job: Box<dyn Waiting>) {
    let result = transaction(connection, |connection| job.run(connection));
    job.finish(result);
}

fn transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    if !connection.is_autocommit() {
        // The last rollback failed, too; nothing else works before it is done.
        connection.execute_batch("ROLLBACK")?;
    }
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = work(connection).and_then(|result| {
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(result)
    });
    // Some faults have rolled back by themselves.
    if done.is_err()
        && !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::warn!(%error, "could not roll back; trying again before the next write");
    }
    done
}

/// The job's own result inside; outside, that the whole transaction is lost.
fn in_savepoint(connection: &Connection, job: &mut dyn Waiting) -> Result<Result<(), Fault>, Fault> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let result = job.run(connection);
    if let Err(fault) = result {
        if connection.is_autocommit() {
            return Err(fault);
        }
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
        connection.prepare_cached("RELEASE job")?.execute([])?;
        return Ok(Err(fault));
    }
    connection.prepare_cached("RELEASE job")?.execute([])?;
    Ok(Ok(()))
}
