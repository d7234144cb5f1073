//! How the queue lies in its stream: one subject per message, whose last record says where it stands.

use async_nats::HeaderMap;
use bytes::{BufMut, Bytes, BytesMut};
use compact_str::CompactString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use xebec_core::{
    Error, InvocationId,
    message::{Lane, Message},
    ports::queue::{Entry, EntryState, Place},
    rules::retry::{Death, History},
};

/// The header with a message's [`Standing`]. What changes is in a header, what never does is the payload.
const STANDING: &str = "Xebec-Standing";
/// The header that tells by whose write a record came to be, so that a writer who was not answered can tell.
const WRITE: &str = "Xebec-Write";

/// The messages of a lane with the same key, by a hash.
pub(crate) type Line = u128;

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A message.
    Message(InvocationId),
    /// The lock of a line: the id of the message of it that runs, or nothing. It is written anew with every
    /// change of a message of the line, so that whoever can take it has seen all of them.
    Lock(Line),
    /// An idempotency key of a lane, by its hash.
    Once(String),
    /// A paused place, by its hash.
    Pause(String),
}

impl Key {
    pub(crate) fn once(lane: &Lane, key: &str) -> Self {
        Self::Once(hash(&(lane, key)))
    }

    pub(crate) fn pause(place: &Place) -> Self {
        Self::Pause(hash(place))
    }

    /// The subject under a prefix.
    pub(crate) fn subject(&self, prefix: &str) -> String {
        match self {
            Self::Message(id) => format!("{prefix}.q.m.{}", id.0.simple()),
            Self::Lock(line) => format!("{prefix}.q.k.{line:032x}"),
            Self::Once(hash) => format!("{prefix}.q.i.{hash}"),
            Self::Pause(hash) => format!("{prefix}.q.p.{hash}"),
        }
    }

    /// What a subject is about; `None` for what this queue never wrote.
    pub(crate) fn of(prefix: &str, subject: &str) -> Option<Self> {
        let rest = subject.strip_prefix(prefix)?.strip_prefix(".q.")?;
        match rest.split_once('.')? {
            ("m", id) => Some(Self::Message(InvocationId(uuid::Uuid::try_parse(id).ok()?))),
            ("k", line) => Some(Self::Lock(Line::from_str_radix(line, 16).ok()?)),
            ("i", hash) => Some(Self::Once(hash.to_owned())),
            ("p", hash) => Some(Self::Pause(hash.to_owned())),
            _ => None,
        }
    }
}

fn hash(of: &impl Serialize) -> String {
    hex::encode(number(of).to_be_bytes())
}

fn number(of: &impl Serialize) -> u128 {
    // The types at hand always become JSON; where they did not, they would share a hash, never crash.
    let text = serde_json::to_vec(of).unwrap_or_default();
    Sha256::digest(text).first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// The line a message stands in.
pub(crate) fn line(message: &Message) -> Option<Line> {
    message.key.as_ref().map(|key| number(&(&message.lane, key)))
}

/// What a worker is called.
pub(crate) type WorkerId = CompactString;

/// Who holds a claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Holder {
    #[serde(rename = "w")]
    pub(crate) worker: WorkerId,
    #[serde(rename = "c")]
    pub(crate) claim: u64,
}

/// Where a message stands, and what it has been through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// The sequence under which it was accepted, which is its place among those with its key; `None`: that of
    /// this very record.
    #[serde(default, rename = "o", skip_serializing_if = "Option::is_none")]
    pub(crate) order: Option<u64>,
    /// Not before.
    #[serde(rename = "d")]
    pub(crate) due: Timestamp,
    #[serde(default, rename = "h", skip_serializing_if = "is_clean")]
    pub(crate) history: History,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    #[serde(rename = "p")]
    pub(crate) phase: Phase,
}

fn is_clean(history: &History) -> bool {
    *history == History::default()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Waiting,
    Running(Run),
    Dead {
        since: Timestamp,
        death: Death,
    },
    /// It is no more; the record is there for those who read behind, and expires.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    #[serde(flatten)]
    pub(crate) holder: Holder,
    /// Counts renewals: whoever watches measures the lease anew when it changes.
    #[serde(rename = "t")]
    pub(crate) term: u64,
    #[serde(rename = "l")]
    pub(crate) lease_ms: u64,
    /// For people; leases are measured, not compared with this.
    #[serde(rename = "u")]
    pub(crate) until: Timestamp,
    #[serde(default, rename = "x", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cancelled: bool,
}

