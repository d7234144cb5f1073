//! What is sent and received about queues, messages and schedules.

use super::ManifestSchedule;
use compact_str::CompactString;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};
use xebec_core::{
    InvocationId,
    message::{Destination, Guarantee, Message, Recipient, Source, Target},
    ports::queue::{Entry, EntryPage, EntryState},
    rules::retry::History,
};

/// A message, as it is listed and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MessageAnswer {
    /// Its id, which is that of the call.
    pub id: InvocationId,
    /// Whose.
    pub tenant: String,
    /// Its queue.
    pub queue: CompactString,
    /// Who gets it.
    pub target: Target,
    /// `state`: `waiting` (with `due`), `running` (`until`, `cancelled`) or `dead` (`since`, `death`).
    #[serde(flatten)]
    pub state: EntryState,
    /// Why its last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it has been through.
    pub history: History,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// A dead letter if it has not begun by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// 0 to 9.
    pub priority: u8,
    /// Messages with the same key run one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CompactString>,
    /// Its sender's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<CompactString>,
    /// How often it may run, in place of the function's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<Guarantee>,
    /// Attempts that it may have, in place of the function's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Where its result goes, beside what the function's policy says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_success: Vec<String>,
    /// The same, when it finally failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<String>,
    /// Where it came from.
    pub source: Source,
    /// How many calls led to it.
    pub hops: u8,
    /// The method.
    pub method: CompactString,
    /// Path and query; for URLs the whole.
    pub uri: String,
    /// Size of the body.
    pub body_bytes: u64,
    /// Its headers, where one message is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// How its body begins, where one message is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Preview>,
}

impl MessageAnswer {
    /// A message as it is listed.
    pub fn new(entry: Entry) -> Self {
        let Entry { message, history, state, why } = entry;
        let body_bytes = message.call.body.len();
        let Message { id, lane, call, accepted, expires, priority, key, source, hops, .. } = message;
        Self {
            id,
            tenant: lane.tenant.to_string(),
            queue: lane.queue,
            target: lane.target,
            state,
            why,
            history,
            accepted,
            expires,
            priority,
            key,
            idempotency_key: message.idempotency.map(|idempotency| idempotency.key),
            guarantee: message.guarantee,
            attempts: message.retry.map(|retry| retry.attempts),
            on_success: message.destinations.on_success.iter().map(recipient).collect(),
            on_failure: message.destinations.on_failure.iter().map(recipient).collect(),
            source,
            hops,
            method: call.method,
            uri: call.uri,
            body_bytes,
            headers: Vec::new(),
            body: None,
        }
    }

    /// A message as it is shown by itself.
    pub fn whole(entry: Entry, body: Option<Preview>) -> Self {
        let headers = entry.message.call.headers.iter();
        let headers = headers
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        Self { headers, body, ..Self::new(entry) }
    }

    /// Who gets it, for people: a function's name, a host, or `*` for whoever consumes its queue.
    pub fn to(&self) -> &str {
        name_of(&self.target)
    }
}

/// A target, for people: a function's name, a host, or `*` for whoever consumes the queue.
pub fn name_of(target: &Target) -> &str {
    match target {
        Target::Function(key) => &key.name,
        Target::Host(host) => host,
        Target::Consumer => "*",
    }
}

/// As manifests write it. Headers are left out: they may hold credentials.
fn recipient(destination: &Destination) -> String {
    match &destination.to {
        Recipient::Function(key) => format!("function:{}", key.name),
        Recipient::Queue(queue) => format!("queue:{queue}"),
        Recipient::Url(url) => url.clone(),
    }
}

/// How a body begins: as text, or in base64 where it is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub struct Preview {
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// There is more: `GET …/messages/{id}/body`.
    pub more: bool,
}

/// A page of messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MessageList {
    /// Oldest accepted first.
    pub messages: Vec<MessageAnswer>,
    /// For the next page; `None`: this was the last.
    pub cursor: Option<String>,
}

impl From<EntryPage> for MessageList {
    fn from(page: EntryPage) -> Self {
        Self { messages: page.entries.into_iter().map(MessageAnswer::new).collect(), cursor: page.cursor }
    }
}

/// Which dead letters `POST …/dead-letters/redrive` and `…/discard` mean: those that meet every condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(examples(json!({"function": "hello", "rate": 10})))]
pub struct DeadLetterRequest {
    /// These, and no others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<InvocationId>>,
    /// In the queue of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// For the function of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// All of the tenant: without any condition this must be said.
    #[serde(skip_serializing_if = "super::is_default")]
    pub all: bool,
    /// For redrive: at most so many a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
}

/// Something that is paused: `{"queue":"slow"}` or `{"function":"hello"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(examples(json!({"queue": "slow"})))]
pub enum Paused {
    /// The queue of that name.
    Queue(String),
    /// The messages of the function of that name, in all queues.
    Function(String),
}

/// How many dead letters were meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(examples(json!({"count": 3})))]
pub struct Count {
    /// So many.
    pub count: u64,
}

/// What `PUT …/schedules/{name}` takes: what `[[schedule]]` holds, and whom it calls.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleRequest {
    /// The function.
    pub function: String,
    /// When and with what.
    #[serde(flatten)]
    pub schedule: ManifestSchedule,
}

/// By hand: an `allOf` of two would refuse each one's fields in the name of the other.
impl PartialSchema for ScheduleRequest {
    fn schema() -> RefOr<Schema> {
        let mut described = ManifestSchedule::schema();
        if let RefOr::T(Schema::Object(all)) = &mut described {
            all.description = Some("What `[[schedule]]` holds, and whom it calls.".to_owned());
            all.properties.insert("function".to_owned(), String::schema());
            all.required.push("function".to_owned());
            all.examples
                .push(serde_json::json!({"function": "hello", "cron": "0 3 * * *", "zone": "Europe/Berlin"}));
        }
        described
    }
}

impl ToSchema for ScheduleRequest {
    fn schemas(all: &mut Vec<(String, RefOr<Schema>)>) {
        ManifestSchedule::schemas(all);
    }
}

/// By hand: `flatten` would let unknown fields pass.
impl<'de> Deserialize<'de> for ScheduleRequest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut fields = serde_json::Map::deserialize(from)?;
        let function = fields.remove("function").ok_or_else(|| D::Error::missing_field("function"))?;
        let function = serde_json::from_value(function).map_err(D::Error::custom)?;
        let schedule = serde_json::from_value(fields.into()).map_err(D::Error::custom)?;
        Ok(Self { function, schedule })
    }
}
