//! Schedules: when a function is called by itself.

use crate::{invocation::InvocationId, names::FunctionKey};
use compact_str::CompactString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// When a function is called by itself, and with what. Part of a function's policy, or a document of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Schedule {
    /// Its name, unique within its tenant; of those in a function's policy, within the function.
    pub name: CompactString,
    /// When.
    #[serde(flatten)]
    pub when: When,
    /// What becomes of times that passed while no server ran.
    #[serde(default)]
    pub missed: Missed,
    /// What it is called with.
    #[serde(default)]
    pub call: ScheduledCall,
    /// It does not fire.
    #[serde(default)]
    pub paused: bool,
}

/// When a schedule fires. In TOML and JSON one of `cron` (with `zone`), `every` (with `from`) and `at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum When {
    /// Whenever a cron expression says so.
    Cron {
        /// Five fields, or six with seconds first, or a descriptor such as `@daily`.
        cron: String,
        /// An IANA time zone; UTC where it is left out. A time that the zone skips fires at the end of the
        /// gap, one that it has twice fires once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
    },
    /// At a steady interval.
    Every {
        /// Length of time, e.g. `5m`; at least a second.
        every: String,
        /// Counted from this moment; left out, from when the schedule was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
    },
    /// Once.
    At {
        /// The moment.
        at: Timestamp,
    },
}

/// What becomes of times that passed while no server ran, or the schedule could not fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// They are gone; what is late by less than a minute is not missed.
    Skip,
    /// It fires once for all of them.
    #[default]
    Once,
    /// It fires for each, up to a hundred of the latest, one after the other.
    All,
}

/// What a function is called with when its schedule fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScheduledCall {
    /// The method.
    pub method: CompactString,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// The body, as text.
    pub body: String,
}

impl Default for ScheduledCall {
    fn default() -> Self {
        Self { method: "POST".into(), path: "/".to_owned(), headers: BTreeMap::new(), body: String::new() }
    }
}

/// A schedule and how it is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleView {
    /// What was asked for.
    pub schedule: Schedule,
    /// Whom it calls.
    pub function: FunctionKey,
    /// It is part of the function's policy: it changes with the function's next deploy only.
    pub of_function: bool,
    /// When it fires next; `None`: never, or it is paused.
    pub next: Option<Timestamp>,
    /// When it fired last.
    pub last: Option<Firing>,
}

/// That a schedule fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The time that was due.
    pub due: Timestamp,
    /// When it was seen to.
    pub at: Timestamp,
    /// The call it became; `None` where it could not be accepted.
    pub call: Option<InvocationId>,
    /// Why it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
