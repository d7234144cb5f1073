//! Where records of invocations, and what functions printed, live.

use crate::{
    error::Error,
    invocation::InvocationId,
    log::{LogLine, LogQuery},
    message::Call,
    names::FunctionKey,
    record::{InvocationRecord, KeptRequest, RecordPage, RecordQuery},
};
use async_trait::async_trait;

/// Where records live. Appends are batches; a crash may lose the last one.
///
/// Errors: `XB4002` storage full, `XB4003` storage failed, `XB4005` busy: try again, `XB4014` not a cursor,
/// `XB4015` not an outcome.
#[async_trait]
pub trait Records: Send + Sync {
    /// Adds a batch.
    async fn append(&self, records: Vec<InvocationRecord>) -> Result<(), Error> {
        self.append_with_requests(records, Vec::new()).await
    }

    /// Adds a batch, and the requests of some of its calls. A record takes the place of an earlier one of the
    /// same id, and so does a request.
    async fn append_with_requests(
        &self,
        records: Vec<InvocationRecord>,
        requests: Vec<KeptRequest>,
    ) -> Result<(), Error>;

    /// The record of that id.
    async fn get(&self, id: &InvocationId) -> Result<Option<InvocationRecord>, Error>;

    /// The request of that call, if it was kept; it goes with its record.
    async fn request(&self, id: &InvocationId) -> Result<Option<Call>, Error>;

    /// A page of records, newest first.
    async fn query(&self, query: &RecordQuery) -> Result<RecordPage, Error>;

    /// How many match, cursor and limit aside.
    async fn count(&self, query: &RecordQuery) -> Result<u64, Error>;

    /// Deletes what is past the bounds; returns how many went.
    async fn trim(&self, retention: &Retention) -> Result<u64, Error>;
}

/// Where log lines live. Appends are batches; a crash may lose the last one.
#[async_trait]
pub trait Logs: Send + Sync {
    /// Adds a batch.
    async fn append(&self, lines: Vec<LogLine>) -> Result<(), Error>;

    /// Lines, oldest first.
    async fn query(&self, query: &LogQuery) -> Result<Vec<LogLine>, Error>;

    /// Deletes what is past the bounds; returns how many went.
    async fn trim(&self, retention: &Retention) -> Result<u64, Error>;

    /// Deletes all lines of a function, when it is removed.
    async fn forget(&self, function: &FunctionKey) -> Result<(), Error>;
}

/// How much is kept: whatever is past any bound goes, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Seconds.
    pub seconds: u64,
    /// Entries in all.
    pub entries: u64,
    /// Bytes in all, about: what entries take with their indexes, and requests kept beside records.
    pub bytes: u64,
}

impl Default for Retention {
    /// Seven days, a million entries, one GiB.
    fn default() -> Self {
        Self { seconds: 7 * 24 * 3600, entries: 1_000_000, bytes: 1 << 30 }
    }
}
