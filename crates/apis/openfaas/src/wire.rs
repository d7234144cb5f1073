//! What clients send and receive, as `faas-cli` and the SDKs know it.
//!
//! A deployment is read twice: into [`FunctionDeployment`], which is what Xebec understands of it, and as the
//! JSON it is, which is what is kept. What is read back is what was written, unknown fields included.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use xebec_core::{Digest, Error, function::FunctionView, workload::ArchiveFormat};

/// What `POST` and `PUT /system/functions` take, as far as it means something here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionDeployment {
    /// The function's name.
    #[serde(deserialize_with = "nullable", default)]
    pub service: String,
    /// The image, which an environment may stand in for.
    #[serde(deserialize_with = "nullable", default)]
    pub image: String,
    /// The namespace; empty: the default one.
    #[serde(deserialize_with = "nullable", default)]
    pub namespace: String,
    /// The command (`fprocess`).
    #[serde(deserialize_with = "nullable", default)]
    pub env_process: String,
    /// Environment variables, among them the watchdog's settings.
    #[serde(deserialize_with = "nullable", default)]
    pub env_vars: BTreeMap<String, String>,
    /// Names of secrets.
    #[serde(deserialize_with = "nullable", default)]
    pub secrets: Vec<String>,
    /// Labels; `com.openfaas.scale.*` are read.
    #[serde(deserialize_with = "nullable", default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "nullable", default)]
    pub annotations: BTreeMap<String, String>,
    /// What an instance may use.
    #[serde(deserialize_with = "nullable", default)]
    pub limits: FunctionResources,
    /// What a scheduler should set aside; checked, and otherwise only kept.
    #[serde(deserialize_with = "nullable", default)]
    pub requests: FunctionResources,
    /// It must not write anywhere but `/tmp`.
    #[serde(deserialize_with = "nullable", default)]
    pub read_only_root_filesystem: bool,
    /// What runs in place of the image.
    #[serde(default)]
    pub source: Option<Source>,
}

/// Code that runs in place of an image. An addition of Xebec's, which `xebec apply` sends; OpenFaaS' own clients
/// leave it aside.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Source {
    /// The language template that it was written for; for people.
    #[serde(default)]
    pub lang: String,
    /// The environment that runs it.
    pub environment: String,
    /// The code, as `POST /xebec/v1/code` stored it.
    pub code: SourceCode,
    /// Which entry point is called.
    #[serde(default)]
    pub handler: Option<String>,
    /// How it is called.
    #[serde(default)]
    pub style: Option<String>,
    /// The command, for environments that leave it to the function.
    #[serde(default)]
    pub command: Vec<String>,
    /// Calls that one instance takes at a time.
    #[serde(default)]
    pub concurrency: Option<u32>,
}

/// Code that was stored before.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceCode {
    /// Its digest.
    pub digest: Digest,
    /// How it is packed.
    pub format: ArchiveFormat,
    /// Its size.
    pub bytes: u64,
}

/// Limits or requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct FunctionResources {
    /// E.g. `128Mi`.
    #[serde(deserialize_with = "nullable", default)]
    pub memory: String,
    /// E.g. `100m`.
    #[serde(deserialize_with = "nullable", default)]
    pub cpu: String,
    /// Devices of this maker.
    #[serde(rename = "nvidia.com/gpu", deserialize_with = "nullable", default)]
    pub nvidia_gpu: String,
    /// Devices of this maker.
    #[serde(rename = "amd.com/gpu", deserialize_with = "nullable", default)]
    pub amd_gpu: String,
    /// Devices of this maker.
    #[serde(rename = "intel.com/gpu", deserialize_with = "nullable", default)]
    pub intel_gpu: String,
}

/// What `DELETE /system/functions` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteFunctionRequest {
    /// The function's name.
    #[serde(deserialize_with = "nullable", default)]
    pub function_name: String,
    /// The namespace; empty: the query's, or the default one.
    #[serde(deserialize_with = "nullable", default)]
    pub namespace: String,
}

/// What `POST /system/scale-function/{name}` takes. The name in the path is the one that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleServiceRequest {
    /// How many instances are wanted.
    pub replicas: u64,
    /// The namespace; empty: the query's, or the default one.
    #[serde(deserialize_with = "nullable", default)]
    pub namespace: String,
}

