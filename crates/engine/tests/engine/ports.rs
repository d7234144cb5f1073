//! The ports, in maps.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use xebec_core::{
    Body, Digest, Error, FunctionKey, InvocationId,
    document::{Document, DocumentKey, Expect, List, ListQuery, WatchEvent, Write},
    environment::{BlankSource, Blanks, Environment, Environments},
    error::ErrorKind,
    log::{LogLine, LogQuery},
    message::Call,
    ports::{
        blobs::{BlobInfo, Blobs},
        records::{Logs, Records, Retention},
        store::Store,
    },
    record::{InvocationRecord, KeptRequest, RecordPage, RecordQuery},
    revision::ContractSpec,
};

#[derive(Default)]
pub(crate) struct MemoryStore {
    documents: Mutex<(u64, BTreeMap<DocumentKey, Document>)>,
    pub(crate) full: AtomicBool,
}

impl MemoryStore {
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.documents.lock().1.keys().filter(|key| key.kind == kind).count()
    }

    pub(crate) fn text(&self) -> String {
        format!("{:?}", self.documents.lock().1)
    }
}

fn check(found: Option<&Document>, expect: Expect) -> Result<(), Error> {
    let met = match expect {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::Present => found.is_some(),
        Expect::Version(version) => found.is_some_and(|found| found.version == version),
    };
    if met { Ok(()) } else { Err(Error::new(ErrorKind::Conflict, "XB4001", "changed meanwhile")) }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, Error> {
        Ok(self.documents.lock().1.get(key).cloned())
    }

    async fn list(&self, query: &ListQuery) -> Result<List, Error> {
        let documents = self.documents.lock();
        let mut found: Vec<Document> = documents
            .1
            .values()
            .filter(|document| document.kind == query.kind)
            .filter(|document| query.namespace.as_ref().is_none_or(|wanted| *wanted == document.namespace))
            .filter(|document| {
                let place = (document.namespace.clone(), document.name.clone());
                query.after.as_ref().is_none_or(|after| place > *after)
            })
            .take(if query.limit == 0 { usize::MAX } else { query.limit + 1 })
            .cloned()
            .collect();
        let more = query.limit > 0 && found.len() > query.limit;
        if more {
            found.truncate(query.limit);
        }
        Ok(List { documents: found, version: documents.0, more })
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Option<Document>>, Error> {
        if self.full.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "XB4002", "the disk is full"));
        }
        let mut documents = self.documents.lock();
        for write in &writes {
            match write {
                Write::Put(document, expect) => check(documents.1.get(&document.key()), *expect)?,
                Write::Delete(key, expect) => check(documents.1.get(key), *expect)?,
            }
        }
        let mut results = Vec::new();
        for write in writes {
            documents.0 += 1;
            let version = documents.0;
            results.push(match write {
                Write::Put(mut document, _) => {
                    document.version = version;
                    documents.1.insert(document.key(), document.clone());
                    Some(document)
                }
                Write::Delete(key, _) => documents.1.remove(&key),
            });
        }
        Ok(results)
    }

    async fn watch(
        &self,
        _kind: Option<String>,
        _version: u64,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
        Err(Error::internal("XB4003", "not watched in these tests"))
    }

    async fn backup(&self, file: &Path) -> Result<(), Error> {
        std::fs::write(file, self.text()).map_err(|error| Error::internal("XB4003", error.to_string()))
    }
}

#[derive(Default)]
pub(crate) struct MemoryBlobs {
    pub(crate) blobs: Mutex<BTreeMap<Digest, Bytes>>,
    /// How old all of them are.
    pub(crate) age_seconds: AtomicU64,
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, body: Body, limit: u64) -> Result<(Digest, u64), Error> {
        let bytes = body
            .collect(limit)
            .await
            .map_err(|error| Error::new(ErrorKind::TooLarge, "XB4011", error.to_string()))?;
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        self.blobs.lock().insert(digest, bytes);
        Ok((digest, size))
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes, Error> {
        self.blobs.lock().get(digest).cloned().ok_or_else(|| Error::not_found("XB4010", "no such blob"))
    }

    async fn has(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.blobs.lock().contains_key(digest))
    }

    async fn list(&self) -> Result<Vec<BlobInfo>, Error> {
        let age_seconds = self.age_seconds.load(Ordering::SeqCst);
        let info = |(digest, bytes): (&Digest, &Bytes)| BlobInfo {
            digest: *digest,
            bytes: bytes.len() as u64,
            age_seconds,
        };
        Ok(self.blobs.lock().iter().map(info).collect())
    }

    async fn delete(&self, digest: &Digest) -> Result<(), Error> {
        self.blobs.lock().remove(digest);
        Ok(())
    }

    async fn backup(&self, to: &Path) -> Result<u64, Error> {
        std::fs::create_dir(to).map_err(|error| Error::internal("XB4003", error.to_string()))?;
        Ok(0)
    }
}

