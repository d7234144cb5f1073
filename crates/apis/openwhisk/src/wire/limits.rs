//! What actions and namespaces may use.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an action may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionLimits {
    /// How long one call may take, in milliseconds.
    pub timeout: u64,
    /// Memory of an instance, in megabytes.
    pub memory: u64,
    /// How much is kept of what one call prints, in megabytes.
    pub logs: u64,
    /// Calls that one instance takes at a time.
    pub concurrency: u32,
    /// Instances at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
}

impl Default for ActionLimits {
    fn default() -> Self {
        Self { timeout: 60_000, memory: 256, logs: 10, concurrency: 1, instances: None }
    }
}

/// What an action may use, as far as a request says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ActionLimitsPut {
    /// As [`ActionLimits::timeout`].
    pub timeout: Option<u64>,
    /// As [`ActionLimits::memory`].
    pub memory: Option<u64>,
    /// As [`ActionLimits::logs`].
    pub logs: Option<u64>,
    /// As [`ActionLimits::concurrency`].
    pub concurrency: Option<u32>,
    /// As [`ActionLimits::instances`].
    pub instances: Option<u32>,
}

impl ActionLimitsPut {
    /// These, and what they leave out from `before`.
    pub fn over(self, before: &ActionLimits) -> ActionLimits {
        ActionLimits {
            timeout: self.timeout.unwrap_or(before.timeout),
            memory: self.memory.unwrap_or(before.memory),
            logs: self.logs.unwrap_or(before.logs),
            concurrency: self.concurrency.unwrap_or(before.concurrency),
            instances: self.instances.or(before.instances),
        }
    }
}

/// What all namespaces may do that have no limits of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemLimits {
    /// Calls of actions a minute.
    pub invocations_per_minute: u32,
    /// Calls of actions at a time.
    pub concurrent_invocations: u32,
    /// Triggers fired a minute.
    pub fires_per_minute: u32,
    /// Actions in a sequence, those of its sequences included.
    pub sequence_length: usize,
    /// Least and most time of an action, in milliseconds.
    pub timeout: (u64, u64),
    /// Least and most memory of an action, in megabytes.
    pub memory: (u64, u64),
    /// Least and most log of an action, in megabytes.
    pub logs: (u64, u64),
    /// Fewest and most calls that one instance takes at a time.
    pub concurrency: (u32, u32),
    /// The most code of an action, in bytes.
    pub code_bytes: u64,
    /// The most parameters or annotations of an entity, in bytes.
    pub parameter_bytes: u64,
    /// The most that a call is given, in bytes.
    pub payload_bytes: u64,
    /// The most that is kept and given back of a result, in bytes.
    pub result_bytes: u64,
}

const MEGABYTE: u64 = 1024 * 1024;

impl Default for SystemLimits {
    /// As OpenWhisk is deployed; its 60 calls a minute, 30 at a time, would be in the way of whoever has a
    /// machine of their own.
    fn default() -> Self {
        Self {
            invocations_per_minute: 600_000,
            concurrent_invocations: 1000,
            fires_per_minute: 600_000,
            sequence_length: 50,
            timeout: (100, 300_000),
            memory: (128, 512),
            logs: (0, 10),
            concurrency: (1, 200),
            code_bytes: 48 * MEGABYTE,
            parameter_bytes: MEGABYTE,
            payload_bytes: MEGABYTE,
            result_bytes: MEGABYTE,
        }
    }
}

/// Limits of one namespace, in place of the system's: a document of the administrator's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamespaceLimits {
    /// Calls of actions a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocations_per_minute: Option<u32>,
    /// Calls of actions at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_invocations: Option<u32>,
    /// Triggers fired a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fires_per_minute: Option<u32>,
    /// The only kinds that actions may be of; empty or missing: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_kinds: Option<Vec<String>>,
    /// Whether successful calls are recorded; missing: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_activations: Option<bool>,
    /// The least memory of an action, in megabytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_action_memory: Option<u64>,
    /// The most memory of an action, in megabytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_action_memory: Option<u64>,
    /// The least log of an action, in megabytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_action_logs: Option<u64>,
    /// The most log of an action, in megabytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_action_logs: Option<u64>,
    /// The least time of an action, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_action_timeout: Option<u64>,
    /// The most time of an action, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_action_timeout: Option<u64>,
    /// The fewest calls that one instance takes at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_action_concurrency: Option<u32>,
    /// The most calls that one instance takes at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_action_concurrency: Option<u32>,
    /// The most parameters of an entity, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "size", serialize_with = "in_bytes")]
    pub max_parameter_size: Option<u64>,
    /// The most that a call is given, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "size", serialize_with = "in_bytes")]
    pub max_payload_size: Option<u64>,
    /// The most that is kept of a result, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "size", serialize_with = "in_bytes")]
    pub truncation_size: Option<u64>,
    /// Instances kept when idle, of each action; kept with the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmed_container_keeping_count: Option<u32>,
    /// How long they are kept; kept with the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmed_container_keeping_timeout: Option<String>,
    /// Instances of an action at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_action_instances: Option<u32>,
}

