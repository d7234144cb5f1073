//! A queue that fails on demand.

use async_trait::async_trait;
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use xebec_conformance::memory_queue::MemoryQueue;
use xebec_core::{
    Digest, Error, ErrorKind, InvocationId, Tenant,
    message::{Lane, Message, Receipt},
    ports::queue::{
        Ask, Claim, ClaimId, Entry, EntryPage, EntryQuery, Held, LaneRules, LaneStats, Place, Queue,
        Selection, Settled, Settlement,
    },
};

/// How a call of the queue fails.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing happens.
    Before,
    /// It is done, but the answer is lost.
    After,
}

/// A queue that fails as often as it is told to.
pub struct FaultyQueue {
    inner: Arc<MemoryQueue>,
    pub enqueue: Mutex<Vec<Fault>>,
    pub claim: Mutex<Vec<Fault>>,
    pub extend: Mutex<Vec<Fault>>,
    pub settle: Mutex<Vec<Fault>>,
    /// How likely each call fails beside.
    pub chance: Mutex<f64>,
}

impl FaultyQueue {
    pub fn new(inner: Arc<MemoryQueue>) -> Self {
        Self {
            inner,
            enqueue: Mutex::default(),
            claim: Mutex::default(),
            extend: Mutex::default(),
            settle: Mutex::default(),
            chance: Mutex::default(),
        }
    }

    async fn through<T>(
        &self,
        faults: &Mutex<Vec<Fault>>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let told = faults.lock().unwrap().pop();
        let by_chance = || {
            let fails = rand::random::<f64>() < *self.chance.lock().unwrap();
            fails.then(|| if rand::random() { Fault::Before } else { Fault::After })
        };
        let away = || Error::new(ErrorKind::Unavailable, "XB4023", "the queue is away");
        match told.or_else(by_chance) {
            None => work.await,
            Some(Fault::Before) => Err(away()),
            Some(Fault::After) => {
                work.await?;
                Err(away())
            }
        }
    }
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn enqueue(&self, messages: Vec<Message>) -> Result<Vec<Receipt>, Error> {
        self.through(&self.enqueue, self.inner.enqueue(messages)).await
    }

    async fn claim(&self, ask: Ask) -> Result<Vec<Claim>, Error> {
        // A claim whose answer is lost is a crash of the queue's own; others see to that.
        if rand::random::<f64>() < *self.chance.lock().unwrap() {
            self.claim.lock().unwrap().push(Fault::Before);
        }
        match self.claim.lock().unwrap().pop() {
            None => {}
            Some(_) => return Err(Error::new(ErrorKind::Unavailable, "XB4023", "the queue is away")),
        }
        self.inner.claim(ask).await
    }

    async fn extend(&self, claim: ClaimId, lease: Duration) -> Result<Held, Error> {
        self.through(&self.extend, self.inner.extend(claim, lease)).await
    }

    async fn settle(&self, claim: ClaimId, settlement: Settlement) -> Result<Settled, Error> {
        self.through(&self.settle, self.inner.settle(claim, settlement)).await
    }

    fn configure(&self, lane: &Lane, rules: LaneRules) {
        self.inner.configure(lane, rules);
    }

    fn limit(&self, tenant: &Tenant, claims: Option<u32>) {
        self.inner.limit(tenant, claims);
    }

    async fn get(&self, id: &InvocationId) -> Result<Option<Entry>, Error> {
        self.inner.get(id).await
    }

    async fn list(&self, query: &EntryQuery) -> Result<EntryPage, Error> {
        self.inner.list(query).await
    }

    async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error> {
        self.inner.cancel(id).await
    }

    async fn redrive(&self, which: &Selection, rate: Option<u32>) -> Result<u64, Error> {
        self.inner.redrive(which, rate).await
    }

    async fn discard(&self, which: &Selection) -> Result<Vec<Message>, Error> {
        self.inner.discard(which).await
    }

    async fn pause(&self, place: &Place) -> Result<(), Error> {
        self.inner.pause(place).await
    }

    async fn resume(&self, place: &Place) -> Result<(), Error> {
        self.inner.resume(place).await
    }

    async fn paused(&self) -> Result<Vec<Place>, Error> {
        self.inner.paused().await
    }

    async fn stats(&self, tenant: Option<&Tenant>) -> Result<Vec<LaneStats>, Error> {
        self.inner.stats(tenant).await
    }

    async fn blobs(&self) -> Result<Vec<Digest>, Error> {
        self.inner.blobs().await
    }

    async fn health(&self) -> Result<(), Error> {
        self.inner.health().await
    }

    async fn backup(&self, directory: &Path) -> Result<bool, Error> {
        self.inner.backup(directory).await
    }
}
