//! Packages, and bindings to packages.

use super::{parameters::Parameters, version::SemVer};
use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use xebec_core::Tenant;

/// A package, or a binding to one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// Whose it is.
    pub namespace: Tenant,
    /// Its name.
    pub name: CompactString,
    /// The package that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// What its actions are told.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
    /// Raised with every update.
    pub version: SemVer,
    /// Others may read and call what is in it.
    #[serde(default)]
    pub publish: bool,
    /// What is known about it.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub annotations: Parameters,
    /// When it was last changed, in milliseconds since 1970.
    pub updated: i64,
}

impl Package {
    /// As clients see it, with `parameters` that may be more than its own.
    pub fn to_wire(&self, parameters: &Parameters) -> Value {
        let binding = self.binding.as_ref().map_or_else(|| json!({}), |binding| json!(binding));
        json!({
            "namespace": self.namespace,
            "name": self.name,
            "binding": binding,
            "parameters": parameters,
            "version": self.version,
            "publish": self.publish,
            "annotations": self.annotations,
            "updated": self.updated,
        })
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
            "binding": self.binding.as_ref().map_or(Value::Bool(false), |binding| json!(binding)),
        })
    }
}

/// Which package a binding leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Whose.
    pub namespace: Tenant,
    /// Its name.
    pub name: CompactString,
}

impl Binding {
    /// The same, where `_` is the caller's namespace.
    #[must_use]
    pub fn resolved(mut self, own: &Tenant) -> Self {
        if self.namespace.as_str() == super::name::OWN_NAMESPACE {
            self.namespace = own.clone();
        }
        self
    }
}

/// What a request says of a package.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PackagePut {
    /// The package that it shall be bound to.
    #[serde(deserialize_with = "binding")]
    pub binding: Option<Binding>,
    /// What its actions shall be told.
    pub parameters: Option<Parameters>,
    /// Its version.
    pub version: Option<SemVer>,
    /// Whether others may read and call what is in it.
    pub publish: Option<bool>,
    /// What is to be known about it.
    pub annotations: Option<Parameters>,
}

/// `{}` is no binding.
fn binding<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Binding>, D::Error> {
    let malformed = || serde::de::Error::custom("binding malformed: it needs a namespace and a name");
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::Object(fields) if fields.is_empty() => Ok(None),
        written => {
            let binding: Binding = serde_json::from_value(written).map_err(|_| malformed())?;
            let valid =
                super::name::is_name(binding.namespace.as_str()) && super::name::is_name(&binding.name);
            if valid { Ok(Some(binding)) } else { Err(malformed()) }
        }
    }
}
