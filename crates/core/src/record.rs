//! Records: what is kept of an invocation.

use crate::{
    digest::Digest,
    invocation::{InvocationId, Timing},
    message::Call,
    names::FunctionKey,
    outcome::Outcome,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is kept of one invocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct InvocationRecord {
    /// Its id.
    pub id: InvocationId,
    /// What was called.
    pub function: FunctionKey,
    /// Which revision, if it got that far.
    pub revision: Option<Digest>,
    /// Which instance, if it got that far.
    pub instance: Option<String>,
    /// When the platform got it.
    pub received: Timestamp,
    /// Where the time went.
    pub timing: Timing,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The answer's HTTP status, where the function gave one.
    pub status: Option<u16>,
    /// Why it failed, if it did.
    pub message: Option<String>,
    /// Bytes of the request's body, as far as it was sent.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// Which attempt it was of a call that outlived its caller, counted from 1; 0 where the caller waited. All
    /// attempts have one id, and so one record: that of the last.
    #[serde(default)]
    pub attempt: u32,
}

/// Which records to return. Newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordQuery {
    /// Of this tenant.
    pub tenant: Option<crate::names::Tenant>,
    /// Of this function.
    pub function: Option<FunctionKey>,
    /// With this outcome, by [`Outcome::name`].
    pub outcome: Option<String>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Of at least this attempt: with 1 all that outlived their caller, with 2 those that were tried again.
    pub attempt: Option<u32>,
    /// At most so many; implementations cap it at 1000.
    pub limit: Option<u32>,
    /// Where the previous page ended.
    pub cursor: Option<String>,
}

/// A page of records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RecordPage {
    /// Newest first.
    pub records: Vec<InvocationRecord>,
    /// Pass it as [`RecordQuery::cursor`] for the next page; `None`: this was the last.
    pub cursor: Option<String>,
}

impl RecordQuery {
    /// Whether a record is one of those asked for, limit and cursor aside.
    pub fn matches(&self, record: &InvocationRecord) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == record.function.tenant)
            && self.function.as_ref().is_none_or(|function| *function == record.function)
            && self.outcome.as_ref().is_none_or(|outcome| outcome == record.outcome.name())
            && self.since.is_none_or(|since| record.received >= since)
            && self.until.is_none_or(|until| record.received < until)
            && self.attempt.is_none_or(|attempt| record.attempt >= attempt)
    }
}

/// What comes to those who follow records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Followed {
    /// A call has ended.
    Record(Box<InvocationRecord>),
    /// Records came faster than they were read, or than they could be kept.
    Missed {
        /// So many are left out here, of whatever function.
        missed: u64,
    },
}

/// The request of a call, kept beside its record so that the call can be made again.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRequest {
    /// Of which call.
    pub id: InvocationId,
    /// What was sent, without credentials; its body is inline.
    pub call: Call,
}
