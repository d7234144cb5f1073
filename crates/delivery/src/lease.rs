//! Holding a claim while its messages run: extending its lease, hearing of cancelling and of the server's end.

use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use xebec_core::{
    Error, InvocationId,
    ports::queue::{Claim, ClaimId, Held, Queue},
};

/// Why work on a claim stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// All the messages that were worked on were cancelled.
    Cancelled,
    /// The server stops and its grace is over.
    HandBack,
    /// The lease ran out: someone else may have the messages.
    Lost,
}

/// What a running claim has been asked to do.
#[derive(Default)]
struct Asks {
    cancelled: HashSet<InvocationId>,
    hand_back: bool,
}

/// How others reach a running claim.
#[derive(Default)]
struct Leash {
    asks: Mutex<Asks>,
    bell: Notify,
}

impl Leash {
    fn cancel(&self, ids: impl IntoIterator<Item = InvocationId>) {
        let mut asks = self.asks.lock();
        let before = asks.cancelled.len();
        asks.cancelled.extend(ids);
        if asks.cancelled.len() > before {
            drop(asks);
            self.bell.notify_one();
        }
    }
}

/// The claims that run here, by their messages.
#[derive(Default)]
pub(crate) struct Running {
    leashes: Mutex<HashMap<InvocationId, Arc<Leash>>>,
}

impl Running {
    /// Tells the claim of this message, if it runs here.
    pub(crate) fn cancel(&self, id: InvocationId) {
        let leash = self.leashes.lock().get(&id).cloned();
        if let Some(leash) = leash {
            leash.cancel([id]);
        }
    }

    /// Tells all to stop and hand back.
    pub(crate) fn hand_back(&self) {
        for leash in self.leashes.lock().values() {
            leash.asks.lock().hand_back = true;
            leash.bell.notify_one();
        }
    }

    /// Messages that run here.
    pub(crate) fn count(&self) -> usize {
        self.leashes.lock().len()
    }
}

/// A claim that is being worked on.
pub(crate) struct Lease<'a> {
    queue: &'a dyn Queue,
    running: &'a Running,
    pub(crate) claim: ClaimId,
    messages: Vec<InvocationId>,
    leash: Arc<Leash>,
    length: Duration,
    next: Instant,
    until: Instant,
}

impl<'a> Lease<'a> {
    /// Holds a claim that was just made for `length`.
    pub(crate) fn new(queue: &'a dyn Queue, running: &'a Running, claim: &Claim, length: Duration) -> Self {
        let messages: Vec<_> = claim.messages.iter().map(|claimed| claimed.message.id).collect();
        let leash = Arc::new(Leash::default());
        running.leashes.lock().extend(messages.iter().map(|id| (*id, leash.clone())));
        let now = Instant::now();
        Self {
            queue,
            running,
            claim: claim.id,
            messages,
            leash,
            length,
            next: now + length / 3,
            until: now + length,
        }
    }

    /// Whether this message was cancelled.
    pub(crate) fn is_cancelled(&self, id: &InvocationId) -> bool {
        self.leash.asks.lock().cancelled.contains(id)
    }

    /// Works, and holds the claim meanwhile. Drops the work when the server stops, or when all of `ids` are
    /// cancelled.
    pub(crate) async fn hold<F: Future>(&mut self, ids: &[InvocationId], work: F) -> Result<F::Output, Stop> {
        self.work(Some(ids), work).await
    }

    /// Works, and holds the claim meanwhile, whatever is asked: what follows a call that has ended.
    ///
    /// # Errors
    /// [`Stop::Lost`] only.
    pub(crate) async fn finish<F: Future>(&mut self, work: F) -> Result<F::Output, Stop> {
        self.work(None, work).await
    }

    async fn work<F: Future>(&mut self, ids: Option<&[InvocationId]>, work: F) -> Result<F::Output, Stop> {
        let mut work = pin!(work);
        loop {
            if let Some(stop) = ids.and_then(|ids| self.asked(ids)) {
                return Err(stop);
            }
            let (queue, claim, length, next) = (self.queue, self.claim, self.length, self.next);
            let extended = async move {
                sleep_until(next).await;
                queue.extend(claim, length).await
            };
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.leash.bell.notified() => {}
                held = extended => self.extended(held)?,
            }
        }
    }

    fn asked(&self, ids: &[InvocationId]) -> Option<Stop> {
        let asks = self.leash.asks.lock();
        if !ids.is_empty() && ids.iter().all(|id| asks.cancelled.contains(id)) {
            return Some(Stop::Cancelled);
        }
        asks.hand_back.then_some(Stop::HandBack)
    }

    fn extended(&mut self, held: Result<Held, Error>) -> Result<(), Stop> {
        let now = Instant::now();
        match held {
            Ok(Held::Yes(cancelled)) => {
                self.next = now + self.length / 3;
                self.until = now + self.length;
                self.leash.cancel(cancelled);
                Ok(())
            }
            Ok(Held::No) => Err(Stop::Lost),
            // The call goes on: while the queue is away, nobody else gets the message either. Well past the
            // lease that is no longer likely.
            Err(error) if now < self.until + self.length => {
                tracing::debug!(%error, "a lease could not be extended, trying again");
                self.next = now + (self.length / 12).max(Duration::from_millis(10));
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "a lease could not be extended and has run out");
                Err(Stop::Lost)
            }
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut leashes = self.running.leashes.lock();
        for id in &self.messages {
            // After a lease that was lost, another claim of the same message may run here already.
            if leashes.get(id).is_some_and(|leash| Arc::ptr_eq(leash, &self.leash)) {
                leashes.remove(id);
            }
        }
    }
}
