//! Policy: what may change without a new revision.

use crate::{
    message::{DEFAULT_QUEUE, Destinations, Guarantee},
    rules::retry::Retry,
    schedule::Schedule,
};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// How a function is scaled, queued for and reached. Mutable; no running code can observe it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Instances kept even when idle.
    pub min_instances: u32,
    /// Instances at most.
    pub max_instances: u32,
    /// Callers that may wait for a slot while no more instances can be started for them; the next is
    /// refused at once.
    pub queue: u32,
    /// Calls in flight at most, over all instances; `None`: what the instances hold.
    pub max_in_flight: Option<u32>,
    /// Calls per second at most (token bucket, burst of one second); `None`: unlimited.
    pub max_rate: Option<f64>,
    /// What the scaler looks at.
    pub scaling: Scaling,
    /// Seconds an idle instance is kept; `None`: learnt from when calls arrive.
    pub keep_alive_seconds: Option<u64>,
    /// Who may call it.
    pub visibility: Visibility,
    /// How calls that outlive their caller are made.
    pub delivery: Delivery,
    /// When it is called by itself.
    pub schedules: Vec<Schedule>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_instances: 0,
            max_instances: 16,
            queue: 1000,
            max_in_flight: None,
            max_rate: None,
            scaling: Scaling::default(),
            keep_alive_seconds: None,
            visibility: Visibility::Public,
            delivery: Delivery::default(),
            schedules: Vec::new(),
        }
    }
}

/// How calls of a function that outlive their caller are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Delivery {
    /// The queue of messages whose sender named none.
    pub queue: CompactString,
    /// Queues of its tenant whose messages without a target it takes.
    pub consumes: Vec<CompactString>,
    /// Messages, or batches, that run at a time in each of its lanes.
    pub concurrency: u32,
    /// What is tried again.
    pub retry: Retry,
    /// How often a message may run.
    pub guarantee: Guarantee,
    /// Milliseconds after which a message that has not begun is a dead letter; `None`: never.
    pub expiry_ms: Option<u64>,
    /// Whether it takes several messages at once.
    pub batch: Option<Batch>,
    /// Where results go.
    pub destinations: Destinations,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            queue: DEFAULT_QUEUE.into(),
            consumes: Vec::new(),
            concurrency: 16,
            retry: Retry::default(),
            guarantee: Guarantee::AtLeastOnce,
            expiry_ms: None,
            batch: None,
            destinations: Destinations::default(),
        }
    }
}

/// How a function takes several messages at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Batch {
    /// Messages at most, 1 to 10,000.
    pub size: u32,
    /// How long the first may wait for more, in milliseconds.
    pub wait_ms: u64,
}

/// What the scaler looks at, and what it aims for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "metric")]
pub enum Scaling {
    /// Calls in flight per instance.
    Concurrency {
        /// The share of an instance's slots to aim for, above 0 to 1.
        target: f64,
    },
    /// Calls per second per instance.
    Rate {
        /// Calls per second that one instance should see.
        target: f64,
    },
}

impl Default for Scaling {
    fn default() -> Self {
        Self::Concurrency { target: 0.7 }
    }
}

/// Who may call a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Everyone who reaches the listener.
    #[default]
    Public,
    /// Whoever has a credential that may invoke in its tenant.
    Authenticated,
}

/// What one tenant may use in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantQuota {
    /// Calls in flight.
    pub max_in_flight: Option<u32>,
    /// Calls per second.
    pub max_rate: Option<f64>,
    /// Memory of all instances, in bytes, by their limits.
    pub max_memory_bytes: Option<u64>,
    /// Functions.
    pub max_functions: Option<u32>,
}
