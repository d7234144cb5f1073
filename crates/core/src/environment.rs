//! Environments: how code becomes a running instance.

use crate::revision::ContractSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How code becomes a running instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Its name, e.g. `python`.
    pub name: String,
    /// What it is for, in one sentence.
    #[serde(default)]
    pub description: String,
    /// The driver that runs it: `process` or `wasm`.
    pub driver: String,
    /// The contract its instances speak.
    pub contract: ContractSpec,
    /// The container image that its instances run, for drivers that run images; code is handed to them by the
    /// contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The command that starts an instance; `command[0]` is looked up in the server's `PATH`.
    /// Empty where the revision brings its own (`exec`, `http`).
    #[serde(default)]
    pub command: Vec<String>,
    /// Variables that its instances get below the function's own.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Programs of the host that it needs, e.g. `python3`. Missing ones refuse a deploy with a sentence.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What installs the dependencies at deploy time.
    #[serde(default)]
    pub build: Vec<BuildStep>,
    /// How blanks of it come to be.
    #[serde(default)]
    pub blanks: Option<Blanks>,
    /// Calls that one instance takes at a time unless the function says otherwise.
    #[serde(default = "one")]
    pub concurrency: u32,
}

fn one() -> u32 {
    1
}

/// A command that runs at deploy time, in the same sandbox, with the code at `/app`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildStep {
    /// It runs if this file is in the code's root, e.g. `requirements.txt`; `.`: always.
    pub when: String,
    /// Files whose contents decide whether an earlier result can be used again; those that exist count. `.` is all
    /// of the code, and which of its entry points is called.
    pub cache_key: Vec<String>,
    /// The command. It writes what it installs to `$XEBEC_DEPENDENCIES`, sees what the steps before it installed
    /// where instances see it, and is told the entry point as `$XEBEC_HANDLER`.
    pub command: Vec<String>,
    /// Where the result appears inside instances, e.g. `/app/node_modules`.
    pub mount: String,
}

/// Instances started ahead, before any user's code is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blanks {
    /// How many are kept ready once a function of this environment exists.
    pub keep: u32,
    /// Forked from a warmed parent process of this command, or each started by it.
    pub from: BlankSource,
}

/// Where a blank comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlankSource {
    /// Forked from a zygote that has the language loaded.
    Zygote,
    /// Started ahead by the environment's own command.
    Started,
}

/// The table of environments, and of images that one of them stands in for.
pub trait Environments: Send + Sync {
    /// The environment of that name.
    fn environment(&self, name: &str) -> Option<std::sync::Arc<Environment>>;

    /// The environment that stands in for an image, with the first pattern that matches.
    fn stands_in_for(&self, image: &str) -> Option<std::sync::Arc<Environment>>;

    /// All names, sorted.
    fn names(&self) -> Vec<String>;

    /// Programs of the host that an environment needs and that are not there.
    fn missing(&self, environment: &Environment) -> Vec<String>;
}
