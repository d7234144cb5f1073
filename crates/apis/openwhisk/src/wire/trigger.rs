//! Triggers.

use super::{name::FullName, parameters::Parameters, version::SemVer};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use xebec_core::Tenant;

/// A trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Whose it is.
    pub namespace: Tenant,
    /// Its name.
    pub name: CompactString,
    /// What those it fires are told.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
    /// Raised with every update.
    pub version: SemVer,
    /// Kept.
    #[serde(default)]
    pub publish: bool,
    /// What is known about it.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub annotations: Parameters,
    /// When it was last changed, in milliseconds since 1970.
    pub updated: i64,
    /// Tells it from one of the same name that was there before: rules stay attached to the one they were
    /// attached to.
    pub id: Uuid,
}

impl Trigger {
    /// Its whole name.
    pub fn full_name(&self) -> FullName {
        FullName::new(&self.namespace, &self.name)
    }

    /// As clients see it. `rules` are those attached to it, by name.
    pub fn to_wire(&self, rules: Map<String, Value>) -> Value {
        let mut wire = json!({
            "namespace": self.namespace,
            "name": self.name,
            "parameters": self.parameters,
            "limits": {},
            "version": self.version,
            "publish": self.publish,
            "annotations": self.annotations,
            "updated": self.updated,
        });
        if !rules.is_empty() {
            wire["rules"] = Value::Object(rules);
        }
        wire
    }

    /// As lists show it.
    pub fn summary(&self) -> Value {
        json!({
            "namespace": self.namespace,
            "name": self.name,
            "version": self.version,
            "publish": self.publish,
            "annotations": self.annotations,
            "updated": self.updated,
        })
    }
}

/// What a request says of a trigger.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TriggerPut {
    /// What those it fires shall be told.
    pub parameters: Option<Parameters>,
    /// Triggers have none.
    pub limits: Option<Map<String, Value>>,
    /// Its version.
    pub version: Option<SemVer>,
    /// Kept.
    pub publish: Option<bool>,
    /// What is to be known about it.
    pub annotations: Option<Parameters>,
}
