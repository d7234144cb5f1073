//! `com.openfaas.queue` and `com.openfaas.retry.*` → how calls that outlive their caller are made; the cron
//! connector's `topic` and `schedule` → schedules.

use super::invalid;
use compact_str::{CompactString, format_compact};
use std::{collections::BTreeMap, time::Duration};
use xebec_contracts::duration;
use xebec_core::{
    Error,
    policy::Delivery,
    rules::{retry::Retry, schedule::check_all},
    schedule::{Bounds, Missed, Schedule, ScheduledCall, When},
};

type Annotations = BTreeMap<String, String>;

const QUEUE: &str = "com.openfaas.queue";
const RETRY: &str = "com.openfaas.retry.";

/// What the cron connector looks for in `topic`, among others that a comma divides.
const CRON_TOPIC: &str = "cron-function";

const LONGEST_QUEUE_NAME: usize = 128;

/// What OpenFaaS' queue worker does where one annotation about retries is given, and the others are not.
const ATTEMPTS: u32 = 100;
const MOST_ATTEMPTS: u32 = 1000;
const MIN_WAIT: Duration = Duration::from_secs(10);
const MAX_WAIT: Duration = Duration::from_secs(120);

pub(super) fn delivery(annotations: &Annotations) -> Result<Delivery, Error> {
    let mut delivery = Delivery::default();
    if let Some(queue) = annotations.get(QUEUE) {
        delivery.queue = queue_name(queue)?;
    }
    if annotations.keys().any(|name| name.starts_with(RETRY)) {
        delivery.retry = retry(annotations)?;
    }
    Ok(delivery)
}

fn queue_name(name: &str) -> Result<CompactString, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > LONGEST_QUEUE_NAME || !name.bytes().all(plain) {
        let fault = format!("{name:?} is not 1 to {LONGEST_QUEUE_NAME} letters, digits, -, _ and .");
        return Err(invalid(&field(QUEUE), fault));
    }
    Ok(name.into())
}

fn retry(annotations: &Annotations) -> Result<Retry, Error> {
    let known = ["attempts", "codes", "min_wait", "max_wait"];
    for name in annotations.keys().filter_map(|name| name.strip_prefix(RETRY)) {
        if !known.contains(&name) {
            return Err(invalid(
                &field(&format!("{RETRY}{name}")),
                format!("there are {}", known.join(", ")),
            ));
        }
    }
    let get = |name: &str| annotations.get(&format!("{RETRY}{name}")).map(|text| text.trim());
    let wrong = |name: &str, fault: String| invalid(&field(&format!("{RETRY}{name}")), fault);
    let mut retry = Retry { attempts: ATTEMPTS, ..Retry::default() };
    if let Some(text) = get("attempts") {
        let attempts = text.parse().ok().filter(|attempts| (1..=MOST_ATTEMPTS).contains(attempts));
        let fault = || wrong("attempts", format!("{text:?} is not a whole number from 1 to {MOST_ATTEMPTS}"));
        retry.attempts = attempts.ok_or_else(fault)?;
    }
    if let Some(text) = get("codes") {
        let codes: Option<Vec<u16>> = text
            .split([',', ' '])
            .filter(|code| !code.is_empty())
            .map(|code| code.parse().ok().filter(|code| (100..=599).contains(code)))
            .collect();
        let fault = || wrong("codes", format!("{text:?} is not a list of statuses such as 429,502,503"));
        retry.codes = codes.filter(|codes| codes.len() <= 100).ok_or_else(fault)?;
    }
    let wait = |name: &str, default: Duration| {
        let Some(text) = get(name) else { return Ok(default) };
        duration::parse(text).ok_or_else(|| wrong(name, format!("{text:?} is not a duration such as 10s")))
    };
    let min = wait("min_wait", MIN_WAIT)?;
    let max = wait("max_wait", MAX_WAIT.max(min))?;
    if max < min {
        return Err(wrong("max_wait", format!("{max:?} is below {RETRY}min_wait, which is {min:?}")));
    }
    (retry.min_wait_ms, retry.max_wait_ms) = (milliseconds(min), milliseconds(max));
    Ok(retry)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The schedules of a function that the cron connector would call; what passes while no server runs is gone, as it
/// is with the connector.
pub(super) fn schedules(annotations: &Annotations) -> Result<Vec<Schedule>, Error> {
    let topics = annotations.get("topic").map_or("", String::as_str);
    if !topics.split(',').any(|topic| topic.trim() == CRON_TOPIC) {
        return Ok(Vec::new());
    }
    let field = field("schedule");
    let Some(text) = annotations.get("schedule") else {
        return Err(invalid(
            &field,
            format!("it is missing; topic {CRON_TOPIC} asks for one such as */5 * * * *"),
        ));
    };
    let headers = [("X-Topic", CRON_TOPIC), ("X-Connector", "connector-sdk")];
    let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut schedules = Vec::new();
    for (at, cron) in text.split(';').map(str::trim).filter(|cron| !cron.is_empty()).enumerate() {
        let bare = cron.strip_prefix("CRON_TZ=").or_else(|| cron.strip_prefix("TZ="));
        let bare = bare.map_or(cron, |rest| rest.split_once(' ').map_or("", |(_, fields)| fields)).trim();
        let fields = bare.split_whitespace().count();
        if !bare.starts_with('@') && fields != 5 {
            return Err(invalid(&field, format!("{cron:?} has {fields} fields, 5 are needed")));
        }
        schedules.push(Schedule {
            name: if at == 0 { "cron".into() } else { format_compact!("cron-{}", at + 1) },
            when: When::Cron { cron: cron.to_owned(), zone: None },
            bounds: Bounds::default(),
            missed: Missed::Skip,
            call: ScheduledCall { headers: headers.clone(), ..ScheduledCall::default() },
            paused: false,
        });
    }
    if schedules.is_empty() {
        return Err(invalid(&field, "it is empty"));
    }
    check_all(&schedules)
        .map_err(|error| Error { hint: error.hint.clone(), ..invalid(&field, error.message) })?;
    Ok(schedules)
}

fn field(annotation: &str) -> String {
    format!("annotations.{annotation}")
}
