//! Messages: calls that outlive their caller.

use crate::{
    body::Body,
    digest::Digest,
    invocation::InvocationId,
    names::{FunctionKey, Tenant},
    record::Note,
    rules::retry::Retry,
};
use bytes::Bytes;
use compact_str::CompactString;
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::Duration};

/// The queue of messages whose sender named none.
pub const DEFAULT_QUEUE: &str = "default";

/// The queue in which results travel to URLs.
pub const RESULTS_QUEUE: &str = "results";

/// Bodies larger than this, in bytes, are blobs that the message names.
pub const INLINE_BYTES: usize = 64 * 1024;

/// A call that was accepted and is yet to be made. All its attempts have its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id, which is the id of the invocation it becomes.
    pub id: InvocationId,
    /// Whose turn it is: messages of one lane wait behind each other, lanes take turns.
    pub lane: Lane,
    /// A revision in particular; else the function's traffic split decides when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Digest>,
    /// What is sent.
    pub call: Call,
    /// Its sender might call functions of the tenant that are not public.
    #[serde(default)]
    pub authorised: bool,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// Not before.
    pub due: Timestamp,
    /// Not after: a message that has not begun by then ends as a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Higher ones of a lane go first; 0 to 9.
    #[serde(default = "normal_priority")]
    pub priority: u8,
    /// Messages of a lane with the same key run one at a time, in the order in which they were accepted.
    /// A failed one that is tried again holds up those behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CompactString>,
    /// A second message of the same lane with this key, within the window, is the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// In place of the function's own policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// In place of the function's own policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<Guarantee>,
    /// In place of the function's own policy: whether it is kept where it finally failed. What was promised when
    /// it was accepted holds also once the function is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<bool>,
    /// Where the result goes, beside what the function's policy says.
    #[serde(default, skip_serializing_if = "Destinations::is_empty")]
    pub destinations: Destinations,
    /// How many calls led to this one.
    #[serde(default)]
    pub hops: u8,
    /// Where it came from.
    #[serde(default)]
    pub source: Source,
    /// What its door wants kept with the call's record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<Note>>,
}

/// The priority of messages whose sender named none.
pub const fn normal_priority() -> u8 {
    5
}

/// The highest priority.
pub const MAX_PRIORITY: u8 = 9;

impl Message {
    /// A call with a fresh id, accepted and due now, from a caller without rights or wishes of their own.
    pub fn new(lane: Lane, call: Call, now: Timestamp) -> Self {
        Self {
            id: InvocationId::new(),
            lane,
            revision: None,
            call,
            authorised: false,
            accepted: now,
            due: now,
            expires: None,
            priority: normal_priority(),
            key: None,
            idempotency: None,
            retry: None,
            guarantee: None,
            dead_letters: None,
            destinations: Destinations::default(),
            hops: 0,
            source: Source::Call,
            note: None,
        }
    }

    /// What goes into storage beside the body: JSON without the bytes of an inline body.
    ///
    /// # Errors
    /// Never, for what this crate defines.
    pub fn head(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The message of a [`Message::head`] and the bytes of its inline body.
    ///
    /// # Errors
    /// Where `head` is none.
    pub fn of(head: &[u8], body: Bytes) -> Result<Self, serde_json::Error> {
        let mut message: Self = serde_json::from_slice(head)?;
        if let Payload::Inline(bytes) = &mut message.call.body {
            *bytes = body;
        }
        Ok(message)
    }

    /// The bytes of its body that travel with it; empty where it is a blob.
    pub fn inline(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match &self.call.body {
            Payload::Inline(bytes) => bytes,
            Payload::Blob { .. } => &NONE,
        }
    }
}

/// Messages of one lane wait behind each other; lanes of a tenant take turns, and so do tenants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Lane {
    /// Whose.
    pub tenant: Tenant,
    /// The queue's name: what is paused, listed and counted together.
    pub queue: CompactString,
    /// Who gets the messages.
    pub target: Target,
}

