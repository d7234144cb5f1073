//! Functions: the core's deployable unit.

use crate::{
    digest::Digest,
    names::{Address, FunctionKey},
    policy::Policy,
    rules::traffic::Traffic,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A deployed function: its policy, its revisions, and which of them get the calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Function {
    /// What identifies it.
    pub key: FunctionKey,
    /// Where else it can be called: spaces shared between doors.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// How it is scaled, queued for and reached.
    pub policy: Policy,
    /// Its revisions, oldest first. Never empty.
    pub revisions: Vec<RevisionEntry>,
    /// How calls are split over them.
    #[schema(value_type = Vec<crate::rules::traffic::Share>)]
    pub traffic: Traffic,
    /// Free labels, as the door's users wrote them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Free annotations, likewise.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When it was first deployed.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl Function {
    /// The entry of a revision, if the function still has it.
    pub fn revision(&self, digest: &Digest) -> Option<&RevisionEntry> {
        self.revisions.iter().rev().find(|entry| entry.digest == *digest)
    }

    /// The newest revision.
    pub fn latest(&self) -> Option<&RevisionEntry> {
        self.revisions.last()
    }
}

/// One revision in a function's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RevisionEntry {
    /// Which.
    pub digest: Digest,
    /// Counted from 1 within the function; never used twice.
    pub number: u64,
    /// When it was deployed.
    pub created: Timestamp,
}

/// A function and how it is doing right now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FunctionView {
    /// What was deployed.
    #[serde(flatten)]
    pub function: Function,
    /// How it is doing.
    pub live: Live,
}

/// How a function is doing right now, over all its revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Live {
    /// Instances that take calls.
    pub ready: u32,
    /// Instances being started.
    pub starting: u32,
    /// Instances that the scaler wants, by the load and within the policy's bounds.
    #[serde(default)]
    pub desired: u32,
    /// Calls in flight.
    pub in_flight: u32,
    /// Callers waiting for a slot.
    pub waiting: u32,
    /// Calls accepted since the server started.
    pub invocations: u64,
    /// Of these, those that did not end in success.
    pub failures: u64,
    /// Starts since the server started.
    pub cold_starts: u64,
}

/// What a function's instances use, all together. What a driver cannot tell counts as nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FunctionUsage {
    /// Processor time used lately, in thousandths of a core.
    pub cpu_millis: f64,
    /// Processor time used by all instances since the server began to watch the function, those that are gone
    /// included, in seconds. Starts again at 0 when the function was not in use for long.
    pub cpu_seconds: f64,
    /// Memory held now, in bytes.
    pub memory_bytes: u64,
}
