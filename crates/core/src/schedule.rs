//! Schedules: when a function is called by itself.

use crate::{invocation::InvocationId, names::FunctionKey};
use compact_str::CompactString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use written::{Times, Written};

/// When a function is called by itself, and with what. Part of a function's policy, or a document of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", try_from = "Written")]
pub struct Schedule {
    /// Its name, unique within its tenant; of those in a function's policy, within the function.
    pub name: CompactString,
    /// When.
    #[serde(flatten)]
    pub when: When,
    /// Which of these times are its own.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// What becomes of times that passed while no server ran.
    pub missed: Missed,
    /// What it is called with.
    pub call: ScheduledCall,
    /// It does not fire.
    pub paused: bool,
}

/// Between which moments a schedule fires, and how often at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, rename_all = "kebab-case")]
pub struct Bounds {
    /// Not before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Not after this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// So many times at most; counted anew when its times or bounds change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

/// When a schedule fires. In TOML and JSON one of `cron` (with `zone`), `every` (with `from`) and `at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged, try_from = "Times")]
pub enum When {
    /// Whenever a cron expression says so.
    Cron {
        /// Five fields, six with seconds first, seven with a year last, or a descriptor such as `@daily` or
        /// `@every 1h30m`. A zone may stand before it, as `TZ=Europe/Berlin`.
        cron: String,
        /// An IANA time zone; UTC where it is left out. A time that the zone skips fires at the end of the
        /// gap, one that it has twice fires once; where the hour is `*` or `*/n`, it fires whenever the clock
        /// shows such a time, so that every ten minutes stays every ten minutes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
    },
    /// At a steady interval.
    Every {
        /// Length of time, e.g. `5m`; at least a second.
        every: String,
        /// Counted from this moment; left out, from when the schedule was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
    },
    /// Once.
    At {
        /// The moment.
        at: Timestamp,
    },
}

/// What becomes of times that passed while no server ran, or the schedule could not fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// They are gone; what is late by less than a minute is not missed.
    Skip,
    /// It fires once for all of them.
    #[default]
    Once,
    /// It fires for each, up to a hundred of the latest, one after the other.
    All,
}

/// What a function is called with when its schedule fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScheduledCall {
    /// The method.
    pub method: CompactString,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// The body, as text.
    pub body: String,
}

impl Default for ScheduledCall {
    fn default() -> Self {
        Self { method: "POST".into(), path: "/".to_owned(), headers: BTreeMap::new(), body: String::new() }
    }
}

/// A schedule and how it is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ScheduleView {
    /// What was asked for.
    pub schedule: Schedule,
    /// Whom it calls.
    pub function: FunctionKey,
    /// It is part of the function's policy: it changes with the function's next deploy only.
    pub of_function: bool,
    /// When it fires next; `None`: never, or it is paused.
    pub next: Option<Timestamp>,
    /// When it fired last.
    pub last: Option<Firing>,
}

/// That a schedule fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Firing {
    /// The time that was due.
    pub due: Timestamp,
    /// When it was seen to.
    pub at: Timestamp,
    /// The call it became; `None` where it could not be accepted.
    pub call: Option<InvocationId>,
    /// Why it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How schedules are read: `flatten` would let unknown fields pass, and `untagged` contradictory ones.
mod written {
    use super::{Bounds, CompactString, Missed, Schedule, ScheduledCall, Timestamp, When};
    use serde::{
        Deserialize, Deserializer,
        de::{Error as _, MapAccess, Visitor},
    };
    use std::fmt;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    pub(super) struct Written {
        name: CompactString,
        cron: Option<String>,
        zone: Option<String>,
        every: Option<String>,
        #[serde(default, deserialize_with = "moment")]
        from: Option<Timestamp>,
        #[serde(default, deserialize_with = "moment")]
        at: Option<Timestamp>,
        #[serde(default, deserialize_with = "moment")]
        not_before: Option<Timestamp>,
        #[serde(default, deserialize_with = "moment")]
        until: Option<Timestamp>,
        times: Option<u64>,
        #[serde(default)]
        missed: Missed,
        #[serde(default)]
        call: ScheduledCall,
        #[serde(default)]
        paused: bool,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Times {
        cron: Option<String>,
        zone: Option<String>,
        every: Option<String>,
        #[serde(default, deserialize_with = "moment")]
        from: Option<Timestamp>,
        #[serde(default, deserialize_with = "moment")]
        at: Option<Timestamp>,
    }

    impl TryFrom<Written> for Schedule {
        type Error = String;

        fn try_from(written: Written) -> Result<Self, String> {
            let Written { name, cron, zone, every, from, at, .. } = written;
            let Written { not_before, until, times, missed, call, paused, .. } = written;
            let when = When::try_from(Times { cron, zone, every, from, at });
            let when = when.map_err(|fault| format!("schedule {name:?}: {fault}"))?;
            let bounds = Bounds { not_before, until, times };
            Ok(Self { name, when, bounds, missed, call, paused })
        }
    }

    impl TryFrom<Times> for When {
        type Error = String;

        fn try_from(times: Times) -> Result<Self, String> {
            let Times { cron, zone, every, from, at } = times;
            let given = [("cron", cron.is_some()), ("every", every.is_some()), ("at", at.is_some())];
            let given: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
            if given.len() > 1 {
                return Err(format!(
                    "only one of cron, every and at can be given, not {}",
                    given.join(" and ")
                ));
            }
            if zone.is_some() && cron.is_none() {
                return Err("zone goes with cron only".to_owned());
            }
            if from.is_some() && every.is_none() {
                return Err("from goes with every only".to_owned());
            }
            match (cron, every, at) {
                (Some(cron), ..) => Ok(Self::Cron { cron, zone }),
                (_, Some(every), _) => Ok(Self::Every { every, from }),
                (.., Some(at)) => Ok(Self::At { at }),
                _ => Err("one of cron, every and at is needed".to_owned()),
            }
        }
    }

    /// A moment as text, or as TOML has them without quotation marks.
    fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        struct Moment;

        impl<'de> Visitor<'de> for Moment {
            type Value = Option<Timestamp>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a moment such as 2030-01-31T06:00:00Z")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let wrong = |_| E::custom(format!("{text:?} is not a moment such as 2030-01-31T06:00:00Z"));
                text.parse().map(Some).map_err(wrong)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // The name that the `toml` crate gives to what is a date and time in TOML.
                match map.next_key::<String>()?.as_deref() {
                    Some("$__toml_private_datetime") => self.visit_str(&map.next_value::<String>()?),
                    _ => Err(A::Error::custom("a moment is text such as 2030-01-31T06:00:00Z")),
                }
            }
        }