impl Lane {
    /// The lane of a function's messages in a queue of its tenant.
    pub fn function(queue: &str, function: &FunctionKey) -> Self {
        Self {
            tenant: function.tenant.clone(),
            queue: queue.into(),
            target: Target::Function(function.clone()),
        }
    }
}

impl fmt::Display for Lane {
    /// `tenant/queue/target`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.tenant, self.queue)?;
        match &self.target {
            Target::Function(key) => write!(f, "{}.{}", key.door, key.name),
            Target::Host(host) => f.write_str(host),
            Target::Consumer => f.write_str("*"),
        }
    }
}

/// Who gets a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A function.
    Function(FunctionKey),
    /// The HTTP server of that authority (`host` or `host:port`); the call's URI is the whole URL.
    Host(CompactString),
    /// The function whose policy says that it takes from this queue; until there is one, messages wait.
    Consumer,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// E.g. `POST`.
    pub method: CompactString,
    /// Path and query as the function shall see them; for [`Target::Host`] the whole URL.
    pub uri: String,
    /// Headers.
    #[serde(with = "header_text")]
    pub headers: HeaderMap,
    /// The body.
    pub body: Payload,
}

/// A body that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// Small ones travel with the message; their bytes are stored beside [`Message::head`].
    Inline(#[serde(skip)] Bytes),
    /// Large ones are blobs.
    Blob {
        /// The blob. It begins with the 16 bytes of the message's id, so that no two messages share one.
        digest: Digest,
        /// Size of the body, without that id.
        bytes: u64,
    },
}

impl Payload {
    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob { bytes, .. } => *bytes,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What makes a second message the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The sender's key.
    pub key: CompactString,
    /// For how long it is remembered, in milliseconds, from when the first message was accepted.
    pub window_ms: u64,
}

/// How often a message may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Until it succeeds or its attempts are used up; a crash may make it run twice.
    #[default]
    AtLeastOnce,
    /// Once begun, never again; a crash ends it as a platform error.
    AtMostOnce,
}

/// Where a message came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A caller.
    #[default]
    Call,
    /// The schedule of that name.
    Schedule(CompactString),
    /// The result of that call.
    Result(InvocationId),
    /// A replay of that call.
    Replay(InvocationId),
}

/// Where results go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Destinations {
    /// When it succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_success: Vec<Destination>,
    /// When it finally failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<Destination>,
}

impl Destinations {
    /// Whether results go nowhere.
    pub fn is_empty(&self) -> bool {
        self.on_success.is_empty() && self.on_failure.is_empty()
    }
}

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Destination {
    /// Who gets it.
    pub to: Recipient,
    /// What is sent.
    #[serde(default)]
    pub form: Form,
    /// Headers to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(CompactString, Field)>,
}

/// Who gets a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recipient {
    /// A function of the same tenant.
    Function(FunctionKey),
    /// A URL, by `POST`.
    Url(String),
    /// A queue of the same tenant.
    Queue(CompactString),
}

/// What is sent of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The answer's body with its headers; where there is none, the error in a sentence.
    Answer,
    /// A JSON object that tells of the call, its outcome and its answer.
    #[default]
    Envelope,
}

/// What a header of a result says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The same each time.
    Text(CompactString),
    /// The call's id.
    Id,
    /// The function's name.
    FunctionName,
    /// The status of the answer; 503 where there was none.
    Status,
    /// How long the last attempt took, in seconds with six decimals.
    Seconds,
    /// How it ended, by [`crate::Outcome::name`].
    Outcome,
    /// How many attempts failed before the last one.
    Retries,
    /// How many attempts there may be.
    Attempts,
}

