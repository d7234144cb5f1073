//! Rules: which action a trigger fires.

use super::{name::FullName, parameters::Parameters, version::SemVer};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use xebec_core::Tenant;

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Whose it is.
    pub namespace: Tenant,
    /// Its name.
    pub name: CompactString,
    /// What fires.
    pub trigger: FullName,
    /// What is called.
    pub action: FullName,
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
    /// Whether the trigger shall fire it.
    pub status: Status,
    /// Which trigger of that name it is attached to: one that is made anew has no rules.
    pub attached: Uuid,
}

impl Rule {
    /// Its whole name.
    pub fn full_name(&self) -> FullName {
        FullName::new(&self.namespace, &self.name)
    }

    /// As clients see it.
    pub fn to_wire(&self, status: Status) -> Value {
        let mut wire = self.summary();
        wire["status"] = json!(status);
        wire
    }

    /// As lists show it: without a status.
    pub fn summary(&self) -> Value {
        json!({
            "namespace": self.namespace,
            "name": self.name,
            "trigger": self.trigger.as_object(),
            "action": self.action.as_object(),
            "version": self.version,
            "publish": self.publish,
            "annotations": self.annotations,
            "updated": self.updated,
        })
    }
}

/// Whether a rule's trigger fires it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Active,
    /// It does not.
    Inactive,
}

/// What a request says of a rule. What it says of the status is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RulePut {
    /// What shall fire.
    pub trigger: Option<FullName>,
    /// What shall be called.
    pub action: Option<FullName>,
    /// Its version.
    pub version: Option<SemVer>,
    /// Kept.
    pub publish: Option<bool>,
    /// What is to be known about it.
    pub annotations: Option<Parameters>,
}
