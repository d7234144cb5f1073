//! What is kept of a call beside its record: what the engine does not know.

use crate::wire::limits::ActionLimits;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use xebec_core::record::InvocationRecord;

/// What is kept of a call beside its record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Details {
    /// Who called.
    pub(crate) subject: CompactString,
    /// What was called: `namespace/[package/]name`.
    pub(crate) path: CompactString,
    /// Its version.
    pub(crate) version: CompactString,
    /// Its kind; triggers have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<CompactString>,
    /// Its limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<ActionLimits>,
    /// The binding that it was called through: `namespace/package`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) binding: Option<CompactString>,
    /// It is made of others, and nobody else's part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topmost: Option<bool>,
    /// A conductor says what it is made of.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) conductor: bool,
    /// What it was made of, as flows tell it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) components: Vec<CompactString>,
    /// What these took together, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duration_ms: Option<u64>,
    /// The most memory that one of them might use, in bytes, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<u64>,
    /// It is a trigger: what it did for each of its rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fired: Option<Vec<String>>,
}

impl Details {
    /// Those of a record; without any, what can be said of it.
    pub(crate) fn of(record: &InvocationRecord) -> Self {
        let kept = record.noted.as_ref().map(|noted| Self::deserialize(&noted.details));
        match kept {
            Some(Ok(details)) => details,
            _ => Self {
                path: compact_str::format_compact!("{}/{}", record.function.tenant, record.function.name),
                ..Self::default()
            },
        }
    }

    /// Adds what was said beside the answer.
    pub(crate) fn add(&mut self, said: &Value) {
        let Ok(said) = Self::deserialize(said) else { return };
        self.components = said.components;
        self.duration_ms = said.duration_ms;
        self.memory = said.memory;
    }

    /// Its own name.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// What its limits allow it.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.limits.map(|limits| Duration::from_millis(limits.timeout))
    }
}
