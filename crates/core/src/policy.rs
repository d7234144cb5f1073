//! Policy: what may change without a new revision.

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
        }
    }
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
