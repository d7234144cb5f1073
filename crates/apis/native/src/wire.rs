//! What is sent and received. The manifest is also what `function.toml` holds.

mod delivery;
mod invocations;
mod messages;
mod units;

pub use delivery::{
    AfterCall, ManifestAsync, ManifestBatch, ManifestRetry, ManifestSchedule, Receiver, Receivers,
};
pub use invocations::{InvocationAnswer, ReplayAnswer};
pub use messages::{
    Count, DeadLetterRequest, MessageAnswer, MessageList, Paused, Preview, ScheduleRequest, name_of,
};
pub use units::{Bytes, Span};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xebec_core::{
    Digest,
    function::{FunctionUsage, FunctionView, RevisionEntry},
    rules::traffic::Share,
    workload::ArchiveFormat,
};

/// A function as its author describes it: the contents of `function.toml`, and what `PUT
/// /xebec/v1/functions/{name}` takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schema(examples(json!({
    "name": "hello", "environment": "python", "limits": {"memory": "128MiB", "timeout": "30s"},
    "code": {
        "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "format": "tar_zstd", "bytes": 1024,
    },
})))]
pub struct Manifest {
    /// Its name: a DNS label.
    pub name: String,
    /// The environment that runs it, e.g. `python`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// A container image, in place of `environment` and code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which entry point is called, e.g. `handler.handle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// How it is called; left out, the worker finds out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<String>,
    /// The command, for environments that leave it to the function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// A shell line that the command line runs in the function's folder before it packs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// The one file or folder that is sent, in place of the whole folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Who may call it: `public` or `authenticated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<xebec_core::policy::Visibility>,
    /// Names of secrets; each appears as the file `/run/secrets/<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What one instance may use.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: ManifestLimits,
    /// How many instances, and when.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scale: ManifestScale,
    /// How calls that outlive their caller are made.
    #[serde(default, rename = "async", skip_serializing_if = "is_default")]
    pub asynchronous: ManifestAsync,
    /// When it is called by itself.
    #[serde(default, rename = "schedule", skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ManifestSchedule>,
    /// Settings of the contract, in place of the environment's, e.g. `port`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contract: BTreeMap<String, serde_json::Value>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The code, as stored before by `POST /xebec/v1/code`. Never in `function.toml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Code that was stored before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Its digest.
    pub digest: Digest,
    /// How it is packed.
    pub format: ArchiveFormat,
    /// Its size.
    pub bytes: u64,
}

/// What one instance may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ManifestLimits {
    /// E.g. `128MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Cores, e.g. `0.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// Private `/tmp`, e.g. `64MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Bytes>,
    /// Calls that one instance serves at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The largest request body, e.g. `32MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Bytes>,
    /// From sending the request to the last byte of the answer, e.g. `30s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// From sending the request to the first byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_timeout: Option<Span>,
    /// Starting an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<Span>,
    /// Waiting for a slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<Span>,
}

/// How many instances, and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ManifestScale {
    /// Kept even when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// At most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// `concurrency` (the default), `rate`, `cpu` or `queue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<xebec_core::policy::Metric>,
    /// How much one instance takes: calls in flight (left out: its slots), calls per second, thousandths of a
    /// core, or messages that wait (left out: its slots).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// The share of the target to aim for; left out: `0.7` for `concurrency`, `1` for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proportion: Option<f64>,
    /// For how long the highest wish of late keeps instances, e.g. `2m`, at most `5m`; left out: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_window: Option<Span>,
    /// How long an idle instance is kept, e.g. `5m`; left out, it is learnt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<Span>,
    /// Callers that may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// Calls in flight at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Calls per second at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<f64>,
}

/// A function as it is read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FunctionAnswer {
    /// Its name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// The door that owns it.
    pub door: String,
    /// What its author wrote, for functions of this door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// What its instances use, where one function is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<FunctionUsage>,
    /// What is deployed and how it is doing.
    #[serde(flatten)]
    pub view: FunctionView,
}

/// One line of a deploy that is followed (`Accept: text/event-stream`): the `data` of its events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum DeployEvent {
    /// Something is being done.
    Step {
        /// What.
        line: String,
    },
    /// It is deployed.
    Done {
        /// The function.
        function: Box<FunctionAnswer>,
    },
    /// It is not.
    Failed {
        /// Why.
        error: ErrorBody,
    },
}

/// What `POST /xebec/v1/code` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CodeAnswer {
    /// The digest to deploy by.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

/// What `PUT …/traffic` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"shares": [{"revision": 3, "percent": 90}, {"revision": 4, "percent": 10}]})))]
pub struct TrafficRequest {
    /// Revision numbers and their percentages, which sum to 100.
    pub shares: Vec<NumberedShare>,
}

/// One revision's share, by its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NumberedShare {
    /// Counted from 1 within the function.
    pub revision: u64,
    /// Percent.
    pub percent: u8,
}

/// What `POST …/rollback` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(examples(json!({"to": 2})))]
pub struct RollbackRequest {
    /// Which revision; left out: the one before the newest that gets calls.
    pub to: Option<u64>,
}

/// One revision, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RevisionAnswer {
    /// Which.
    #[serde(flatten)]
    pub entry: RevisionEntry,
    /// Its share of the traffic.
    pub percent: u8,
}

impl RevisionAnswer {
    /// Joins a history with a traffic split, newest first.
    pub fn list(revisions: &[RevisionEntry], shares: &[Share]) -> Vec<Self> {
        let percent =
            |digest: &Digest| shares.iter().find(|s| s.revision == *digest).map_or(0, |s| s.percent);
        revisions
            .iter()
            .rev()
            .map(|entry| Self { entry: entry.clone(), percent: percent(&entry.digest) })
            .collect()
    }
}

/// What `PUT /xebec/v1/secrets/{name}` takes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"value": "aHVudGVyMg=="})))]
pub struct SecretRequest {
    /// The value, in base64.
    pub value: String,
}

/// What `POST /xebec/v1/keys` answers: the only time that the token is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyAnswer {
    /// The key.
    #[serde(flatten)]
    pub key: xebec_core::auth::KeyInfo,
    /// Its token.
    pub token: String,
}

/// What `POST /xebec/v1/backup` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"directory": "/var/backups/xebec/2030-01-31"})))]
pub struct BackupRequest {
    /// An absolute path on the server's machine; made if missing, must be empty.
    pub directory: String,
}

/// What `GET /xebec/v1/info` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Info {
    /// The server's version.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// Functions deployed.
    pub functions: usize,
    /// What each driver enforces.
    pub drivers: Vec<xebec_core::ports::driver::DriverReport>,
}

/// The body of every error of this door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(examples(json!({
    "code": "XB2002", "message": "there is no function \"hello\"", "hint": "xebec ls lists what is deployed",
})))]
pub struct ErrorBody {
    /// Its stable code.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// How the call ended, for calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The call's id, for calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<String>,
    /// The last lines of the function's log, for failed starts and crashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// What the function had answered so far.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_refuses_what_it_does_not_know() {
        let error = serde_json::from_str::<Manifest>(r#"{"name":"a","memmory":"1MiB"}"#).unwrap_err();
        assert!(error.to_string().contains("memmory"), "{error}");
    }
}
