//! A store in memory, without anything that takes time.

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;
use xebec_core::{
    Error, ErrorKind,
    document::{Document, DocumentKey, Expect, List, ListQuery, WatchEvent, Write},
    ports::store::Store,
};

/// A store in memory. It passes the suite of the port but for sizes, which it does not limit.
pub struct MemoryStore {
    documents: Mutex<BTreeMap<DocumentKey, Document>>,
    log: Arc<Mutex<Vec<WatchEvent>>>,
    version: watch::Sender<u64>,
    /// Calls so far.
    pub calls: AtomicUsize,
    /// What every write fails with.
    pub trouble: Mutex<Option<Error>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            documents: Mutex::default(),
            log: Arc::default(),
            version: watch::Sender::new(0),
            calls: AtomicUsize::new(0),
            trouble: Mutex::default(),
        }
    }
}

fn conflict() -> Error {
    Error::new(ErrorKind::Conflict, "XB4001", "something else was expected")
}

fn meets(expect: Expect, there: Option<&Document>) -> bool {
    match expect {
        Expect::Any => true,
        Expect::Absent => there.is_none(),
        Expect::Present => there.is_some(),
        Expect::Version(version) => there.is_some_and(|there| there.version == version),
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(self.documents.lock().unwrap().get(key).cloned())
    }

    async fn list(&self, query: &ListQuery) -> Result<List, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let documents = self.documents.lock().unwrap();
        let after = |document: &Document| {
            let place = (document.namespace.clone(), document.name.clone());
            query.after.as_ref().is_none_or(|after| place > *after)
        };
        let mut found: Vec<Document> = documents
            .values()
            .filter(|document| document.kind == query.kind && after(document))
            .filter(|document| query.namespace.as_ref().is_none_or(|wanted| *wanted == document.namespace))
            .filter(|document| query.labels.iter().all(|(k, v)| document.labels.get(k) == Some(v)))
            .cloned()
            .collect();
        let more = query.limit > 0 && found.len() > query.limit;
        if more {
            found.truncate(query.limit);
        }
        Ok(List { documents: found, version: *self.version.borrow(), more })
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Option<Document>>, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(error) = self.trouble.lock().unwrap().clone() {
            return Err(error);
        }
        let mut documents = self.documents.lock().unwrap();
        let mut undo: Vec<(DocumentKey, Option<Document>)> = Vec::new();
        let mut version = *self.version.borrow();
        let (mut answers, mut events) = (Vec::new(), Vec::new());
        for write in writes {
            version += 1;
            let (key, expect) = match &write {
                Write::Put(document, expect) => (document.key(), *expect),
                Write::Delete(key, expect) => (key.clone(), *expect),
            };
            if !meets(expect, documents.get(&key)) {
                for (key, before) in undo.into_iter().rev() {
                    documents.remove(&key);
                    before.map(|before| documents.insert(key, before));
                }
                return Err(conflict());
            }
            undo.push((key.clone(), documents.get(&key).cloned()));
            match write {
                Write::Put(mut document, _) => {
                    let there = documents.get(&key);
                    let now = Timestamp::now();
                    document.version = version;
                    document.generation =
                        there.map_or(1, |there| there.generation + u64::from(there.spec != document.spec));
                    document.created = there.map_or(now, |there| there.created);
                    document.updated = now;
                    documents.insert(key, document.clone());
                    events.push(WatchEvent::Put(document.clone()));
                    answers.push(Some(document));
                }
                Write::Delete(key, _) => {
                    let mut deleted = documents.remove(&key);
                    if let Some(deleted) = &mut deleted {
                        deleted.version = version;
                        events.push(WatchEvent::Deleted(deleted.clone()));
                    }
                    answers.push(deleted);
                }
            }
        }
        self.log.lock().unwrap().extend(events);
        self.version.send_replace(version);
        Ok(answers)
    }

    async fn watch(
        &self,
        kind: Option<String>,
        version: u64,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
        if version > *self.version.borrow() {
            return Err(Error::new(ErrorKind::Conflict, "XB4004", "that is in the future"));
        }
        let (log, versions) = (self.log.clone(), self.version.subscribe());
        let changes = stream::unfold((0, versions), move |(mut read, mut versions)| {
            let (log, kind) = (log.clone(), kind.clone());
            async move {
                loop {
                    versions.mark_unchanged();
                    let next = log.lock().unwrap().get(read).cloned();
                    let Some(event) = next else {
                        versions.changed().await.ok()?;
                        continue;
                    };
                    read += 1;
                    let (WatchEvent::Put(document) | WatchEvent::Deleted(document)) = &event;
                    let wanted = kind.as_ref().is_none_or(|kind| *kind == document.kind);
                    if wanted && document.version > version {
                        return Some((Ok(event), (read, versions)));
                    }
                }
            }
        });
        Ok(changes.boxed())
    }

    async fn backup(&self, _: &Path) -> Result<(), Error> {
        unreachable!("there is no file")
    }
}
