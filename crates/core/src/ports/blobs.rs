//! Where large contents live, by digest.

use crate::{body::Body, digest::Digest, error::Error};
use async_trait::async_trait;
use bytes::Bytes;

/// Where large contents live, by digest. What `put` answered is on disk.
///
/// Errors: `XB4010` unknown blob, `XB4011` larger than allowed, `XB4012` damaged, `XB4013` the body broke off,
/// `XB4002` storage full, `XB4003` storage failed.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores what the body brings, at most `limit` bytes, and names it. Returns digest and size.
    async fn put(&self, body: Body, limit: u64) -> Result<(Digest, u64), Error>;

    /// The whole blob.
    async fn get(&self, digest: &Digest) -> Result<Bytes, Error>;

    /// Whether it is there.
    async fn has(&self, digest: &Digest) -> Result<bool, Error>;

    /// All blobs with their sizes and ages in seconds.
    async fn list(&self) -> Result<Vec<BlobInfo>, Error>;

    /// Deletes one; deleting what is not there is no error.
    async fn delete(&self, digest: &Digest) -> Result<(), Error>;

    /// Writes a checked copy of all blobs into a directory, as the implementation opens it. What comes
    /// meanwhile may be missing. Returns how many bytes there are.
    async fn backup(&self, to: &std::path::Path) -> Result<u64, Error>;
}

/// A blob as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Seconds since it was stored.
    pub age_seconds: u64,
}