/// A secret as it is written.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// Its name.
    #[serde(deserialize_with = "nullable", default)]
    pub name: String,
    /// The namespace; empty: the query's, or the default one.
    #[serde(deserialize_with = "nullable", default)]
    pub namespace: String,
    /// Its value as text.
    #[serde(deserialize_with = "nullable", default)]
    pub value: String,
    /// Its value as base64, which wins over [`Secret::value`].
    #[serde(deserialize_with = "nullable", default)]
    pub raw_value: String,
}

/// A secret as it is listed: never its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedSecret<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

/// One line of `GET /system/logs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogMessage<'a> {
    /// The function.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Which of its instances.
    pub instance: &'a str,
    /// When.
    pub timestamp: Timestamp,
    /// The line.
    pub text: &'a str,
}

/// What all instances of a function use together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionUsage {
    /// Processor time used lately, in thousandths of a core.
    pub cpu: f64,
    /// Memory held, in bytes.
    pub total_memory_bytes: f64,
}

impl FunctionUsage {
    /// The same as it was measured.
    pub fn of(usage: &xebec_core::function::FunctionUsage) -> Self {
        Self { cpu: usage.cpu_millis, total_memory_bytes: usage.memory_bytes as f64 }
    }
}

/// A namespace, as it is written and read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionNamespace {
    /// Its name.
    #[serde(deserialize_with = "nullable", default)]
    pub name: String,
    /// Its annotations.
    #[serde(deserialize_with = "nullable", default)]
    pub annotations: BTreeMap<String, String>,
    /// Its labels.
    #[serde(deserialize_with = "nullable", default)]
    pub labels: BTreeMap<String, String>,
}

/// What Alertmanager sends to `/system/alert`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AlertWebhook {
    /// `firing` or `resolved`: what holds for alerts that do not say it themselves.
    #[serde(deserialize_with = "nullable", default)]
    pub status: String,
    /// The alerts.
    #[serde(deserialize_with = "nullable", default)]
    pub alerts: Vec<Alert>,
}

/// An alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Alert {
    /// `firing` or `resolved`.
    #[serde(deserialize_with = "nullable", default)]
    pub status: String,
    /// Among them `function_name`.
    #[serde(deserialize_with = "nullable", default)]
    pub labels: BTreeMap<String, String>,
}

impl Alert {
    /// Which function it is about: `<name>[.<namespace>]`.
    pub fn function_name(&self) -> &str {
        self.labels.get("function_name").map_or("", String::as_str)
    }
}

/// A function as `GET /system/functions` and `GET /system/function/{name}` show it: what was written, under
/// the names that are used for reading, and how it is doing.
pub fn function_status(document: &Value, view: &FunctionView, namespace: &str) -> Value {
    let mut status: Map<String, Value> = match document {
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        _ => Map::new(),
    };
    status.remove("service");
    status.retain(|_, value| !value.is_null());
    status.insert("name".to_owned(), json!(view.function.key.name));
    status.entry("image").or_insert_with(|| json!(""));
    status.insert("namespace".to_owned(), json!(namespace));
    // To the second, as Kubernetes has it: clients print what they get.
    let created = Timestamp::from_second(view.function.created.as_second()).unwrap_or_default();
    status.insert("createdAt".to_owned(), json!(created));
    let wanted = (view.live.ready + view.live.starting).max(view.function.policy.min_instances);
    // Clients take a missing count as zero, and the original leaves zeros out.
    for (field, count) in [
        ("replicas", u64::from(wanted)),
        ("availableReplicas", u64::from(view.live.ready)),
        ("invocationCount", view.live.invocations),
    ] {
        status.remove(field);
        if count > 0 {
            status.insert(field.to_owned(), json!(count));
        }
    }
    Value::Object(status)
}

/// Reads a JSON body.
///
/// # Errors
/// `XB1002`, with line, column and reason.
pub fn from_json<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::invalid("XB1002", format!("the body is not the JSON that is wanted: {error}"))
    })
}

/// Go writes what is empty as `null` where it is not left out.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} in {:?})", self.name, self.namespace)
    }
}
