//! What an alarm is: kept as the document of its function, and what the alarm's owner reads of it.

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xebec_core::{
    names::Tenant,
    schedule::{Bounds, Missed, Schedule, ScheduleView, ScheduledCall, When},
};

/// The name of an alarm's schedule in the policy of its function.
pub(super) const SCHEDULE: &str = "openwhisk-alarm";

/// An alarm. Dates are kept as they were written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alarm {
    /// The trigger that it fires.
    pub(super) name: String,
    pub(super) namespace: Tenant,
    #[serde(flatten)]
    pub(super) times: Times,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start_date: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stop_date: Option<Value>,
    /// How often it fires at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_triggers: Option<u64>,
    pub(super) payload: Value,
    pub(super) status: Status,
}

/// When an alarm fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "feed", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(super) enum Times {
    Alarm {
        cron: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timezone: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strict: Option<Value>,
    },
    Interval {
        minutes: u64,
    },
    Once {
        date: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delete_after_fire: Option<String>,
    },
}

/// Whether it fires, as far as anybody decided that; that its times are over is not written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) active: bool,
    /// Milliseconds since 1970.
    pub(super) date_changed: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<Reason>,
}

/// Why an alarm does not fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reason {
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status_code: Option<u16>,
    pub(super) message: String,
}

impl Status {
    pub(super) fn active(now: Timestamp) -> Self {
        Self { active: true, date_changed: now.as_millisecond(), reason: None }
    }

    pub(super) fn ended(at: Timestamp, status_code: Option<u16>, message: impl Into<String>) -> Self {
        let reason = Reason { kind: "AUTO".to_owned(), status_code, message: message.into() };
        Self { active: false, date_changed: at.as_millisecond(), reason: Some(reason) }
    }
}

impl Alarm {
    /// The schedule that it is. Times that pass while no server runs are gone, as they are with the original;
    /// only what fires once fires late rather than never.
    pub(super) fn schedule(&self) -> Schedule {
        let start = self.start_date.as_ref().and_then(moment);
        let until = self.stop_date.as_ref().and_then(moment);
        let (when, not_before, missed) = match &self.times {
            Times::Alarm { cron, timezone, .. } => {
                (When::Cron { cron: cron.clone(), zone: timezone.clone() }, start, Missed::Skip)
            }
            Times::Interval { minutes } => {
                (When::Every { every: format!("{minutes}m"), from: start }, None, Missed::Skip)
            }
            Times::Once { date, .. } => {
                (When::At { at: moment(date).unwrap_or(Timestamp::MAX) }, None, Missed::Once)
            }
        };
        Schedule {
            name: SCHEDULE.into(),
            when,
            bounds: Bounds { not_before, until, times: self.max_triggers },
            missed,
            call: ScheduledCall::default(),
            paused: !self.status.active,
        }
    }

    /// What its owner reads of it.
    pub(super) fn read(&self, view: Option<&ScheduleView>) -> Value {
        let mut config = json!({ "name": self.name, "namespace": self.namespace, "payload": self.payload });
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                config[name] = value;
            }
        };
        match &self.times {
            Times::Once { date, delete_after_fire } => {
                put("strict", json!(false));
                put("date", date.clone());
                put("deleteAfterFire", json!(delete_after_fire));
            }
            Times::Interval { minutes } => {
                put("strict", json!(false));
                put("minutes", json!(minutes));
            }
            Times::Alarm { cron, timezone, strict } => {
                put("strict", strict.clone().unwrap_or(json!(false)));
                put("cron", json!(cron));
                put("timezone", json!(timezone));
            }
        }
        put("startDate", json!(self.start_date));
        put("stopDate", json!(self.stop_date));
        let status = self.status_now(view);
        let changed = Timestamp::from_millisecond(status.date_changed).unwrap_or_default();
        let mut told = json!({
            "active": status.active,
            "dateChanged": status.date_changed,
            "dateChangedISO": changed.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        if let Some(reason) = status.reason {
            told["reason"] = json!(reason);
        }
        json!({ "config": config, "status": told })
    }

    /// Whether it fires, by what its schedule says: one whose times are over is told as if it had been switched
    /// off after the last.
    fn status_now(&self, view: Option<&ScheduleView>) -> Status {
        let over = view.filter(|view| self.status.active && !view.schedule.paused && view.next.is_none());
        let Some(over) = over else { return self.status.clone() };
        let last = over.last.as_ref().map(|firing| firing.at);
        let message = match &self.times {
            Times::Once { .. } if last.is_some() => "Automatically disabled after firing once",
            Times::Once { .. } => "Automatically disabled: the fire once date has expired",
            _ if self.max_triggers.is_some() => "Automatically disabled after reaching max triggers",
            Times::Alarm { .. } => "Automatically disabled after firing last scheduled cron trigger",
            Times::Interval { .. } => "Automatically disabled after firing last scheduled interval trigger",
        };
        let since = Timestamp::from_millisecond(self.status.date_changed).unwrap_or_default();
        Status::ended(last.unwrap_or(since), None, message)
    }
}

/// A date as JavaScript reads it: milliseconds since 1970, or text, which is UTC where it names no zone.
pub(super) fn moment(date: &Value) -> Option<Timestamp> {
    match date {
        Value::Number(number) => {
            let milliseconds = number.as_f64().filter(|number| number.abs() < 8.64e15)?;
            Timestamp::from_millisecond(milliseconds as i64).ok()
        }
        Value::String(text) => {
            let text = text.trim();
            let local = || {
                let civil = text.parse::<jiff::civil::DateTime>().ok()?;
                TimeZone::UTC.to_timestamp(civil).ok()
            };
            let mail = || jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
            text.parse().ok().or_else(local).or_else(mail)
        }
        _ => None,
    }
}