#[derive(Default)]
pub(crate) struct MemoryRecords {
    pub(crate) all: Mutex<Vec<InvocationRecord>>,
    pub(crate) broken: AtomicBool,
    pub(crate) trimmed: AtomicBool,
    pub(crate) requests: Mutex<Vec<KeptRequest>>,
    /// How many batches there were.
    pub(crate) appended: AtomicU64,
}

#[async_trait]
impl Records for MemoryRecords {
    async fn append_with_requests(
        &self,
        records: Vec<InvocationRecord>,
        requests: Vec<KeptRequest>,
    ) -> Result<(), Error> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(Error::internal("XB4003", "broken"));
        }
        self.appended.fetch_add(1, Ordering::SeqCst);
        self.all.lock().extend(records);
        self.requests.lock().extend(requests);
        Ok(())
    }

    async fn request(&self, id: &InvocationId) -> Result<Option<Call>, Error> {
        let requests = self.requests.lock();
        Ok(requests.iter().rfind(|request| request.id == *id).map(|request| request.call.clone()))
    }

    async fn get(&self, id: &InvocationId) -> Result<Option<InvocationRecord>, Error> {
        Ok(self.all.lock().iter().find(|record| record.id == *id).cloned())
    }

    async fn query(&self, query: &RecordQuery) -> Result<RecordPage, Error> {
        let records = self.all.lock();
        let wanted = |record: &&InvocationRecord| query.matches(record);
        let found = records.iter().rev().filter(wanted).skip(query.skip as usize).cloned();
        let answers = |record| if query.answers { record } else { InvocationRecord::without_answer(record) };
        Ok(RecordPage { records: found.map(answers).collect(), cursor: None })
    }

    async fn count(&self, query: &RecordQuery) -> Result<u64, Error> {
        Ok(self.query(query).await?.records.len() as u64)
    }

    async fn trim(&self, _retention: &Retention) -> Result<u64, Error> {
        self.trimmed.store(true, Ordering::SeqCst);
        Ok(0)
    }
}

#[derive(Default)]
pub(crate) struct MemoryLogs {
    pub(crate) all: Mutex<Vec<LogLine>>,
}

#[async_trait]
impl Logs for MemoryLogs {
    async fn append(&self, lines: Vec<LogLine>) -> Result<(), Error> {
        self.all.lock().extend(lines);
        Ok(())
    }

    async fn query(&self, query: &LogQuery) -> Result<Vec<LogLine>, Error> {
        let lines = self.all.lock();
        let wanted = |line: &&LogLine| {
            query.function.as_ref().is_none_or(|function| *function == line.function)
                && query.invocation.is_none_or(|invocation| Some(invocation) == line.invocation)
        };
        Ok(lines.iter().filter(wanted).cloned().collect())
    }

    async fn trim(&self, _retention: &Retention) -> Result<u64, Error> {
        Ok(0)
    }

    async fn forget(&self, function: &FunctionKey) -> Result<(), Error> {
        self.all.lock().retain(|line| line.function != *function);
        Ok(())
    }
}

/// Environments of the fake driver: `plain`, `blank` with two blanks kept, and, in no list, `image` with one kept of
/// its image.
pub(crate) struct TwoEnvironments;

impl Environments for TwoEnvironments {
    fn environment(&self, name: &str) -> Option<Arc<Environment>> {
        let blanks = match name {
            "plain" => None,
            "blank" => Some(Blanks { keep: 2, from: BlankSource::Started }),
            "image" => Some(Blanks { keep: 1, from: BlankSource::Started }),
            _ => return None,
        };
        Some(Arc::new(Environment {
            name: name.to_owned(),
            image: (name == "image").then(|| "known/runtime".to_owned()),
            description: String::new(),
            driver: "fake".to_owned(),
            contract: ContractSpec::named("fake"),
            command: vec!["run".to_owned()],
            variables: BTreeMap::new(),
            needs: Vec::new(),
            build: Vec::new(),
            blanks,
            concurrency: 1,
        }))
    }

    fn stands_in_for(&self, image: &str) -> Option<Arc<Environment>> {
        image.starts_with("known/").then(|| self.environment("plain")).flatten()
    }

    fn missing(&self, _environment: &Environment) -> Vec<String> {
        Vec::new()
    }

    fn names(&self) -> Vec<String> {
        vec!["blank".to_owned(), "plain".to_owned()]
    }
}
