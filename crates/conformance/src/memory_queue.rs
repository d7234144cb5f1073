//! A queue in memory, for the tests of what stands on a queue: the ledger behind a lock.

use async_trait::async_trait;
use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use xebec_core::{
    Digest, Error, InvocationId, Tenant,
    message::{Lane, Message, Receipt},
    ports::{
        clock::{Clock, SystemClock},
        queue::{
            Ask, Claim, ClaimId, Entry, EntryPage, EntryQuery, Held, LaneRules, LaneStats, Place, Queue,
            Selection, Settled, Settlement,
        },
    },
    rules::ledger::{Bounds, Ledger, Moment},
};

/// How often one who waits looks at the clocks: those of tests are set by hand.
const LOOK: Duration = Duration::from_millis(50);

/// A queue in memory. It keeps every promise of the port but the one about disks.
pub struct MemoryQueue {
    ledger: Mutex<Ledger>,
    clock: Arc<dyn Clock>,
    changed: Notify,
}

impl Default for MemoryQueue {
    fn default() -> Self {
        Self::new(Bounds::default(), Arc::new(SystemClock))
    }
}

impl MemoryQueue {
    /// An empty one.
    pub fn new(bounds: Bounds, clock: Arc<dyn Clock>) -> Self {
        Self { ledger: Mutex::new(Ledger::new(bounds)), clock, changed: Notify::new() }
    }

    /// What a restart of the process that owns a queue does: claims are interrupted, how lanes and tenants are
    /// served is forgotten, all else stays.
    pub fn restart(&self) {
        self.change(Ledger::restart);
    }

    fn at(&self) -> Moment {
        Moment { now: self.clock.now(), steady: self.clock.steady() }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, look: impl FnOnce(&mut Ledger, Moment) -> T) -> T {
        let at = self.at();
        look(&mut self.lock(), at)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Ledger, Moment) -> T) -> T {
        let changed = self.look(change);
        self.changed.notify_waiters();
        changed
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn enqueue(&self, messages: Vec<Message>) -> Result<Vec<Receipt>, Error> {
        self.change(|ledger, at| ledger.enqueue(messages, at))
    }

    async fn claim(&self, ask: Ask) -> Result<Vec<Claim>, Error> {
        let deadline = self.clock.steady().saturating_add(ask.wait);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let (claims, next) = self.look(|ledger, at| {
                (ledger.claim(ask.most, ask.lease, at), ledger.next_change(at).unwrap_or(LOOK))
            });
            let rest = deadline.saturating_sub(self.clock.steady());
            if !claims.is_empty() || rest.is_zero() {
                return Ok(claims);
            }
            let wait = next.min(rest).clamp(Duration::from_millis(1), LOOK);
            // Whether something changed or time went by, it looks again.
            let _ = tokio::time::timeout(wait, changed).await;
        }
    }

    async fn extend(&self, claim: ClaimId, lease: Duration) -> Result<Held, Error> {
        Ok(self.look(|ledger, at| ledger.extend(claim, lease, at)))
    }

    async fn settle(&self, claim: ClaimId, settlement: Settlement) -> Result<Settled, Error> {
        self.change(|ledger, at| ledger.settle(claim, settlement, at))
    }

    fn configure(&self, lane: &Lane, rules: LaneRules) {
        self.change(|ledger, at| ledger.configure(lane, rules, at));
    }

    fn limit(&self, tenant: &Tenant, claims: Option<u32>) {
        self.change(|ledger, _| ledger.limit(tenant, claims));
    }

    async fn get(&self, id: &InvocationId) -> Result<Option<Entry>, Error> {
        Ok(self.look(|ledger, at| ledger.get(id, at)))
    }

    async fn list(&self, query: &EntryQuery) -> Result<EntryPage, Error> {
        self.look(|ledger, at| ledger.list(query, at))
    }

    async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error> {
        self.change(|ledger, at| ledger.cancel(id, at))
    }

    async fn redrive(&self, which: &Selection, rate: Option<u32>) -> Result<u64, Error> {
        Ok(self.change(|ledger, at| ledger.redrive(which, rate, at)))
    }

    async fn discard(&self, which: &Selection) -> Result<Vec<Message>, Error> {
        Ok(self.change(|ledger, at| ledger.discard(which, at)))
    }

    async fn pause(&self, place: &Place) -> Result<(), Error> {
        self.change(|ledger, at| ledger.pause(place, at));
        Ok(())
    }

    async fn resume(&self, place: &Place) -> Result<(), Error> {
        self.change(|ledger, at| ledger.resume(place, at));
        Ok(())
    }

    async fn paused(&self) -> Result<Vec<Place>, Error> {
        Ok(self.lock().paused())
    }

    async fn stats(&self, tenant: Option<&Tenant>) -> Result<Vec<LaneStats>, Error> {
        Ok(self.look(|ledger, at| ledger.stats(tenant, at)))
    }

    async fn blobs(&self) -> Result<Vec<Digest>, Error> {
        Ok(self.lock().blobs())
    }

    async fn health(&self) -> Result<(), Error> {
        Ok(())
    }

    /// There is nothing that it could be opened from.
    async fn backup(&self, _: &Path) -> Result<bool, Error> {
        Ok(false)
    }
}
