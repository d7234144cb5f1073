//! A store and records in memory, on a machine that can fail: what was not written by then is lost, and nothing
//! answers any more.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::sync::Notify;
use xebec_core::{
    Error, InvocationId,
    document::{Document, DocumentKey, List, ListQuery, WatchEvent, Write},
    message::Call,
    ports::{
        records::{Records, Retention},
        store::Store,
    },
    record::{InvocationRecord, KeptRequest, RecordPage, RecordQuery},
};

/// A machine that fails at one of the points where it could.
#[derive(Default)]
pub struct Machine {
    passed: AtomicUsize,
    fails_at: AtomicUsize,
    failed: AtomicBool,
    failure: Notify,
}

impl Machine {
    pub fn failing_at(point: usize) -> Arc<Self> {
        let machine = Self::default();
        machine.fails_at.store(point, SeqCst);
        Arc::new(machine)
    }

    pub fn sound() -> Arc<Self> {
        Self::failing_at(usize::MAX)
    }

    /// One of the points where it could fail. Whoever is there when it does goes no further.
    pub async fn point(&self) {
        if self.passed.fetch_add(1, SeqCst) + 1 >= self.fails_at.load(SeqCst)
            && !self.failed.swap(true, SeqCst)
        {
            self.failure.notify_waiters();
        }
        if self.has_failed() {
            std::future::pending::<()>().await;
        }
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(SeqCst)
    }

    pub fn passed(&self) -> usize {
        self.passed.load(SeqCst)
    }

    pub async fn failure(&self) {
        let failure = self.failure.notified();
        if !self.has_failed() {
            failure.await;
        }
    }
}

/// What a disk holds; it outlives the machine.
#[derive(Default)]
pub struct Disk {
    pub documents: Mutex<BTreeMap<DocumentKey, Document>>,
    pub records: Mutex<HashMap<InvocationId, InvocationRecord>>,
    /// Writes of documents, and how many of them went together.
    pub writes: AtomicUsize,
    version: AtomicUsize,
}

impl Disk {
    pub fn record(&self, id: &InvocationId) -> Option<InvocationRecord> {
        self.records.lock().get(id).cloned()
    }
}

/// Documents of a disk, by way of a machine.
pub struct MemoryStore(pub Arc<Disk>, pub Arc<Machine>);

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, Error> {
        Ok(self.0.documents.lock().get(key).cloned())
    }

    async fn list(&self, query: &ListQuery) -> Result<List, Error> {
        self.1.point().await;
        let documents = self.0.documents.lock();
        let after = |document: &&Document| {
            let key = (document.namespace.clone(), document.name.clone());
            query.after.as_ref().is_none_or(|after| key > *after)
        };
        let mut found: Vec<_> = documents
            .values()
            .filter(|document| document.kind == query.kind)
            .filter(after)
            .cloned()
            .collect();
        let more = query.limit > 0 && found.len() > query.limit;
        if more {
            found.truncate(query.limit);
        }
        Ok(List { documents: found, version: 0, more })
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Option<Document>>, Error> {
        self.1.point().await;
        let written = {
            let mut documents = self.0.documents.lock();
            self.0.writes.fetch_add(1, SeqCst);
            writes.into_iter().map(|write| apply(&mut documents, write, &self.0.version)).collect()
        };
        // On disk, and nobody has been told.
        self.1.point().await;
        Ok(written)
    }

    async fn watch(
        &self,
        _: Option<String>,
        _: u64,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
        Err(Error::internal("XB4003", "flows watch nothing"))
    }

    async fn backup(&self, _: &std::path::Path) -> Result<(), Error> {
        Err(Error::internal("XB4003", "flows copy nothing"))
    }
}

fn apply(
    documents: &mut BTreeMap<DocumentKey, Document>,
    write: Write,
    version: &AtomicUsize,
) -> Option<Document> {
    match write {
        Write::Put(mut document, _) => {
            document.version = version.fetch_add(1, SeqCst) as u64 + 1;
            document.created = Timestamp::now();
            documents.insert(document.key(), document.clone());
            Some(document)
        }
        Write::Delete(key, _) => documents.remove(&key),
    }
}

/// Records of a disk, by way of a machine, which writes them in batches: what it has not written yet is lost
/// with it.
pub struct MemoryRecords {
    disk: Arc<Disk>,
    machine: Arc<Machine>,
    waiting: Mutex<Vec<InvocationRecord>>,
    /// How often a record took the place of one that was there.
    pub replaced: AtomicUsize,
    /// Records that come from now on are lost before they are written.
    pub loses: AtomicBool,
}

impl MemoryRecords {
    pub fn new(disk: Arc<Disk>, machine: Arc<Machine>) -> Arc<Self> {
        let (replaced, loses) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { disk, machine, waiting: Mutex::default(), replaced, loses })
    }

    /// A call has ended.
    pub fn note(&self, record: InvocationRecord) {
        if !self.machine.has_failed() && !self.loses.load(SeqCst) {
            self.waiting.lock().push(record);
        }
    }

    async fn flush(&self) {
        self.machine.point().await;
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let mut records = self.disk.records.lock();
        for record in waiting {
            if records.insert(record.id, record).is_some() {
                self.replaced.fetch_add(1, SeqCst);
            }
        }
    }
}

#[async_trait]
impl Records for MemoryRecords {
    async fn append_with_requests(
        &self,
        records: Vec<InvocationRecord>,
        _: Vec<KeptRequest>,
    ) -> Result<(), Error> {
        self.waiting.lock().extend(records);
        self.flush().await;
        self.machine.point().await;
        Ok(())
    }

    async fn get(&self, id: &InvocationId) -> Result<Option<InvocationRecord>, Error> {
        self.flush().await;
        Ok(self.disk.record(id))
    }

    async fn request(&self, _: &InvocationId) -> Result<Option<Call>, Error> {
        Ok(None)
    }

    async fn query(&self, query: &RecordQuery) -> Result<RecordPage, Error> {
        self.flush().await;
        let records = self.disk.records.lock();
        let mut found: Vec<_> = records.values().filter(|record| query.matches(record)).cloned().collect();
        found.sort_by_key(|record| std::cmp::Reverse((record.received, record.id)));
        // Pages of two, so that there are some.
        let from = query.cursor.as_ref().map_or(0, |cursor| cursor.parse().unwrap());
        let cursor = (from + 2 < found.len()).then(|| (from + 2).to_string());
        Ok(RecordPage { records: found.into_iter().skip(from).take(2).collect(), cursor })
    }

    async fn count(&self, query: &RecordQuery) -> Result<u64, Error> {
        Ok(self.disk.records.lock().values().filter(|record| query.matches(record)).count() as u64)
    }

    async fn trim(&self, _: &Retention) -> Result<u64, Error> {
        Ok(0)
    }
}
