//! `[async]` and `[[schedule]]` → policy.

use super::within;
use crate::{
    DOOR,
    wire::{AfterCall, ManifestAsync, ManifestRetry, ManifestSchedule, Receiver, Receivers, Span},
};
use http::{HeaderName, HeaderValue, Uri};
use jiff::Timestamp;
use std::{collections::BTreeSet, time::Duration};
use xebec_core::{
    Error, FunctionKey, Tenant,
    message::{Destination, Destinations, Field, Form, Recipient},
    names::{Address, check_dns_label},
    policy::{Batch, Delivery},
    ports::control::Control,
    rules::retry::Retry,
    schedule::{Bounds, Schedule, When},
};

const DAY: u64 = 24 * 3600;

/// How long the first message of a batch waits for more, where the manifest does not say.
const BATCH_WAIT: Duration = Duration::from_secs(1);

/// Queues that one function may take from, and schedules that it may have.
const MAX_CONSUMED: usize = 16;
const MAX_SCHEDULES: usize = 32;

/// The longest name of a queue.
const MAX_QUEUE_BYTES: usize = 128;

/// Outcomes without an answer that may be tried again.
const OUTCOMES: [&str; 6] = ["timeout", "crash", "out_of_memory", "failed_init", "bad_response", "internal"];

/// Compiles `[async]`.
///
/// # Errors
/// `XB1001` for a bad name, `XB1004` for a value out of bounds, naming the field.
pub(super) fn delivery(
    control: &dyn Control,
    tenant: &Tenant,
    wanted: &ManifestAsync,
) -> Result<Delivery, Error> {
    let default = Delivery::default();
    if let Some(queue) = &wanted.queue {
        check_queue("async.queue", queue)?;
    }
    consumes(wanted)?;
    if let Some(concurrency) = wanted.concurrency {
        within("async.concurrency", f64::from(concurrency), 1.0, 10_000.0)?;
    }
    let batch = wanted.batch.as_ref().map(|batch| {
        within("async.batch.size", f64::from(batch.size), 1.0, 10_000.0)?;
        let wait = batch.wait.unwrap_or(Span(BATCH_WAIT));
        Ok::<_, Error>(Batch { size: batch.size, wait_ms: millis("async.batch.wait", wait, 300)? })
    });
    let receivers = |field: &str, receivers: &Option<Receivers>| {
        let all = receivers.as_ref().map_or(&[][..], Receivers::all);
        all.iter().map(|receiver| destination(control, tenant, field, receiver)).collect::<Result<_, _>>()
    };
    Ok(Delivery {
        queue: wanted.queue.clone().unwrap_or(default.queue),
        consumes: wanted.consumes.clone(),
        concurrency: wanted.concurrency.unwrap_or(default.concurrency),
        retry: retry(&wanted.retry)?,
        guarantee: wanted.guarantee.unwrap_or_default(),
        expiry_ms: wanted.expiry.map(|expiry| millis("async.expiry", expiry, 365 * DAY)).transpose()?,
        batch: batch.transpose()?,
        destinations: Destinations {
            on_success: receivers("async.on-success", &wanted.on_success)?,
            on_failure: receivers("async.on-failure", &wanted.on_failure)?,
        },
        dead_letters: wanted.dead_letters.unwrap_or(default.dead_letters),
    })
}

fn consumes(wanted: &ManifestAsync) -> Result<(), Error> {
    if wanted.consumes.len() > MAX_CONSUMED {
        return Err(bad(
            "async.consumes",
            format!("at most {MAX_CONSUMED} queues, not {}", wanted.consumes.len()),
        ));
    }
    let mut seen = BTreeSet::new();
    for queue in &wanted.consumes {
        check_queue("async.consumes", queue)?;
        if !seen.insert(queue) {
            return Err(bad("async.consumes", format!("{queue:?} is there twice")));
        }
    }
    Ok(())
}

fn retry(wanted: &ManifestRetry) -> Result<Retry, Error> {
    let default = Retry::default();
    if let Some(attempts) = wanted.attempts {
        within("async.retry.attempts", f64::from(attempts), 1.0, f64::from(MAX_ATTEMPTS))?;
    }
    for code in wanted.codes.iter().flatten() {
        within("async.retry.codes", f64::from(*code), 100.0, 599.0)?;
    }
    for outcome in wanted.outcomes.iter().flatten() {
        if !OUTCOMES.contains(&outcome.as_str()) {
            let message = format!("{outcome:?} is not an outcome that can be tried again");
            return Err(bad("async.retry.outcomes", message).with_hint(OUTCOMES.join(", ")));
        }
    }
    let wait =
        |field, span: Option<Span>, most, default| span.map_or(Ok(default), |span| millis(field, span, most));
    let min_wait_ms = wait("async.retry.min-wait", wanted.min_wait, DAY, default.min_wait_ms)?;
    // Who raises the first wait above the usual longest one means both.
    let longest = default.max_wait_ms.max(min_wait_ms);
    let max_wait_ms = wait("async.retry.max-wait", wanted.max_wait, 7 * DAY, longest)?;
    if max_wait_ms < min_wait_ms {
        return Err(bad("async.retry.max-wait", "it must not be below async.retry.min-wait"));
    }
    Ok(Retry {
        attempts: wanted.attempts.unwrap_or(default.attempts),
        codes: wanted.codes.clone().unwrap_or(default.codes),
        outcomes: wanted.outcomes.clone().unwrap_or(default.outcomes),
        min_wait_ms,
        max_wait_ms,
        jitter: wanted.jitter.unwrap_or(default.jitter),
        honour_retry_after: wanted.honour_retry_after.unwrap_or(default.honour_retry_after),
        patience_ms: wait("async.retry.patience", wanted.patience, 30 * DAY, default.patience_ms)?,
    })
}

