//! What all parts of a worker share.

use crate::{
    errors::Failure,
    index::{Index, Now},
    link::Link,
    options::NatsOptions,
    requirements,
    wire::{Key, Line, Record, Write, unpack},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use xebec_core::{
    Error, ErrorKind, InvocationId,
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
    /// Bytes that may still be stored before messages are refused; negative: none.
    pub(crate) room: AtomicI64,
    began: std::time::Instant,
}

/// What the server needs for a record beside its payload, in bytes, amply.
const AROUND: usize = 600;

/// Kept free of new messages, so that those that are there can be claimed: a part of all, and at most so much.
const KEPT_FREE: (u64, u64) = (8, 256 << 20);

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
            room: AtomicI64::new(i64::MAX),
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
                Err(failure) => return Err(self.explained(failure).await),
            }
        };
        let bytes = writes.iter().map(|write| write.payload.len() + AROUND).sum::<usize>();
        self.room.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        let now = self.now();
        let mut index = self.index.lock();
        for (write, sequence) in writes.iter().zip(sequences) {
            index.apply(write.stored(sequence, signature), now);
        }
        drop(index);
        self.wake.notify_waiters();
        Ok(())
    }

    /// A server that is connected and does not answer may say elsewhere why.
    async fn explained(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Error(error) if error.code == "XB4023" && self.link.log().is_ok() => {
                requirements::complaint(&self.options).await.unwrap_or(error).into()
            }
            other => other,
        }
    }

    /// Whether new messages may take so many bytes: the last part of the store is for changes of those that are
    /// there.
    pub(crate) fn check_room(&self, writes: &[Write]) -> Result<(), Error> {
        let bytes = writes.iter().map(|write| write.payload.len() + AROUND).sum::<usize>();
        if i64::try_from(bytes).is_ok_and(|bytes| bytes <= self.room.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let message = "the queue is full: the NATS server's store is nearly used up";
        Err(Error::new(ErrorKind::Unavailable, "XB4020", message).with_hint(
            "wait until messages are done, discard dead letters, or raise jetstream's max_file_store",
        ))
    }

    /// Looks how much may still be stored.
    pub(crate) async fn measure_room(&self) {
        let room = match self.link.room().await {
            Some((left, most)) => {
                let kept = (most / KEPT_FREE.0).min(KEPT_FREE.1);
                i64::try_from(left).unwrap_or(i64::MAX).saturating_sub_unsigned(kept)
            }
            None => i64::MAX,
        };
        self.room.store(room, Ordering::Relaxed);
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

    /// The payload of a message that is known here; `None` where it is no more.
    pub(crate) async fn payload(&self, id: &InvocationId) -> Result<Option<Bytes>, Error> {
        let (sequence, cached) = match self.index.lock().entries.get(id) {
            Some(known) => (known.sequence, known.payload.clone()),
            None => return Ok(None),
        };
        if cached.is_some() {
            return Ok(cached);
        }
        let key = Key::Message(*id);
        let found = match self.link.log()?.at(sequence).await? {
            Some(found) if found.key == key => Some(found),
            // It was replaced meanwhile, or the copy that was asked is behind.
            _ => self.refresh(&key).await?,
        };
        Ok(found.filter(|record| record.living().is_some()).map(|record| record.payload))
    }

    /// A message that is known here.
    pub(crate) async fn message(&self, id: &InvocationId) -> Result<Option<Message>, Error> {
        match self.payload(id).await? {
            Some(payload) => unpack(&payload).map(Some),
            None => Ok(None),
        }
    }
}
