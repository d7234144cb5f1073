//! What an instance may use, and the four clocks of a call.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What one instance of a revision may use. `None` means the driver's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory, in bytes. Past it the instance is killed and the call is `out of memory`.
    pub memory_bytes: Option<u64>,
    /// Processor time, in thousandths of one core.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// Private `/tmp`, in bytes.
    pub scratch_bytes: Option<u64>,
    /// Calls that one instance serves at a time: its slots.
    pub concurrency: u32,
    /// The largest request body, in bytes; past it: 413.
    pub request_bytes: u64,
    /// What is kept of the lines that one call prints, in bytes, and then [`crate::log::CUT_OFF`]; 0: nothing at
    /// all; `None`: all, as long as they do not come too fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// The four clocks.
    pub clocks: Clocks,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: None,
            cpu_millis: None,
            processes: None,
            scratch_bytes: None,
            concurrency: 1,
            request_bytes: 32 * 1024 * 1024,
            log_bytes: None,
            clocks: Clocks::default(),
        }
    }
}

/// The four clocks of a call, each with its own limit. Written in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clocks {
    /// Waiting for a slot. Past it: overloaded.
    #[serde(rename = "wait_ms", with = "millis")]
    pub wait: Duration,
    /// Starting an instance until it takes calls. Past it: failed init.
    #[serde(rename = "start_ms", with = "millis")]
    pub start: Duration,
    /// From sending the request to the first byte of the answer. Past it: timeout.
    #[serde(rename = "first_byte_ms", with = "millis")]
    pub first_byte: Duration,
    /// From sending the request to the last byte of the answer. Past it: timeout.
    #[serde(rename = "run_ms", with = "millis")]
    pub run: Duration,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(30),
            start: Duration::from_secs(30),
            first_byte: Duration::from_secs(60),
            run: Duration::from_secs(300),
        }
    }
}

/// One of the four clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// Waiting for a slot.
    Wait,
    /// Starting an instance.
    Start,
    /// Until the answer's first byte.
    FirstByte,
    /// Until the answer's last byte.
    Run,
}

mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
