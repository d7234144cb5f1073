//! What functions print, on its way to its port and to those who follow.

use crate::batch::{Batch, Taken, Trimmed};
use futures_util::{FutureExt as _, StreamExt as _, stream, stream::BoxStream};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::broadcast;
use xebec_core::{
    Error, FunctionKey,
    log::{LogLine, LogQuery, LogStream},
    ports::records::{Logs, Retention},
};

/// How far a follower may fall behind before it misses lines.
const FOLLOW_BOUND: usize = 4096;

/// A line with its place in the order of all lines.
struct Numbered {
    number: u64,
    line: LogLine,
}

/// What functions print, on its way to its port and to those who follow.
pub(crate) struct LogHub {
    batch: Arc<Batch<LogLine>>,
    port: Arc<dyn Logs>,
    followers: broadcast::Sender<Arc<Numbered>>,
    numbered: AtomicU64,
    /// Lines that functions printed faster than they may.
    flooded: AtomicU64,
}

impl LogHub {
    pub(crate) fn new(port: Arc<dyn Logs>, bound: usize) -> Self {
        let to = port.clone();
        let write = move |taken: Taken<LogLine>| {
            let port = to.clone();
            async move { port.append(taken.entries).await }.boxed()
        };
        Self {
            batch: Batch::new(bound, Box::new(write)),
            port,
            followers: broadcast::Sender::new(FOLLOW_BOUND),
            numbered: AtomicU64::new(0),
            flooded: AtomicU64::new(0),
        }
    }

    /// Takes a line.
    pub(crate) fn push(&self, line: LogLine) {
        self.batch.push_with(|| {
            // Numbered under the batch's lock: the order of numbers is the order of the batch.
            let number = self.numbered.fetch_add(1, Ordering::Relaxed) + 1;
            if self.followers.receiver_count() > 0 {
                // Fails only where the last follower has just left.
                let _ = self.followers.send(Arc::new(Numbered { number, line: line.clone() }));
            }
            line
        });
    }

    /// Counts a line that its instance printed faster than it may.
    pub(crate) fn count_flooded(&self) {
        self.flooded.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines that were not kept.
    pub(crate) fn dropped(&self) -> u64 {
        self.batch.lost() + self.flooded.load(Ordering::Relaxed)
    }

    /// Writes what waits.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        self.batch.flush().await
    }

    /// Lines so far, and with `follow` those that come, each once.
    pub(crate) async fn read(
        &self,
        query: LogQuery,
        follow: bool,
    ) -> Result<BoxStream<'static, LogLine>, Error> {
        // Nobody else writes until the query is through: what is in the port then is exactly what was
        // numbered up to `seen`, so that a follower gets no line twice and misses none.
        let join = || (follow.then(|| self.followers.subscribe()), self.numbered.load(Ordering::Relaxed));
        let (turn, (live, seen)) = self.batch.flush_and(join).await?;
        let past = self.port.query(&query).await?;
        drop(turn);
        let past = stream::iter(past);
        Ok(match live {
            None => past.boxed(),
            Some(live) => past.chain(following(live, query, seen)).boxed(),
        })
    }

    /// Forgets all lines of a function.
    pub(crate) async fn forget(&self, function: &FunctionKey) -> Result<(), Error> {
        self.flush().await?;
        self.port.forget(function).await
    }

    /// Writes in the background, and deletes what is past its bounds, for ever.
    pub(crate) async fn write_behind(self: Arc<Self>, retention: Retention) {
        let trimming = async {
            let mut trimmed = Trimmed::now();
            loop {
                self.batch.trim_is_due(&mut trimmed).await;
                if let Err(error) = self.port.trim(&retention).await {
                    tracing::warn!(%error, "old log lines could not be deleted");
                }
            }
        };
        // Beside each other: deleting many takes long, and what comes meanwhile must not wait for it.
        tokio::join!(self.batch.write_behind("log lines"), trimming);
    }
}

fn following(
    live: broadcast::Receiver<Arc<Numbered>>,
    query: LogQuery,
    seen: u64,
) -> impl futures_util::Stream<Item = LogLine> + Send {
    stream::unfold((live, query, seen), |(mut live, query, seen)| async move {
        loop {
            match live.recv().await {
                Ok(entry) if entry.number > seen && matches(&query, &entry.line) => {
                    return Some((entry.line.clone(), (live, query, seen)));
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    if let Some(function) = query.function.clone() {
                        return Some((missed_line(function, missed), (live, query, seen)));
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

fn missed_line(function: FunctionKey, missed: u64) -> LogLine {
    LogLine {
        time: jiff::Timestamp::now(),
        function,
        instance: String::new(),
        invocation: None,
        stream: LogStream::Platform,
        text: format!("lines came faster than they were read: up to {missed} are not shown here"),
    }
}

fn matches(query: &LogQuery, line: &LogLine) -> bool {
    query.function.as_ref().is_none_or(|function| *function == line.function)
        && query.instance.as_ref().is_none_or(|instance| *instance == line.instance)
        && query.invocation.is_none_or(|invocation| Some(invocation) == line.invocation)
        && query.since.is_none_or(|since| line.time >= since)
}
