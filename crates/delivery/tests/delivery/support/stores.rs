//! Blobs and records in memory.

use async_trait::async_trait;
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Mutex,
};
use xebec_core::{
    Body, Digest, Error, ErrorKind, InvocationId,
    body::CollectError,
    message::Call,
    ports::{
        blobs::{BlobInfo, Blobs},
        records::{Records, Retention},
    },
    record::{InvocationRecord, KeptRequest, RecordPage, RecordQuery},
};

/// Blobs in memory, with the ages that tests give them.
#[derive(Default)]
pub struct MemoryBlobs {
    pub blobs: Mutex<BTreeMap<Digest, (Bytes, u64)>>,
}

impl MemoryBlobs {
    pub fn count(&self) -> usize {
        self.blobs.lock().unwrap().len()
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, body: Body, limit: u64) -> Result<(Digest, u64), Error> {
        let bytes = body.collect(limit).await.map_err(|error| match error {
            CollectError::TooLarge(_) => Error::new(ErrorKind::TooLarge, "XB4011", "too large"),
            CollectError::Broken(_) => Error::invalid("XB4013", "it broke off"),
        })?;
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        self.blobs.lock().unwrap().insert(digest, (bytes, 0));
        Ok((digest, size))
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes, Error> {
        let found = self.blobs.lock().unwrap().get(digest).map(|(bytes, _)| bytes.clone());
        found.ok_or_else(|| Error::not_found("XB4010", "there is no such blob"))
    }

    async fn has(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.blobs.lock().unwrap().contains_key(digest))
    }

    async fn list(&self) -> Result<Vec<BlobInfo>, Error> {
        let blobs = self.blobs.lock().unwrap();
        let info = |(digest, (bytes, age)): (&Digest, &(Bytes, u64))| BlobInfo {
            digest: *digest,
            bytes: bytes.len() as u64,
            age_seconds: *age,
        };
        Ok(blobs.iter().map(info).collect())
    }

    async fn delete(&self, digest: &Digest) -> Result<(), Error> {
        self.blobs.lock().unwrap().remove(digest);
        Ok(())
    }

    async fn backup(&self, _: &Path) -> Result<u64, Error> {
        Ok(0)
    }
}

/// Records in memory: one of each id, the last that came.
#[derive(Default)]
pub struct MemoryRecords {
    records: Mutex<HashMap<InvocationId, InvocationRecord>>,
}

impl MemoryRecords {
    pub fn put(&self, record: InvocationRecord) {
        self.records.lock().unwrap().insert(record.id, record);
    }

    pub fn of(&self, id: InvocationId) -> Option<InvocationRecord> {
        self.records.lock().unwrap().get(&id).cloned()
    }
}

#[async_trait]
impl Records for MemoryRecords {
    async fn append_with_requests(
        &self,
        records: Vec<InvocationRecord>,
        _: Vec<KeptRequest>,
    ) -> Result<(), Error> {
        records.into_iter().for_each(|record| self.put(record));
        Ok(())
    }

    async fn get(&self, id: &InvocationId) -> Result<Option<InvocationRecord>, Error> {
        Ok(self.of(*id))
    }

    async fn request(&self, _: &InvocationId) -> Result<Option<Call>, Error> {
        Ok(None)
    }

    async fn query(&self, _: &RecordQuery) -> Result<RecordPage, Error> {
        Ok(RecordPage::default())
    }

    async fn count(&self, _: &RecordQuery) -> Result<u64, Error> {
        Ok(self.records.lock().unwrap().len() as u64)
    }

    async fn trim(&self, _: &Retention) -> Result<u64, Error> {
        Ok(0)
    }
}
