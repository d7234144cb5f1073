//! Blobs in a local directory: `<2 hex>/<64 hex>`, named by their SHA-256.
//!
//! A blob appears under its name only when it is whole and on disk. What arrives in pieces is first
//! written to `incoming/`; whatever an interrupted upload left there goes at the next start.

mod copy;
mod fault;
mod held;
mod layout;
mod upload;

pub use copy::copy;
pub use held::HeldBlobs;

use async_trait::async_trait;
use bytes::Bytes;
use fault::{fault, is_missing};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _, local::LocalFileSystem};
use sha2::{Digest as _, Sha256};
use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};
use xebec_core::{
    Body, Digest, Error,
    ports::blobs::{BlobInfo, Blobs},
};

/// The directory's name within the data directory.
pub const BLOBS_DIRECTORY: &str = "blobs";

/// Blobs in a local directory.
pub struct LocalBlobs {
    directory: PathBuf,
    files: LocalFileSystem,
}

impl LocalBlobs {
    /// Opens a directory, or creates it, and clears what interrupted uploads left. Blocks for as long as that
    /// takes; nobody else may have it open.
    ///
    /// # Errors
    /// `XB4002`, `XB4003`.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let doing = || format!("open the blobs in {}", directory.display());
        layout::prepare(directory).map_err(|error| fault(&doing(), error))?;
        let files = LocalFileSystem::new_with_prefix(directory)
            .map_err(|error| fault(&doing(), error))?
            // What is acknowledged must survive power loss: files and their directories' entries.
            .with_fsync(true);
        Ok(Self { directory: directory.to_owned(), files })
    }

    /// Reads a blob and compares it with its name.
    ///
    /// # Errors
    /// `XB4010` unknown, `XB4012` damaged.
    pub async fn verify(&self, digest: &Digest) -> Result<(), Error> {
        let found = self.files.get(&layout::path(digest)).await.map_err(|error| missing_or(digest, error))?;
        let mut pieces = found.into_stream();
        let mut hash = Sha256::new();
        while let Some(piece) = pieces.next().await {
            hash = upload::absorb(hash, piece.map_err(|error| missing_or(digest, error))?).await?;
        }
        let read = Digest::from_bytes(hash.finalize().into());
        if read == *digest { Ok(()) } else { Err(damaged(digest)) }
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.files.head(&layout::path(digest)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(fault(&format!("look for the blob {digest}"), error)),
        }
    }
}

#[async_trait]
impl Blobs for LocalBlobs {
    async fn put(&self, body: Body, limit: u64) -> Result<(Digest, u64), Error> {
        upload::put(self, body, limit).await
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes, Error> {
        let found = self.files.get(&layout::path(digest)).await.map_err(|error| missing_or(digest, error))?;
        found.bytes().await.map_err(|error| missing_or(digest, error))
    }

    async fn has(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.size(digest).await?.is_some())
    }

    async fn list(&self) -> Result<Vec<BlobInfo>, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut blobs: Vec<_> = self
            .files
            .list(None)
            .try_filter_map(|file| async move {
                let stored = u64::try_from(file.last_modified.timestamp()).unwrap_or(0);
                Ok(layout::digest(&file.location).map(|digest| BlobInfo {
                    digest,
                    bytes: file.size,
                    age_seconds: now.saturating_sub(stored),
                }))
            })
            .try_collect()
            .await
            .map_err(|error| fault("list the blobs", error))?;
        blobs.sort_unstable_by_key(|blob| blob.digest);
        Ok(blobs)
    }

    async fn delete(&self, digest: &Digest) -> Result<(), Error> {
        match self.files.delete(&layout::path(digest)).await {
            Err(error) if !is_missing(&error) => Err(fault(&format!("delete the blob {digest}"), error)),
            _ => Ok(()),
        }
    }

    async fn backup(&self, to: &std::path::Path) -> Result<u64, Error> {
        copy(self, to).await
    }
}

fn missing_or(digest: &Digest, error: object_store::Error) -> Error {
    if is_missing(&error) {
        return Error::not_found("XB4010", format!("there is no blob {digest}"));
    }
    fault(&format!("read the blob {digest}"), error)
}

fn damaged(digest: &Digest) -> Error {
    Error::internal("XB4012", format!("the blob {digest} is damaged: its content has another digest"))
        .with_hint("deploy again what it belongs to, or restore a backup; the disk may be failing")
}