impl Run {
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

impl Standing {
    /// Of a message that was just accepted.
    pub(crate) fn fresh(due: Timestamp) -> Self {
        Self { order: None, due, history: History::default(), why: None, phase: Phase::Waiting }
    }

    /// The same message in another phase.
    pub(crate) fn to(&self, phase: Phase) -> Self {
        Self { phase, ..self.clone() }
    }

    pub(crate) fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Running(run) => Some(run),
            _ => None,
        }
    }

    pub(crate) fn held_by(&self, holder: &Holder) -> bool {
        self.run().is_some_and(|run| run.holder == *holder)
    }

    /// `None` for what is gone.
    pub(crate) fn entry(&self, message: Message) -> Option<Entry> {
        let state = match &self.phase {
            Phase::Waiting => EntryState::Waiting { due: self.due },
            Phase::Running(run) => EntryState::Running { until: run.until, cancelled: run.cancelled },
            Phase::Dead { since, death } => EntryState::Dead { since: *since, death: *death },
            Phase::Gone => return None,
        };
        Some(Entry { message, history: self.history, state, why: self.why.clone() })
    }
}

/// What is remembered of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Once {
    pub(crate) id: InvocationId,
    pub(crate) until: Timestamp,
}

/// A record as it lies in the stream.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) sequence: u64,
    /// Of messages.
    pub(crate) standing: Option<Standing>,
    pub(crate) write: CompactString,
    pub(crate) payload: Bytes,
}

impl Record {
    pub(crate) fn read(
        prefix: &str,
        subject: &str,
        sequence: u64,
        headers: Option<&HeaderMap>,
        payload: Bytes,
    ) -> Option<Self> {
        let key = Key::of(prefix, subject)?;
        let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        let standing = match &key {
            Key::Message(_) => Some(serde_json::from_str(header(STANDING)?).ok()?),
            Key::Lock(_) | Key::Once(_) | Key::Pause(_) => None,
        };
        let write = header(WRITE).unwrap_or_default().into();
        Some(Self { key, sequence, standing, write, payload })
    }

    /// Where the message stands, unless it is gone.
    pub(crate) fn living(&self) -> Option<&Standing> {
        self.standing.as_ref().filter(|standing| standing.phase != Phase::Gone)
    }
}

/// A record to be written where the last one with its key has the expected sequence (0: there is none;
/// `None`: whatever it is).
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) key: Key,
    pub(crate) expected: Option<u64>,
    pub(crate) standing: Option<Standing>,
    pub(crate) payload: Bytes,
    /// The server forgets the record after this.
    pub(crate) ttl: Option<Duration>,
}

/// How long those who read behind may learn that a message is gone. Whoever was away reads all anew; whoever
/// missed it all the same learns it when it tries to change the message.
pub(crate) const GONE_FOR: Duration = Duration::from_secs(20);

impl Write {
    /// A message is accepted.
    pub(crate) fn accept(message: &Message, expected: u64) -> Result<Self, Error> {
        Ok(Self::change(message.id, expected, Standing::fresh(message.due), pack(message)?))
    }

    /// A message that is there stands differently from now on.
    pub(crate) fn change(id: InvocationId, expected: u64, standing: Standing, payload: Bytes) -> Self {
        let expected = Some(expected);
        Self { key: Key::Message(id), expected, standing: Some(standing), payload, ttl: None }
    }

    /// A message that is there goes.
    pub(crate) fn gone(id: InvocationId, expected: u64, standing: &Standing) -> Self {
        let standing = Standing { why: None, ..standing.to(Phase::Gone) };
        Self { ttl: Some(GONE_FOR), ..Self::change(id, expected, standing, Bytes::new()) }
    }

    /// A message takes the lock of its line.
    pub(crate) fn lock(line: Line, expected: u64, id: InvocationId) -> Self {
        let payload = Bytes::copy_from_slice(id.0.as_bytes());
        Self { key: Key::Lock(line), expected: Some(expected), standing: None, payload, ttl: None }
    }

    /// A message that has the lock of its line gives it back. It goes together with the message's own change, which
    /// only its holder can make.
    pub(crate) fn unlock(line: Line) -> Self {
        let ttl = Some(GONE_FOR);
        Self { key: Key::Lock(line), expected: None, standing: None, payload: Bytes::new(), ttl }
    }

