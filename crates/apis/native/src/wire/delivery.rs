//! What a manifest says about calls that outlive their caller, and about schedules.

use super::Span;
use compact_str::CompactString;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use std::{collections::BTreeMap, fmt};
use xebec_core::{
    message::{Form, Guarantee},
    rules::retry::Jitter,
    schedule::{Missed, ScheduledCall},
};

/// How calls of a function that outlive their caller are made: `[async]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ManifestAsync {
    /// The queue of messages whose sender named none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<CompactString>,
    /// Queues of its tenant whose messages without a target it takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumes: Vec<CompactString>,
    /// Messages, or batches, that run at a time in each of its lanes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// `at-least-once` (the default) or `at-most-once`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<Guarantee>,
    /// A message that has not begun by then is a dead letter, e.g. `1h`; left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Span>,
    /// Where the result goes when it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_success: Option<Receivers>,
    /// Where the result goes when it finally failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Receivers>,
    /// Whether what finally failed is kept, to be looked at and sent again; left out: yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<bool>,
    /// What is tried again.
    #[serde(skip_serializing_if = "super::is_default")]
    pub retry: ManifestRetry,
    /// Whether it takes several messages at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<ManifestBatch>,
}

/// What is tried again, how often, and after how long: `[async.retry]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ManifestRetry {
    /// Attempts in all, the first included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Statuses of answers that are tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codes: Option<Vec<u16>>,
    /// Outcomes without an answer that are tried again, e.g. `timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<Vec<CompactString>>,
    /// The wait after the first failure; it doubles from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_wait: Option<Span>,
    /// The longest wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Span>,
    /// How waits are spread: `exponential` (not at all), `full` or `equal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// Whether an answer's `Retry-After` lengthens the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub honour_retry_after: Option<bool>,
    /// For how long what the platform was too busy or not ready for is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<Span>,
}

/// How a function takes several messages at once: `[async.batch]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ManifestBatch {
    /// Messages at most.
    pub size: u32,
    /// How long the first may wait for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

/// Who gets a result: one, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Receivers {
    /// One.
    One(Receiver),
    /// Several.
    Many(Vec<Receiver>),
}

impl Receivers {
    /// All of them.
    pub fn all(&self) -> &[Receiver] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Who gets a result: `"function:name"`, `"queue:name"` or a URL; or a table that says more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Receiver {
    /// Only who.
    Text(String),
    /// Who, and what is sent.
    Table(AfterCall),
}

impl Receiver {
    /// Who.
    pub fn to(&self) -> &str {
        match self {
            Self::Text(to) => to,
            Self::Table(table) => &table.to,
        }
    }
}

/// Who gets a result, and what is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AfterCall {
    /// `function:name`, `queue:name` or a URL.
    pub to: String,
    /// `envelope` (the default): a JSON object that tells of the call and its answer; `answer`: the answer as it is.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub form: Form,
    /// Headers to add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// By hand, so that a mistake inside a table is named instead of "no variant matched".
impl<'de> Deserialize<'de> for Receiver {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Receiver;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"function:name\", \"queue:name\", a URL, or a table with `to`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Receiver, E> {
                Ok(Receiver::Text(text.to_owned()))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Receiver, M::Error> {
                AfterCall::deserialize(MapAccessDeserializer::new(map)).map(Receiver::Table)
            }
        }
        from.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Receivers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Receivers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"function:name\", \"queue:name\", a URL, a table with `to`, or a list of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Receivers, E> {
                Ok(Receivers::One(Receiver::Text(text.to_owned())))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Receivers, M::Error> {
                let table = AfterCall::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Receivers::One(Receiver::Table(table)))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Receivers, S::Error> {
                let mut many = Vec::new();
                while let Some(one) = list.next_element()? {
                    if many.len() == MAX_RECEIVERS {
                        return Err(S::Error::custom(format!("a result goes to at most {MAX_RECEIVERS}")));
                    }
                    many.push(one);
                }
                Ok(Receivers::Many(many))
            }
        }
        from.deserialize_any(OneOrMany)
    }
}

/// Results of one kind go to at most so many.
pub(crate) const MAX_RECEIVERS: usize = 10;

/// When a function is called by itself: `[[schedule]]`. One of `cron`, `every` and `at`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ManifestSchedule {
    /// Its name, unique within the function.
    pub name: CompactString,
    /// Five fields, or six with seconds first, or a descriptor such as `@daily`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of `cron`, e.g. `Europe/Berlin`; UTC where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// A steady interval, e.g. `5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// The moment that `every` counts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The one moment, e.g. `2026-12-24T18:00:00+01:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Not before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Not after this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// So many times at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// What becomes of times that passed while no server ran: `skip`, `once` (the default), `all`.
    #[serde(skip_serializing_if = "super::is_default")]
    pub missed: Missed,
    /// It does not fire.
    #[serde(skip_serializing_if = "super::is_default")]
    pub paused: bool,
    /// What the function is called with.
    #[serde(skip_serializing_if = "super::is_default")]
    pub call: ScheduledCall,
}

#[cfg(test)]
mod tests {
    use crate::wire::Manifest;
    use serde_json::json;

    #[test]
    fn what_was_written_is_read_back() {
        let written = json!({
            "name": "a",
            "async": {
                "queue": "slow", "consumes": ["orders"], "concurrency": 2, "guarantee": "at-most-once",
                "expiry": "3600s",
                "on-success": "function:audit",
                "on-failure": ["queue:failed", {"to": "https://example.org/x", "form": "answer"}],
                "dead-letters": false,
                "retry": {"attempts": 3, "codes": [503], "min-wait": "2s", "jitter": "full"},
                "batch": {"size": 10, "wait": "500ms"},
            },
            "schedule": [
                {"name": "nightly", "cron": "0 3 * * *", "zone": "Europe/Berlin"},
                {"name": "once", "at": "2026-12-24T18:00:00+01:00", "missed": "skip"},
            ],
        });
        let manifest: Manifest = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&manifest).unwrap(), written);
    }

    #[test]
    fn a_plain_manifest_stays_plain() {
        let manifest: Manifest = serde_json::from_value(json!({"name": "a"})).unwrap();
        assert_eq!(serde_json::to_value(&manifest).unwrap(), json!({"name": "a"}));
    }

    #[test]
    fn mistakes_are_named() {
        for (written, named) in [
            (json!({"async": {"quue": "a"}}), "quue"),
            (json!({"async": {"retry": {"atempts": 1}}}), "atempts"),
            (json!({"async": {"on-failure": {"to": "queue:a", "fomr": "answer"}}}), "fomr"),
            (json!({"async": {"on-failure": [{"too": "queue:a"}]}}), "too"),
            (json!({"async": {"on-failure": 3}}), "function:name"),
            (json!({"schedule": [{"name": "a", "corn": "* * * * *"}]}), "corn"),
            (json!({"schedule": [{"name": "a", "call": {"bdy": ""}}]}), "bdy"),
        ] {
            let mut whole = json!({"name": "a"});
            whole.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
            let error = serde_json::from_value::<Manifest>(whole).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
