//! Write-behind: entries are taken at once and written in batches by whoever gets to it first, the writer in
//! the background or someone who must see the last moments written.

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use xebec_core::{Error, ErrorKind};

/// How long the writer lets entries gather after the first one.
const GATHER: Duration = Duration::from_millis(50);

/// After so many entries were written, old ones are deleted.
const TRIM_AFTER_ENTRIES: u64 = 50_000;

/// Or after so long, if any were.
const TRIM_AFTER: Duration = Duration::from_secs(600);

/// Where batches go. What it fails to write is lost.
pub(crate) type Write<T> = Box<dyn Fn(Taken<T>) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// The turn to write: until it is dropped, nobody else takes. `None` never happens: the turns are not closed.
pub(crate) type Turn = Option<OwnedSemaphorePermit>;

/// What was taken to be written.
pub(crate) struct Taken<T> {
    /// The entries, in the order in which they came.
    pub(crate) entries: Vec<T>,
    /// Entries that came after them and were dropped, since too many waited.
    pub(crate) dropped: u64,
}

/// Entries that wait to be written.
pub(crate) struct Batch<T> {
    waiting: Mutex<Waiting<T>>,
    bound: usize,
    write: Write<T>,
    /// Entries that were dropped, or lost after they were taken.
    lost: AtomicU64,
    first: Notify,
    written: Notify,
    turns: Arc<Semaphore>,
    settled: Mutex<Settled>,
}

struct Waiting<T> {
    entries: Vec<T>,
    /// How many were taken before these.
    taken: u64,
    /// How many were dropped since the last were taken.
    dropped: u64,
}

/// What became of what was taken.
#[derive(Default)]
struct Settled {
    /// So many entries were written or lost.
    upto: u64,
    /// Which were lost last, and why.
    failed: Option<(Range<u64>, Error)>,
}

impl<T: Send + 'static> Batch<T> {
    /// Nothing waits yet, and never more than `bound`.
    pub(crate) fn new(bound: usize, write: Write<T>) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::new(Waiting { entries: Vec::new(), taken: 0, dropped: 0 }),
            bound,
            write,
            lost: AtomicU64::new(0),
            first: Notify::new(),
            written: Notify::new(),
            turns: Arc::new(Semaphore::new(1)),
            settled: Mutex::default(),
        })
    }

    /// Adds what `make` makes; past the bound it is counted and dropped. `make` runs under the lock, so that
    /// what it numbers is in order.
    pub(crate) fn push_with(&self, make: impl FnOnce() -> T) -> bool {
        let mut waiting = self.waiting.lock();
        let entry = make();
        if waiting.entries.len() >= self.bound {
            waiting.dropped += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        waiting.entries.push(entry);
        if waiting.entries.len() == 1 {
            drop(waiting);
            self.first.notify_one();
        }
        true
    }

    /// Adds an entry; past the bound it is counted and dropped. Tells whether it was added.
    pub(crate) fn push(&self, entry: T) -> bool {
        self.push_with(|| entry)
    }

    /// How many were dropped or lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Returns once what waits now is written. Those who ask at the same time share what is written: the
    /// first writes, the second writes what came meanwhile, the others find it done.
    pub(crate) async fn flush(self: &Arc<Self>) -> Result<(), Error> {
        let mine = self.unsettled();
        if mine.is_empty() {
            return Ok(());
        }
        let turn = self.turn().await;
        if self.settled.lock().upto < mine.end {
            self.write_out(turn, || ()).await?;
        }
        self.verdict(&mine)
    }

    /// The same, whatever waits; asks something in the moment in which it takes, and keeps the turn.
    pub(crate) async fn flush_and<R: Send>(
        self: &Arc<Self>,
        ask: impl FnOnce() -> R + Send,
    ) -> Result<(Turn, R), Error> {
        let mine = self.unsettled();
        let turn = self.turn().await;
        let answered = self.write_out(turn, ask).await?;
        self.verdict(&mine)?;
        Ok(answered)
    }

    /// The numbers of those that wait or are being written.
    fn unsettled(&self) -> Range<u64> {
        let waiting = self.waiting.lock();
        let upto = self.settled.lock().upto;
        upto..waiting.taken + waiting.entries.len() as u64
    }

    async fn turn(&self) -> Turn {
        // Never closed, so never an error.
        self.turns.clone().acquire_owned().await.ok()
    }

    /// Takes and writes, in a task of its own: whoever waits for it may go away in the middle, what was taken
    /// must not go with them.
    async fn write_out<R: Send>(
        self: &Arc<Self>,
        turn: Turn,
        ask: impl FnOnce() -> R + Send,
    ) -> Result<(Turn, R), Error> {
        let (first, taken, answer) = {
            let mut waiting = self.waiting.lock();
            let capacity = waiting.entries.len().min(1024);
            let entries = std::mem::replace(&mut waiting.entries, Vec::with_capacity(capacity));
            let first = waiting.taken;
            waiting.taken += entries.len() as u64;
            (first, Taken { entries, dropped: std::mem::take(&mut waiting.dropped) }, ask())
        };
        if taken.entries.is_empty() {
            return Ok((turn, answer));
        }
        let this = Arc::clone(self);
        let writing = tokio::spawn(async move {
            let upto = first + taken.entries.len() as u64;
            let written = (this.write)(taken).await;
            this.settle(first..upto, written);
            turn
        });
        let stopped = |_| Error::new(ErrorKind::Unavailable, "XB2010", "the server is stopping");
        Ok((writing.await.map_err(stopped)?, answer))
    }

    fn settle(&self, numbers: Range<u64>, written: Result<(), Error>) {
        let mut settled = self.settled.lock();
        settled.upto = numbers.end;
        if let Err(error) = written {
            self.lost.fetch_add(numbers.end - numbers.start, Ordering::Relaxed);
            // Whoever waits may have had entries in the batch before, too.
            let start = match &settled.failed {
                Some((before, _)) if before.end == numbers.start => before.start,
                _ => numbers.start,
            };
            settled.failed = Some((start..numbers.end, error));
        }
        drop(settled);
        self.written.notify_one();
    }

    /// Whether all of these were written.
    fn verdict(&self, numbers: &Range<u64>) -> Result<(), Error> {
        match &self.settled.lock().failed {
            Some((failed, error)) if failed.start < numbers.end && numbers.start < failed.end => {
                Err(error.clone())
            }
            _ => Ok(()),
        }
    }

    /// Writes in the background, for ever.
    pub(crate) async fn write_behind(self: &Arc<Self>, what: &str) {
        loop {
            self.first.notified().await;
            tokio::time::sleep(GATHER).await;
            if let Err(error) = self.flush().await {
                tracing::warn!(%error, "{what} were lost");
            }
        }
    }

    /// Completes when so much was written, or so long ago, that old entries are to be deleted: an idle server
    /// has nothing to do.
    pub(crate) async fn trim_is_due(&self, trimmed: &mut Trimmed) {
        loop {
            self.written.notified().await;
            let upto = self.settled.lock().upto;
            if upto - trimmed.upto >= TRIM_AFTER_ENTRIES || trimmed.at.elapsed() >= TRIM_AFTER {
                *trimmed = Trimmed { upto, at: Instant::now() };
                return;
            }
        }
    }
}