/// A call that shall outlive its caller, as a door hands it over.
#[derive(Debug)]
pub struct Submission {
    /// Its id.
    pub id: InvocationId,
    /// Which function.
    pub function: FunctionKey,
    /// A revision in particular.
    pub revision: Option<Digest>,
    /// What it is called with; the URI is what the function shall see.
    pub request: http::Request<Body>,
    /// On whose behalf.
    pub principal: crate::auth::Principal,
    /// Its wishes.
    pub wishes: Wishes,
    /// Where it came from.
    pub source: Source,
    /// What its door wants kept with the call's record.
    pub note: Option<Arc<Note>>,
}

impl Submission {
    /// A call with a fresh id and no wishes of its own.
    pub fn new(
        function: FunctionKey,
        principal: crate::auth::Principal,
        request: http::Request<Body>,
    ) -> Self {
        Self {
            id: InvocationId::new(),
            function,
            revision: None,
            request,
            principal,
            wishes: Wishes::default(),
            source: Source::Call,
            note: None,
        }
    }
}

/// What a sender may wish; what is left out is as the function's policy says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// Not before so long from now.
    pub delay: Option<Duration>,
    /// A dead letter if it has not begun so long after it was due.
    pub expiry: Option<Duration>,
    /// The queue.
    pub queue: Option<CompactString>,
    /// Higher ones of a lane go first; 0 to [`MAX_PRIORITY`].
    pub priority: Option<u8>,
    /// Messages with the same key run one at a time, in order.
    pub key: Option<CompactString>,
    /// What makes a second message the first one.
    pub idempotency: Option<Idempotency>,
    /// What is tried again.
    pub retry: Option<Retry>,
    /// How often it may run.
    pub guarantee: Option<Guarantee>,
    /// Where the result goes, beside what the function's policy says.
    pub destinations: Destinations,
}

/// That a message was accepted: it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(examples(json!({"id": "01970000-0000-7000-8000-000000000001", "duplicate": false})))]
pub struct Receipt {
    /// Its id; where it was accepted before under the same idempotency key, the first one's.
    pub id: InvocationId,
    /// It was accepted before.
    pub duplicate: bool,
}

/// Header values are bytes; each byte becomes the character of that number, so that nothing is lost in JSON.
mod header_text {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(headers: &HeaderMap, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(headers.iter().map(|(name, value)| {
            (name.as_str(), value.as_bytes().iter().map(|byte| char::from(*byte)).collect::<String>())
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<HeaderMap, D::Error> {
        let pairs = Vec::<(String, String)>::deserialize(from)?;
        let mut headers = HeaderMap::with_capacity(pairs.len());
        for (name, text) in pairs {
            let bytes: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
            let name = HeaderName::try_from(name).map_err(D::Error::custom)?;
            let value = HeaderValue::from_bytes(&bytes.map_err(D::Error::custom)?);
            headers.append(name, value.map_err(D::Error::custom)?);
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn message() -> Message {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        headers.append("x-a", HeaderValue::from_static("two"));
        let now = Timestamp::now();
        Message {
            authorised: true,
            hops: 2,
            source: Source::Schedule("nightly".into()),
            ..Message::new(
                Lane::function(DEFAULT_QUEUE, &FunctionKey::new(&Tenant::default(), "native", "f")),
                Call {
                    method: "POST".into(),
                    uri: "/a?b=c".into(),
                    headers,
                    body: Payload::Inline(Bytes::from_static(b"\x00\xff")),
                },
                now,
            )
        }
    }

    #[test]
    fn comes_back_from_storage_as_it_was() {
        let message = message();
        let head = message.head().unwrap();
        assert_eq!(Message::of(&head, message.inline().clone()).unwrap(), message);
        assert!(!String::from_utf8_lossy(&head).contains("255"), "the body is not part of the head");
    }

    #[test]
    fn blobs_are_named_in_the_head() {
        let mut message = message();
        message.call.body = Payload::Blob { digest: Digest::of("x"), bytes: 1 << 20 };
        let head = message.head().unwrap();
        assert!(message.inline().is_empty());
        assert_eq!(Message::of(&head, Bytes::new()).unwrap(), message);
    }
}