/// Reads a size: a number of bytes, or a text such as `1 MB`.
fn size<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let malformed = || serde::de::Error::custom("a size is a number of bytes, or a text such as \"1 MB\"");
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::Number(number) => number.as_u64().map(Some).ok_or_else(malformed),
        Value::String(text) => parse_size(&text).map(Some).ok_or_else(malformed),
        _ => Err(malformed()),
    }
}

/// Writes a size as OpenWhisk does: a text with its unit.
fn in_bytes<S: serde::Serializer>(size: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    match size {
        Some(bytes) => to.collect_str(&format_args!("{bytes} B")),
        None => to.serialize_none(),
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" => 1024,
        "M" | "MB" => MEGABYTE,
        "G" | "GB" => 1024 * MEGABYTE,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// What one namespace may do: its own limits over the system's.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectiveLimits {
    /// The system's.
    pub system: SystemLimits,
    /// The namespace's own.
    pub own: NamespaceLimits,
}

impl EffectiveLimits {
    /// Calls of actions a minute.
    pub fn invocations_per_minute(&self) -> u32 {
        self.own.invocations_per_minute.unwrap_or(self.system.invocations_per_minute)
    }

    /// Calls of actions at a time.
    pub fn concurrent_invocations(&self) -> u32 {
        self.own.concurrent_invocations.unwrap_or(self.system.concurrent_invocations)
    }

    /// Triggers fired a minute.
    pub fn fires_per_minute(&self) -> u32 {
        self.own.fires_per_minute.unwrap_or(self.system.fires_per_minute)
    }

    /// Whether actions may be of a kind.
    pub fn allows_kind(&self, kind: &str) -> bool {
        match &self.own.allowed_kinds {
            Some(kinds) if !kinds.is_empty() => kinds.iter().any(|allowed| allowed == kind),
            _ => true,
        }
    }

    /// Whether successful calls are recorded.
    pub fn stores_activations(&self) -> bool {
        self.own.store_activations.unwrap_or(true)
    }

    /// Least and most time of an action, in milliseconds.
    pub fn timeout(&self) -> (u64, u64) {
        let (least, most) = self.system.timeout;
        (self.own.min_action_timeout.unwrap_or(least), self.own.max_action_timeout.unwrap_or(most))
    }

    /// Least and most memory of an action, in megabytes.
    pub fn memory(&self) -> (u64, u64) {
        let (least, most) = self.system.memory;
        (self.own.min_action_memory.unwrap_or(least), self.own.max_action_memory.unwrap_or(most))
    }

    /// Least and most log of an action, in megabytes.
    pub fn logs(&self) -> (u64, u64) {
        let (least, most) = self.system.logs;
        (self.own.min_action_logs.unwrap_or(least), self.own.max_action_logs.unwrap_or(most))
    }

    /// Fewest and most calls that one instance takes at a time.
    pub fn concurrency(&self) -> (u32, u32) {
        let (fewest, most) = self.system.concurrency;
        (self.own.min_action_concurrency.unwrap_or(fewest), self.own.max_action_concurrency.unwrap_or(most))
    }

    /// Instances of an action at most.
    pub fn instances(&self) -> u32 {
        self.own.max_action_instances.unwrap_or_else(|| self.concurrent_invocations())
    }

    /// The most parameters of an entity, in bytes.
    pub fn parameter_bytes(&self) -> u64 {
        self.own.max_parameter_size.unwrap_or(self.system.parameter_bytes)
    }

    /// The most that a call is given, in bytes.
    pub fn payload_bytes(&self) -> u64 {
        self.own.max_payload_size.unwrap_or(self.system.payload_bytes)
    }

    /// The most that is kept of a result, in bytes.
    pub fn result_bytes(&self) -> u64 {
        self.own.truncation_size.unwrap_or(self.system.result_bytes)
    }
}