/// When old entries were last deleted, and how many had been written by then.
pub(crate) struct Trimmed {
    upto: u64,
    at: Instant,
}

impl Trimmed {
    pub(crate) fn now() -> Self {
        Self { upto: 0, at: Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt as _, future::join_all};
    use std::sync::atomic::AtomicBool;

    /// A batch that takes 10 ms to write, what was written, and whether writing fails.
    #[allow(clippy::type_complexity)]
    fn slow() -> (Arc<Batch<u32>>, Arc<Mutex<Vec<Vec<u32>>>>, Arc<AtomicBool>) {
        let (written, broken) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (to, fails) = (written.clone(), broken.clone());
        let write = move |taken: Taken<u32>| {
            let (to, fails) = (to.clone(), fails.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                if fails.load(Ordering::SeqCst) {
                    return Err(Error::internal("XB4003", "broken"));
                }
                to.lock().push(taken.entries);
                Ok(())
            }
            .boxed()
        };
        (Batch::new(1000, Box::new(write)), written, broken)
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_flush_at_the_same_time_share_what_is_written() {
        let (batch, written, _) = slow();
        let flushed = (0..500).map(|number| {
            let (batch, written) = (batch.clone(), written.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(u64::from(number % 3))).await;
                batch.push(number);
                batch.flush().await.unwrap();
                assert!(written.lock().iter().flatten().any(|found| *found == number));
            })
        });
        assert!(join_all(flushed).await.iter().all(Result::is_ok));
        assert!(written.lock().len() <= 3, "{} batches", written.lock().len());
        batch.flush().now_or_never().unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_away_takes_nothing_with_them() {
        let (batch, written, _) = slow();
        batch.push(1);
        let impatient = tokio::time::timeout(Duration::from_millis(5), batch.flush()).await;
        assert!(impatient.is_err());
        batch.push(2);
        batch.flush().await.unwrap();
        assert_eq!(*written.lock(), [vec![1], vec![2]]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_whose_entries_are_lost_are_told() {
        let (batch, written, broken) = slow();
        broken.store(true, Ordering::SeqCst);
        batch.push(1);
        let (first, second) = tokio::join!(batch.flush(), batch.flush());
        assert_eq!((first.unwrap_err().code, second.unwrap_err().code), ("XB4003", "XB4003"));
        assert_eq!(batch.lost(), 1);
        broken.store(false, Ordering::SeqCst);
        batch.flush().await.unwrap();
        batch.push(2);
        batch.flush().await.unwrap();
        assert_eq!(*written.lock(), [vec![2]]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_past_the_bound_is_counted() {
        let (batch, written, _) = slow();
        let added = (0..1003).filter(|number| batch.push(*number)).count();
        batch.flush().await.unwrap();
        assert_eq!((added, written.lock()[0].len(), batch.lost()), (1000, 1000, 3));
    }
}
