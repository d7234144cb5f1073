//! What all parts of a worker share.

use crate::{
    errors::Failure,
    index::{Index, Now},
    link::Link,
    options::NatsOptions,
    wire::{Key, Line, Record, Write, unpack},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use xebec_core::{
    Error, InvocationId,
    message::Message,
    ports::{clock::Clock, queue::ClaimId},
};

/// One worker's view of the queue, and its way to it.
pub(crate) struct Shared {
    pub(crate) options: NatsOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) link: Link,
    pub(crate) index: Mutex<Index>,
    /// Something may begin.
    pub(crate) wake: Notify,
    /// When it claimed last, by the steady clock of the machine, in milliseconds; 0: never.
    pub(crate) claimed: AtomicU64,
    /// Settlements that were not answered, and the names of their writes.
    pub(crate) doubtful: Mutex<HashMap<(ClaimId, InvocationId), String>>,
    began: std::time::Instant,
}

/// How often a change that came second is tried again.
pub(crate) const TRIES: u32 = 20;

impl Shared {
    pub(crate) fn new(options: NatsOptions, clock: Arc<dyn Clock>, link: Link, index: Index) -> Self {
        Self {
            options,
            clock,
            link,
            index: Mutex::new(index),
            wake: Notify::new(),
            claimed: AtomicU64::new(0),
            doubtful: Mutex::default(),
            began: std::time::Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now { time: self.clock.now(), steady: self.clock.steady() }
    }

    /// This worker claims.
    pub(crate) fn note_claim(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.claimed.store(millis.max(1), Ordering::Relaxed);
    }

    /// Whether it claimed within that time.
    pub(crate) fn claims(&self, within: Duration) -> bool {
        let last = self.claimed.load(Ordering::Relaxed);
        last > 0 && self.began.elapsed() < Duration::from_millis(last) + within
    }

    /// Writes all or nothing, and takes what was written into the index.
    pub(crate) async fn commit(&self, writes: &[Write]) -> Result<(), Failure> {
        let signature = self.link.log()?.sign();
        self.commit_as(&signature, writes).await
    }

    /// The same, under a name by which it can be recognised.
    pub(crate) async fn commit_as(&self, signature: &str, writes: &[Write]) -> Result<(), Failure> {
        let log = self.link.log()?;
        let began = std::time::Instant::now();
        let sequences = loop {
            match log.commit(writes, signature).await {
                Ok(sequences) => break sequences,
                Err(Failure::Busy) if began.elapsed() < self.options.answer => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(failure) => return Err(failure),
            }
        };
        let now = self.now();
        let mut index = self.index.lock();
        for (write, sequence) in writes.iter().zip(sequences) {
            index.apply(write.stored(sequence, signature), now);
        }
        drop(index);
        self.wake.notify_waiters();
        Ok(())
    }

    /// Reads a key's last record as it is now, and takes it into the index.
    pub(crate) async fn refresh(&self, key: &Key) -> Result<Option<Record>, Error> {
        let seen = match key {
            Key::Message(id) => self.index.lock().entries.get(id).map(|known| known.sequence),
            Key::Lock(_) | Key::Once(_) | Key::Pause(_) => None,
        };
        let found = self.link.log()?.last(key).await?;
        let now = self.now();
        let mut index = self.index.lock();
        match (&found, key, seen) {
            (Some(record), _, _) => index.apply(record.clone(), now),
            (None, Key::Message(id), Some(seen)) => index.vanished(id, seen, now),
            (None, Key::Lock(line), _) => index.no_lock(*line, now),
            (None, _, _) => {}
        }
        drop(index);
        self.wake.notify_waiters();
        Ok(found)
    }

    /// Makes sure that whoever has a lock runs, and takes it from who does not: a record of it was missed.
    pub(crate) async fn heal_lock(&self, (line, holder): (Line, InvocationId)) -> Result<(), Error> {
        let lock = self.refresh(&Key::Lock(line)).await?;
        let message = self.refresh(&Key::Message(holder)).await?;
        let runs = message.as_ref().and_then(Record::living).is_some_and(|standing| standing.run().is_some());
        match lock.filter(|lock| lock.payload == holder.0.as_bytes()[..]) {
            Some(lock) if !runs => {
                let write = Write { expected: Some(lock.sequence), ..Write::unlock(line) };
                self.commit(&[write]).await.map_err(Failure::error)
            }
            _ => Ok(()),
        }
    }

    /// The payload of a message; `None` where its record was replaced meanwhile.
    pub(crate) async fn payload(&self, id: &InvocationId) -> Result<Option<Bytes>, Error> {
        let (sequence, cached) = match self.index.lock().entries.get(id) {
            Some(known) => (known.sequence, known.payload.clone()),
            None => return Ok(None),
        };
        if cached.is_some() {
            return Ok(cached);
        }
        let found = self.link.log()?.at(sequence).await?;
        Ok(found.filter(|record| record.key == Key::Message(*id)).map(|record| record.payload))
    }

    /// A message that is known here.
    pub(crate) async fn message(&self, id: &InvocationId) -> Result<Option<Message>, Error> {
        match self.payload(id).await? {
            Some(payload) => unpack(&payload).map(Some),
            None => Ok(None),
        }
    }
}
