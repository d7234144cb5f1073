//! Actions.

use super::{
    exec::{Exec, ExecPut},
    limits::{ActionLimits, ActionLimitsPut},
    name::FullName,
    parameters::Parameters,
    version::SemVer,
};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xebec_core::Tenant;

/// An action, as it is stored and kept in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Whose it is.
    pub namespace: Tenant,
    /// The package it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<CompactString>,
    /// Its name.
    pub name: CompactString,
    /// What it runs.
    pub exec: Exec,
    /// What it is told with every call.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
    /// What it may use.
    #[serde(default)]
    pub limits: ActionLimits,
    /// Raised with every update.
    pub version: SemVer,
    /// Kept; packages are what is shared.
    #[serde(default)]
    pub publish: bool,
    /// What is known about it.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub annotations: Parameters,
    /// When it was last changed, in milliseconds since 1970.
    pub updated: i64,
}

impl Action {
    /// Its whole name.
    pub fn full_name(&self) -> FullName {
        FullName { namespace: self.namespace.clone(), package: self.package.clone(), name: self.name.clone() }
    }

    /// As clients see it: with its code where it is given, and with `parameters` that may be more than its own.
    pub fn to_wire(&self, code: Option<String>, parameters: &Parameters) -> Value {
        json!({
            "namespace": self.full_name().path(),
            "name": self.name,
            "exec": self.exec.to_wire(code),
            "parameters": parameters,
            "limits": self.limits,
            "version": self.version,
            "publish": self.publish,
            "annotations": self.annotations,
            "updated": self.updated,
        })
    }

    /// As lists show it.
    pub fn summary(&self) -> Value {
        json!({
            "namespace": self.full_name().path(),
            "name": self.name,
            "version": self.version,
            "publish": self.publish,
            "annotations": self.annotations,
            "updated": self.updated,
            "limits": self.limits,
            "exec": { "binary": self.exec.is_binary() },
        })
    }
}

/// What a request says of an action.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ActionPut {
    /// What it shall run.
    pub exec: Option<ExecPut>,
    /// What it shall be told.
    pub parameters: Option<Parameters>,
    /// What it may use.
    pub limits: Option<ActionLimitsPut>,
    /// Its version.
    pub version: Option<SemVer>,
    /// Kept.
    pub publish: Option<bool>,
    /// What is to be known about it.
    pub annotations: Option<Parameters>,
    /// Annotations that shall go.
    #[serde(rename = "delAnnotations")]
    pub del_annotations: Option<Vec<String>>,
}
