//! One call of a function, and its answer.

use crate::{
    auth::Principal,
    body::Body,
    digest::Digest,
    error::Error,
    limits::Clock,
    names::FunctionKey,
    outcome::{Outcome, PlatformFault},
    ports::instance::InstanceId,
    record::Note,
};
use bytes::Bytes;
use compact_str::CompactString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc, time::Duration};
use uuid::Uuid;

/// The id of an invocation: a UUIDv7, so that ids sort by time.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct InvocationId(pub Uuid);

impl InvocationId {
    /// A fresh id.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for InvocationId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for InvocationId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let id = Uuid::try_parse(text);
        id.map(Self).map_err(|_| Error::invalid("XB1014", format!("{text:?} is not the id of a call")))
    }
}

/// One call, as a door hands it to the engine.
///
/// The request's URI is what the function shall see: the door has stripped its own prefix. Its
/// extensions may carry hyper's `OnUpgrade`; contracts that speak HTTP then pass upgrades through.
#[derive(Debug)]
pub struct Invocation {
    /// Its id.
    pub id: InvocationId,
    /// Which function.
    pub function: FunctionKey,
    /// A revision in particular; else the function's traffic split decides.
    pub revision: Option<Digest>,
    /// What it is called with.
    pub request: http::Request<Body>,
    /// On whose behalf.
    pub principal: Principal,
    /// Shorter clocks than the revision's own, where the caller asked for them: the whole call.
    pub timeout: Option<Duration>,
    /// When the platform got it.
    pub received: Timestamp,
    /// Which attempt it is of a call that outlives its caller, counted from 1; 0 for a caller who waits.
    pub attempt: u32,
    /// What its door wants kept with its record.
    pub note: Option<Arc<Note>>,
}

impl Invocation {
    /// A call with a fresh id, received now, without wishes of its own.
    pub fn new(function: FunctionKey, principal: Principal, request: http::Request<Body>) -> Self {
        Self {
            id: InvocationId::new(),
            function,
            revision: None,
            request,
            principal,
            timeout: None,
            received: Timestamp::now(),
            attempt: 0,
            note: None,
        }
    }
}

/// Which call a request is: an extension of requests to code that is part of the server, and of no others.
#[derive(Clone, Debug)]
pub struct Called {
    /// The call's id.
    pub id: InvocationId,
    /// What was called.
    pub function: FunctionKey,
    /// On whose behalf.
    pub principal: Principal,
    /// What the call's door wants kept of it.
    pub note: Option<Arc<Note>>,
}

/// What a function answered, as its head arrived. The body streams on; what the engine records of the
/// call it records when that has ended.
#[derive(Debug)]
pub struct Answer {
    /// The answer. For contracts without a status, 200.
    pub response: http::Response<Body>,
    /// Which revision answered.
    pub revision: Digest,
    /// Which instance answered.
    pub instance: InstanceId,
    /// How it came about.
    pub timing: Timing,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Timing {
    /// The call waited for an instance to start.
    pub cold: bool,
    /// Waiting for a slot, microseconds; a start that it waited for included.
    pub wait_us: u64,
    /// What its contract needed of that to bring the new instance to take calls, microseconds; 0 where the
    /// instance was there.
    #[serde(default)]
    pub init_us: u64,
    /// From sending to the first byte of the answer, microseconds.
    pub first_byte_us: u64,
    /// From sending to the last byte of the answer, microseconds; 0 while it runs.
    pub run_us: u64,
}

/// A call that got no answer from the function.
#[derive(Clone, Debug)]
pub struct InvokeError {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a sentence without a full stop.
    pub message: String,
    /// What the function had written to its answer (`stdio`: standard output), if anything.
    pub output: Bytes,
    /// The last lines of its log, for failed starts and crashes.
    pub log_tail: Vec<String>,
    /// Its exit code, where a process ended.
    pub exit_code: Option<i32>,
    /// When it may be worth trying again.
    pub retry_after: Option<Duration>,
    /// The clock that ran out, where one did.
    pub clock: Option<Clock>,
    /// The contract that was spoken, where it got that far: doors map some outcomes by it.
    pub contract: CompactString,
    /// The call's id.
    pub id: InvocationId,
}

impl InvokeError {
    /// A call that ended before it reached a function.
    pub fn platform(id: InvocationId, fault: PlatformFault, message: impl Into<String>) -> Self {
        Self::new(id, Outcome::PlatformError(fault), message)
    }

    /// A call that ended in `outcome`.
    pub fn new(id: InvocationId, outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            message: message.into(),
            output: Bytes::new(),
            log_tail: Vec::new(),
            exit_code: None,
            retry_after: None,
            clock: None,
            contract: CompactString::default(),
            id,
        }
    }
}

impl fmt::Display for InvokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.message)
    }
}

impl std::error::Error for InvokeError {}