/// The most attempts that a message may have.
pub(crate) const MAX_ATTEMPTS: u32 = 1000;

fn millis(field: &str, span: Span, most_seconds: u64) -> Result<u64, Error> {
    let most = Duration::from_secs(most_seconds);
    if span.0 > most {
        return Err(bad(field, format!("it is {span}; it may be at most {}", Span(most))));
    }
    Ok(u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX))
}

/// Looser than our other names: those of other frameworks' queues fit as well.
fn check_queue(field: &str, name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=MAX_QUEUE_BYTES).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let rule = format!("1 to {MAX_QUEUE_BYTES} letters, digits, -, _ and .");
    Err(Error::invalid("XB1001", format!("{field}: {name:?} is not a queue's name")).with_hint(rule))
}

fn bad(field: &str, message: impl std::fmt::Display) -> Error {
    Error::invalid("XB1004", format!("{field}: {message}"))
}

fn destination(
    control: &dyn Control,
    tenant: &Tenant,
    field: &str,
    receiver: &Receiver,
) -> Result<Destination, Error> {
    let to = recipient(control, tenant, field, receiver.to())?;
    let Receiver::Table(AfterCall { form, headers, .. }) = receiver else {
        return Ok(Destination { to, form: Form::default(), headers: Vec::new() });
    };
    let header = |(name, value): (&String, &String)| {
        if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
            return Err(bad(field, format!("{name:?} is not a header that can be sent")));
        }
        Ok((name.as_str().into(), Field::Text(value.as_str().into())))
    };
    Ok(Destination { to, form: *form, headers: headers.iter().map(header).collect::<Result<_, _>>()? })
}

/// Reads `function:name`, `queue:name` or a URL.
pub(crate) fn recipient(
    control: &dyn Control,
    tenant: &Tenant,
    field: &str,
    text: &str,
) -> Result<Recipient, Error> {
    if let Some(name) = text.strip_prefix("function:") {
        check_dns_label(field, name)?;
        // It may be deployed later, as one of ours.
        let own = FunctionKey::new(tenant, DOOR, name);
        let shared = || control.at(&Address::new(super::FUNCTION_SPACE, tenant, name));
        let found = if control.function(&own).is_some() { Some(own.clone()) } else { shared() };
        return Ok(Recipient::Function(found.unwrap_or(own)));
    }
    if let Some(name) = text.strip_prefix("queue:") {
        check_queue(field, name)?;
        return Ok(Recipient::Queue(name.into()));
    }
    let url = text.parse::<Uri>().ok();
    let web = |url: &Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    if url.as_ref().is_some_and(web) {
        return Ok(Recipient::Url(text.to_owned()));
    }
    Err(bad(field, format!("{text:?} is nothing that a result can be sent to"))
        .with_hint("write \"function:name\", \"queue:name\" or a URL that begins with http:// or https://"))
}

/// Compiles `[[schedule]]`. Whether the times make sense is for the schedules to check.
///
/// # Errors
/// `XB1001` for a bad name, `XB1012` for what is no schedule.
pub(super) fn schedules(wanted: &[ManifestSchedule]) -> Result<Vec<Schedule>, Error> {
    if wanted.len() > MAX_SCHEDULES {
        let message = format!("a function may have {MAX_SCHEDULES} schedules, not {}", wanted.len());
        return Err(Error::invalid("XB1012", message));
    }
    let mut seen = BTreeSet::new();
    for one in wanted {
        if !seen.insert(&one.name) {
            return Err(Error::invalid("XB1012", format!("there are two schedules {:?}", one.name)));
        }
    }
    wanted.iter().map(schedule).collect()
}

/// Compiles one schedule.
///
/// # Errors
/// As [`schedules`].
pub(crate) fn schedule(wanted: &ManifestSchedule) -> Result<Schedule, Error> {
    check_dns_label("schedule.name", &wanted.name)?;
    let fault = |message: &str| Error::invalid("XB1012", format!("schedule {:?}: {message}", wanted.name));
    let moment = |field: &str, text: &String| {
        text.parse::<Timestamp>().map_err(|_| {
            fault(&format!("{field} is {text:?}, which is not a moment"))
                .with_hint("write it with its offset, for example \"2026-12-24T18:00:00+01:00\"")
        })
    };
    if wanted.zone.is_some() && wanted.cron.is_none() {
        return Err(fault("zone goes with cron"));
    }
    if wanted.from.is_some() && wanted.every.is_none() {
        return Err(fault("from goes with every"));
    }
    let when = match (&wanted.cron, &wanted.every, &wanted.at) {
        (Some(cron), None, None) => When::Cron { cron: cron.clone(), zone: wanted.zone.clone() },
        (None, Some(every), None) => When::Every {
            every: every.clone(),
            from: wanted.from.as_ref().map(|from| moment("from", from)).transpose()?,
        },
        (None, None, Some(at)) => When::At { at: moment("at", at)? },
        _ => {
            return Err(fault("it needs exactly one of cron, every and at").with_hint(
                "for example cron = \"0 3 * * *\", every = \"5m\" or at = \"2026-12-24T18:00:00Z\"",
            ));
        }
    };
    Ok(Schedule {
        name: wanted.name.clone(),
        when,
        bounds: Bounds {
            not_before: wanted.not_before.as_ref().map(|at| moment("not-before", at)).transpose()?,
            until: wanted.until.as_ref().map(|at| moment("until", at)).transpose()?,
            times: wanted.times,
        },
        missed: wanted.missed,
        call: wanted.call.clone(),
        paused: wanted.paused,
    })
}
