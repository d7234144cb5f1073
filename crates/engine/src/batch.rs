//! Write-behind: entries are taken at once and written in batches by whoever gets to it first, the writer in
//! the background or a reader who must see the last moments.

use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::Instant,
};

/// How long the writer lets entries gather after the first one.
const GATHER: Duration = Duration::from_millis(50);

/// After so many entries were written, old ones are deleted.
const TRIM_AFTER_ENTRIES: u64 = 50_000;

/// Or after so long, if any were.
const TRIM_AFTER: Duration = Duration::from_secs(600);

/// Entries that wait to be written.
pub(crate) struct Batch<T> {
    waiting: Mutex<Vec<T>>,
    bound: usize,
    dropped: AtomicU64,
    taken: AtomicU64,
    first: Notify,
    /// One permit: whoever holds it is the only one who takes and writes.
    turn: Semaphore,
}

impl<T> Batch<T> {
    /// Nothing waits yet, and never more than `bound`.
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
            bound,
            dropped: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            first: Notify::new(),
            turn: Semaphore::new(1),
        }
    }

    /// Adds what `make` makes; past the bound it is counted and dropped. `make` runs under the lock, so that
    /// what it numbers is in order.
    pub(crate) fn push_with(&self, make: impl FnOnce() -> T) {
        let mut waiting = self.waiting.lock();
        let entry = make();
        if waiting.len() >= self.bound {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push(entry);
        if waiting.len() == 1 {
            drop(waiting);
            self.first.notify_one();
        }
    }

    /// Adds an entry; past the bound it is counted and dropped.
    pub(crate) fn push(&self, entry: T) {
        self.push_with(|| entry);
    }

    /// How many were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many were taken, to be written.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Counts entries that were lost after they were taken.
    pub(crate) fn lost(&self, entries: u64) {
        self.dropped.fetch_add(entries, Ordering::Relaxed);
    }

    /// Completes when something waits and has gathered for a moment.
    pub(crate) async fn gathered(&self) {
        self.first.notified().await;
        tokio::time::sleep(GATHER).await;
    }

    /// The turn to write: until it is dropped, nobody else takes.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed, so never an error.
        self.turn.acquire().await.ok()
    }

    /// Takes what waits. Only the holder of the turn does.
    pub(crate) fn take(&self, turn: &Option<SemaphorePermit<'_>>) -> Vec<T> {
        self.take_and(turn, || ()).0
    }

    /// Takes what waits and asks something in the same moment.
    pub(crate) fn take_and<R>(
        &self,
        _turn: &Option<SemaphorePermit<'_>>,
        ask: impl FnOnce() -> R,
    ) -> (Vec<T>, R) {
        let mut waiting = self.waiting.lock();
        self.taken.fetch_add(waiting.len() as u64, Ordering::Relaxed);
        let capacity = waiting.len().min(1024);
        (std::mem::replace(&mut *waiting, Vec::with_capacity(capacity)), ask())
    }
}

/// When old entries are to be deleted: driven by writing, so that an idle server has nothing to do.
pub(crate) struct Trim {
    taken: u64,
    at: Instant,
}

impl Trim {
    pub(crate) fn new() -> Self {
        Self { taken: 0, at: Instant::now() }
    }

    /// Whether it is time, `taken` entries having been taken in all.
    pub(crate) fn is_due(&mut self, taken: u64) -> bool {
        if taken - self.taken < TRIM_AFTER_ENTRIES && self.at.elapsed() < TRIM_AFTER {
            return false;
        }
        *self = Self { taken, at: Instant::now() };
        true
    }
}