        from.deserialize_any(Moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        serde_json::from_str::<Schedule>(json).unwrap_err().to_string()
    }

    #[test]
    fn comes_back_as_it_was() {
        let at = "2030-01-31T06:00:00Z".parse::<Timestamp>().unwrap();
        for when in [
            When::Cron { cron: "@daily".into(), zone: Some("Europe/Berlin".into()) },
            When::Cron { cron: "0 0 * * *".into(), zone: None },
            When::Every { every: "5m".into(), from: Some(at) },
            When::Every { every: "5m".into(), from: None },
            When::At { at },
        ] {
            let headers = [("a".to_owned(), "b".to_owned())].into();
            let call = ScheduledCall { headers, ..ScheduledCall::default() };
            let bounds = Bounds { not_before: Some(at), until: None, times: Some(3) };
            let schedule =
                Schedule { name: "x".into(), when, bounds, missed: Missed::All, call, paused: true };
            let json = serde_json::to_string(&schedule).unwrap();
            assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule, "{json}");
            let text = toml::to_string(&schedule).unwrap();
            assert_eq!(toml::from_str::<Schedule>(&text).unwrap(), schedule, "{text}");
            let when = serde_json::to_value(&schedule.when).unwrap();
            assert_eq!(serde_json::from_value::<When>(when).unwrap(), schedule.when);
        }
    }

    #[test]
    fn what_is_left_out() {
        let schedule: Schedule = toml::from_str("name = 'x'\nevery = '5m'").unwrap();
        assert_eq!((schedule.missed, schedule.paused), (Missed::Once, false));
        assert_eq!(schedule.call, ScheduledCall::default());
        let dated: Schedule = toml::from_str("name = 'x'\nat = 2030-01-31T07:00:00+01:00").unwrap();
        let bounded: Schedule =
            toml::from_str("name = 'x'\nevery = '5m'\nuntil = 2030-01-31T07:00:00Z\ntimes = 2").unwrap();
        let until = "2030-01-31T07:00:00Z".parse().ok();
        assert_eq!(bounded.bounds, Bounds { not_before: None, until, times: Some(2) });
        assert_eq!(dated.when, When::At { at: "2030-01-31T06:00:00Z".parse().unwrap() });
        let empty: Schedule =
            serde_json::from_str(r#"{"name":"x","every":"5m","at":null,"from":null}"#).unwrap();
        assert_eq!(empty.when, When::Every { every: "5m".into(), from: None });
    }

    #[test]
    fn names_what_it_does_not_take() {
        for (json, says) in [
            (r#"{"name":"x","cron":"@daily","every":"5m"}"#, "not cron and every"),
            (r#"{"name":"x","every":"5m","at":"2030-01-31T06:00:00Z"}"#, "not every and at"),
            (r#"{"name":"x"}"#, "one of cron, every and at is needed"),
            (r#"{"name":"x","every":"5m","zone":"UTC"}"#, "zone goes with cron only"),
            (r#"{"name":"x","cron":"@daily","from":"2030-01-31T06:00:00Z"}"#, "from goes with every only"),
            (r#"{"name":"x","cron":"@daily","timezone":"UTC"}"#, "unknown field `timezone`"),
            (r#"{"name":"x","at":"soon"}"#, "\"soon\" is not a moment"),
            (r#"{"name":"x","at":{"y":1}}"#, "a moment is text"),
            (r#"{"name":"x","cron":"@daily","missed":"never"}"#, "unknown variant `never`"),
            (r#"{"name":"x","cron":"@daily","call":{"verb":"GET"}}"#, "unknown field `verb`"),
            (r#"{"cron":"@daily"}"#, "missing field `name`"),
        ] {
            let error = refused(json);
            assert!(error.contains(says), "{json}: {error}");
        }
        let toml = "name = 'x'\ncron = '@daily'\nevery = '5m'";
        let error = toml::from_str::<Schedule>(toml).unwrap_err().to_string();
        assert!(error.contains("schedule \"x\": only one of cron, every and at"), "{error}");
        let error = toml::from_str::<Schedule>("name = 'x'\nat = 2030-01-31").unwrap_err().to_string();
        assert!(error.contains("is not a moment"), "{error}");
    }
}
