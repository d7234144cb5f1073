//! Blobs that can be held: while a backup is written, nothing is deleted.

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{path::Path, sync::Arc};
use xebec_core::{
    Body, Digest, Error,
    ports::blobs::{BlobInfo, Blobs},
};

/// Blobs whose deletions wait while someone holds them, so that whoever copies names first and blobs after that
/// finds every blob that was named.
pub struct HeldBlobs {
    inner: Arc<dyn Blobs>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    holders: u32,
    deletions: Vec<Digest>,
}

impl HeldBlobs {
    /// These blobs, held by nobody.
    pub fn new(inner: Arc<dyn Blobs>) -> Self {
        Self { inner, waiting: Mutex::default() }
    }

    /// Does something while nothing is deleted; what was to be is deleted after that.
    pub async fn hold<T>(&self, work: impl Future<Output = T>) -> T {
        self.waiting.lock().holders += 1;
        let hold = Hold(self);
        let done = work.await;
        for digest in hold.release() {
            if let Err(error) = self.inner.delete(&digest).await {
                tracing::debug!(%error, %digest, "a blob that is over stays for now");
            }
        }
        done
    }
}

/// Ends with its owner, however that ends.
struct Hold<'a>(&'a HeldBlobs);

impl Hold<'_> {
    /// What is to be deleted now: nothing, while someone else holds.
    fn release(self) -> Vec<Digest> {
        let mut waiting = self.0.waiting.lock();
        if waiting.holders > 1 { Vec::new() } else { std::mem::take(&mut waiting.deletions) }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        // Where the work was dropped, deletions wait for the next holder: whoever owns the blobs looks for what
        // nothing names now and then, too.
        self.0.waiting.lock().holders -= 1;
    }
}

#[async_trait]
impl Blobs for HeldBlobs {
    async fn put(&self, body: Body, limit: u64) -> Result<(Digest, u64), Error> {
        self.inner.put(body, limit).await
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes, Error> {
        self.inner.get(digest).await
    }

    async fn has(&self, digest: &Digest) -> Result<bool, Error> {
        self.inner.has(digest).await
    }

    async fn list(&self) -> Result<Vec<BlobInfo>, Error> {
        self.inner.list().await
    }

    async fn delete(&self, digest: &Digest) -> Result<(), Error> {
        {
            let mut waiting = self.waiting.lock();
            if waiting.holders > 0 {
                waiting.deletions.push(*digest);
                return Ok(());
            }
        }
        self.inner.delete(digest).await
    }

    async fn backup(&self, to: &Path) -> Result<u64, Error> {
        self.inner.backup(to).await
    }
}