    pub(crate) fn headers(&self, write: &str) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        if let Some(expected) = self.expected {
            headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        }
        headers.insert(WRITE, write);
        if let Some(standing) = &self.standing {
            headers.insert(STANDING, serde_json::to_string(standing).map_err(|e| defect(&e))?);
        }
        if let Some(ttl) = self.ttl {
            headers.insert("Nats-TTL", format!("{}s", ttl.as_secs().max(1)));
        }
        Ok(headers)
    }

    pub(crate) fn stored(&self, sequence: u64, write: &str) -> Record {
        Record {
            key: self.key.clone(),
            sequence,
            standing: self.standing.clone(),
            write: write.into(),
            payload: self.payload.clone(),
        }
    }
}

/// A message as bytes: the length of its head, its head, its body.
pub(crate) fn pack(message: &Message) -> Result<Bytes, Error> {
    let head = message.head().map_err(|e| defect(&e))?;
    let length = u32::try_from(head.len()).map_err(|e| defect(&e))?;
    let body = message.inline();
    let mut bytes = BytesMut::with_capacity(4 + head.len() + body.len());
    bytes.put_u32(length);
    bytes.put_slice(&head);
    bytes.put_slice(body);
    Ok(bytes.freeze())
}

/// The message of [`pack`].
pub(crate) fn unpack(payload: &Bytes) -> Result<Message, Error> {
    let head = payload.first_chunk().map(|length| u32::from_be_bytes(*length) as usize);
    let Some(body_at) = head.and_then(|head| head.checked_add(4)).filter(|at| *at <= payload.len()) else {
        return Err(Error::internal("XB4003", "a record of the queue is cut short"));
    };
    Message::of(&payload[4..body_at], payload.slice(body_at..)).map_err(|e| defect(&e))
}

fn defect(error: &dyn std::fmt::Display) -> Error {
    Error::internal("XB4003", format!("a record of the queue cannot be read or written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Key> {
        prop_oneof![
            any::<u128>().prop_map(|id| Key::Message(InvocationId(uuid::Uuid::from_u128(id)))),
            any::<u128>().prop_map(Key::Lock),
            "[0-9a-f]{32}".prop_map(Key::Once),
            "[0-9a-f]{32}".prop_map(Key::Pause),
        ]
    }

    fn standing() -> impl Strategy<Value = Standing> {
        let run = (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(claim, term, cancelled)| {
            let holder = Holder { worker: "w".into(), claim };
            Phase::Running(Run { holder, term, lease_ms: 9, until: Timestamp::UNIX_EPOCH, cancelled })
        });
        let dead = Phase::Dead { since: Timestamp::UNIX_EPOCH, death: Death::Poison };
        let phase = prop_oneof![Just(Phase::Waiting), run, Just(dead), Just(Phase::Gone)];
        (proptest::option::of(any::<u64>()), any::<u32>(), proptest::option::of(".{0,20}"), phase).prop_map(
            |(order, failures, why, phase)| Standing {
                order,
                due: Timestamp::UNIX_EPOCH,
                history: History { failures, ..History::default() },
                why,
                phase,
            },
        )
    }

    proptest! {
        #[test]
        fn keys_come_back(key in key()) {
            let subject = key.subject("a.b");
            prop_assert_eq!(Key::of("a.b", &subject), Some(key));
            prop_assert_eq!(Key::of("a", &subject), None);
        }

        #[test]
        fn records_come_back(standing in standing(), expected in any::<u64>(), payload in any::<Vec<u8>>()) {
            let write = Write::change(InvocationId::new(), expected, standing, payload.into());
            let headers = write.headers("me.7").unwrap();
            for (_, values) in headers.iter() {
                for value in values {
                    prop_assert!(!value.as_str().contains(['\r', '\n']));
                }
            }
            let subject = write.key.subject("p");
            let read = Record::read("p", &subject, 9, Some(&headers), write.payload.clone()).unwrap();
            prop_assert_eq!((&read.key, &read.standing, &read.payload), (&write.key, &write.standing, &write.payload));
            prop_assert_eq!((read.sequence, read.write.as_str()), (9, "me.7"));
        }

        #[test]
        fn what_is_no_payload_is_refused(bytes in any::<Vec<u8>>()) {
            prop_assert!(unpack(&bytes.into()).is_err());
        }
    }
}
