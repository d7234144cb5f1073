//! Revisions: immutable snapshots of all that running code can observe.

use crate::{digest::Digest, limits::Limits, workload::Workload};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that the running code can observe. Two equal specs have one digest and are one revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisionSpec {
    /// What to run.
    pub workload: Workload,
    /// The name of the environment that runs it.
    pub environment: String,
    /// The protocol spoken with it; defaults to the environment's when the door leaves it so.
    pub contract: ContractSpec,
    /// The command that runs it, in place of the environment's own (`fprocess` and kin). Not a shell line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Which of the code's entry points is called, e.g. `handler.handle`. Environments have a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// How the worker calls it, e.g. `request`, `event-context`, `wsgi`, `asgi`. `None`: it finds out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<String>,
    /// Environment variables, the user's and the door's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Secrets it can read, by version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretMount>,
    /// What it may use.
    pub limits: Limits,
    /// It must not write anywhere but `/tmp`.
    #[serde(default)]
    pub read_only_root: bool,
    /// Its code is complete: none of its environment's build steps is run for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_is: bool,
}

impl RevisionSpec {
    /// The digest that names this revision: SHA-256 of its canonical JSON (fields in declaration
    /// order, maps sorted by key).
    pub fn digest(&self) -> Digest {
        let canonical = serde_json::to_vec(self).unwrap_or_default();
        Digest::of(canonical)
    }
}

/// Which contract, and its settings. The settings' shapes belong to the contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContractSpec {
    /// `stdio`, `http`, `wasi-http`, …
    pub name: String,
    /// Its settings, by the names that the contract documents.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, serde_json::Value>,
}

impl ContractSpec {
    /// A contract with its default settings.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), options: BTreeMap::new() }
    }
}

/// A secret as one revision sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretMount {
    /// The secret's name within the tenant.
    pub name: String,
    /// The version that was current when the revision was made. A changed secret makes a new revision.
    pub version: u64,
    /// The file it appears as inside the instance, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The environment variable it appears as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
}

/// A revision with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Its name.
    pub digest: Digest,
    /// What it is.
    pub spec: RevisionSpec,
}

impl Revision {
    /// Names a spec.
    pub fn new(spec: RevisionSpec) -> Self {
        Self { digest: spec.digest(), spec }
    }
}
