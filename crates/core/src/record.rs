//! Records: what is kept of an invocation.

use crate::{
    digest::Digest,
    invocation::{InvocationId, Timing},
    message::Call,
    names::{FunctionKey, Tenant},
    outcome::Outcome,
};
use bytes::Bytes;
use compact_str::CompactString;
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
    /// What a door wanted kept with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted: Option<Box<Noted>>,
}

impl InvocationRecord {
    /// It without what was kept of the answer.
    #[must_use]
    pub fn without_answer(mut self) -> Self {
        if let Some(noted) = &mut self.noted {
            noted.answer = Bytes::new();
        }
        self
    }
}

/// What a door wants kept with the record of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// Where the record is filed, beside its function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filed: Option<Filed>,
    /// The call that this one is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<InvocationId>,
    /// The door's own words, a JSON object; [`Remarks::details`] are added to them.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
    /// How much of the answer's body is kept, in bytes; 0: nothing.
    pub answer_bytes: u64,
}

/// Where a record is filed beside its function: in a list of its door's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Filed {
    /// Whose list: those on whose behalf the call was made.
    pub tenant: Tenant,
    /// Under which name.
    #[schema(value_type = String)]
    pub name: CompactString,
}

/// What was kept of what a door wanted: a [`Note`] after the call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Noted {
    /// Where the record is filed, beside its function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filed: Option<Filed>,
    /// The call that this one is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<InvocationId>,
    /// The door's own words, a JSON object.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
    /// The answer's body, or what the function had written to it when it failed, as far as it was to be kept.
    #[serde(skip)]
    pub answer: Bytes,
}

impl From<Note> for Noted {
    /// Before anything was answered.
    fn from(note: Note) -> Self {
        let Note { filed, cause, details, answer_bytes: _ } = note;
        Self { filed, cause, details, answer: Bytes::new() }
    }
}

/// What a contract, or the code itself where it is part of the server, says of an answer beside its bytes: an
/// extension of the response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remarks {
    /// How the call ended, where the status does not say so.
    pub outcome: Option<Outcome>,
    /// Added to [`Note::details`] in the record, field by field; a JSON object.
    pub details: serde_json::Value,
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
    /// Filed for this tenant.
    pub filed_for: Option<Tenant>,
    /// Filed under this name; goes with `filed_for`.
    pub filed_as: Option<CompactString>,
    /// Parts of this call.
    pub cause: Option<InvocationId>,
    /// With what was kept of the answers; they are left out otherwise. A page of large ones may end earlier.
    pub answers: bool,
    /// Not the first so many; goes without a cursor.
    pub skip: u64,
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
            && self.matches_noted(record.noted.as_deref())
    }
}

impl RecordQuery {
    fn matches_noted(&self, noted: Option<&Noted>) -> bool {
        let filed = noted.and_then(|noted| noted.filed.as_ref());
        let is = |wanted: &Tenant| filed.is_some_and(|filed| filed.tenant == *wanted);
        let named = |wanted: &CompactString| filed.is_some_and(|filed| filed.name == *wanted);
        self.filed_for.as_ref().is_none_or(is)
            && self.filed_as.as_ref().is_none_or(named)
            && self.cause.is_none_or(|cause| noted.and_then(|noted| noted.cause) == Some(cause))
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
