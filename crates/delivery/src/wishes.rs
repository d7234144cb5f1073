//! What a sender may wish: everything has a bound, and past it a sentence that names the field.

use crate::{headers, private, results::authority};
use compact_str::CompactString;
use http::{HeaderName, HeaderValue};
use std::time::Duration;
use xebec_core::{
    Error, FunctionKey,
    message::{Destination, Field, MAX_PRIORITY, Recipient, Wishes},
    rules::retry::Retry,
};

const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
const DAY_MS: u64 = 24 * 3600 * 1000;
const MAX_KEY_BYTES: usize = 256;
const MAX_QUEUE_BYTES: usize = 128;
const MAX_ATTEMPTS: u32 = 1000;
const MAX_WAIT_MS: u64 = 7 * DAY_MS;
const MAX_WINDOW_MS: u64 = 31 * DAY_MS;
const MAX_CODES: usize = 100;
const MAX_DESTINATIONS: usize = 16;
const MAX_URL_BYTES: usize = 4096;
const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 4096;

/// What ends without an answer and can be tried again.
const OUTCOMES: [&str; 6] = ["timeout", "crash", "out_of_memory", "failed_init", "bad_response", "internal"];

fn refuse(field: &str, why: impl std::fmt::Display) -> Error {
    Error::invalid("XB1011", format!("{field}: {why}"))
}

/// Checks all that can be checked without looking anything up.
///
/// # Errors
/// `XB1011`, naming the field.
pub(crate) fn check(wishes: &Wishes, function: &FunctionKey, public_only: bool) -> Result<(), Error> {
    if wishes.delay.is_some_and(|delay| delay > YEAR) {
        return Err(refuse("delay", "at most a year"));
    }
    if wishes.expiry.is_some_and(|expiry| expiry.is_zero() || expiry > YEAR) {
        return Err(refuse("expiry", "more than nothing, at most a year"));
    }
    if let Some(queue) = &wishes.queue {
        check_queue("queue", queue)?;
    }
    if wishes.priority.is_some_and(|priority| priority > MAX_PRIORITY) {
        return Err(refuse("priority", format_args!("0 to {MAX_PRIORITY}")));
    }
    if let Some(key) = &wishes.key {
        check_key("key", key)?;
    }
    if let Some(idempotency) = &wishes.idempotency {
        check_key("idempotency key", &idempotency.key)?;
        if !(1..=MAX_WINDOW_MS).contains(&idempotency.window_ms) {
            return Err(refuse("idempotency window", "a millisecond to 31 days"));
        }
    }
    if let Some(retry) = &wishes.retry {
        check_retry(retry)?;
    }
    let destinations = &wishes.destinations;
    if destinations.on_success.len() + destinations.on_failure.len() > MAX_DESTINATIONS {
        return Err(refuse("destinations", format_args!("at most {MAX_DESTINATIONS}")));
    }
    for destination in destinations.on_success.iter().chain(&destinations.on_failure) {
        check_destination(destination, function, public_only)?;
    }
    Ok(())
}

fn check_queue(field: &str, queue: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if queue.is_empty() || queue.len() > MAX_QUEUE_BYTES || !queue.bytes().all(plain) {
        let rule = format!("1 to {MAX_QUEUE_BYTES} of letters, digits, '-', '_' and '.'");
        return Err(refuse(field, format_args!("{queue:?} is not a queue's name: {rule}")));
    }
    Ok(())
}

fn check_key(field: &str, key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(refuse(field, format_args!("1 to {MAX_KEY_BYTES} bytes")));
    }
    Ok(())
}

fn check_retry(retry: &Retry) -> Result<(), Error> {
    if !(1..=MAX_ATTEMPTS).contains(&retry.attempts) {
        return Err(refuse("retry attempts", format_args!("1 to {MAX_ATTEMPTS}")));
    }
    if retry.codes.len() > MAX_CODES {
        return Err(refuse("retry codes", format_args!("at most {MAX_CODES}")));
    }
    if let Some(code) = retry.codes.iter().find(|code| !(100..=599).contains(*code)) {
        return Err(refuse("retry codes", format_args!("{code} is not a status of HTTP")));
    }
    if let Some(name) = retry.outcomes.iter().find(|name| !OUTCOMES.contains(&name.as_str())) {
        return Err(refuse("retry outcomes", format_args!("{name:?} is not one of {}", OUTCOMES.join(", "))));
    }
    if retry.outcomes.len() > OUTCOMES.len() {
        return Err(refuse("retry outcomes", "one comes twice"));
    }
    if retry.min_wait_ms > MAX_WAIT_MS || retry.max_wait_ms > MAX_WAIT_MS {
        return Err(refuse("retry waits", "at most seven days"));
    }
    if Duration::from_millis(retry.patience_ms) > YEAR {
        return Err(refuse("retry patience", "at most a year"));
    }
    Ok(())
}

fn check_destination(
    destination: &Destination,
    function: &FunctionKey,
    public_only: bool,
) -> Result<(), Error> {
    match &destination.to {
        Recipient::Function(key) if key.tenant != function.tenant => {
            return Err(refuse("destination", format_args!("{key} belongs to another tenant")));
        }
        Recipient::Function(_) => {}
        Recipient::Queue(queue) => check_queue("destination", queue)?,
        Recipient::Url(url) if url.len() > MAX_URL_BYTES => {
            return Err(refuse("destination", format_args!("a URL has at most {MAX_URL_BYTES} bytes")));
        }
        Recipient::Url(url) => {
            authority(url).map_err(|why| refuse("destination", format_args!("{url:?}: {why}")))?;
            if public_only
                && let Ok(url) = reqwest::Url::parse(url)
                && let Err(error) = private::check(&url)
            {
                return Err(refuse("destination", error));
            }
        }
    }
    if destination.headers.len() > MAX_HEADERS {
        return Err(refuse("destination headers", format_args!("at most {MAX_HEADERS}")));
    }
    destination.headers.iter().try_for_each(check_header)
}

fn check_header((name, field): &(CompactString, Field)) -> Result<(), Error> {
    match name.parse::<HeaderName>() {
        Ok(parsed) if !headers::is_of_the_connection(&parsed) => {}
        _ => return Err(refuse("destination headers", format_args!("{name:?} cannot be set"))),
    }
    if let Field::Text(text) = field
        && (text.len() > MAX_HEADER_BYTES || HeaderValue::from_str(text).is_err())
    {
        let why = format!("the value of {name:?} is too long or has characters that no header has");
        return Err(refuse("destination headers", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::{
        Tenant,
        message::{Destinations, Form, Idempotency},
    };

    fn function() -> FunctionKey {
        FunctionKey::new(&Tenant::default(), "native", "f")
    }

    fn refused(change: impl FnOnce(&mut Wishes)) -> String {
        let mut wishes = Wishes::default();
        change(&mut wishes);
        let error = check(&wishes, &function(), true).unwrap_err();
        assert_eq!(error.code, "XB1011");
        error.message
    }

    fn to(recipient: Recipient) -> Destinations {
        let destination = Destination { to: recipient, form: Form::Answer, headers: Vec::new() };
        Destinations { on_success: vec![destination], on_failure: Vec::new() }
    }

    #[test]
    fn takes_what_is_within_bounds() {
        let wishes = Wishes {
            delay: Some(Duration::from_secs(365 * 24 * 3600)),
            expiry: Some(Duration::from_millis(1)),
            queue: Some("slow-fn_2.x".into()),
            priority: Some(9),
            key: Some("k".repeat(256).into()),
            idempotency: Some(Idempotency { key: "i".into(), window_ms: 1000 }),
            retry: Some(Retry { attempts: 1000, ..Retry::default() }),
            guarantee: None,
            destinations: to(Recipient::Url("https://example.com/x".into())),
        };
        check(&wishes, &function(), true).unwrap();
        let local = Wishes { destinations: to(Recipient::Url("http://127.0.0.1:1/".into())), ..wishes };
        check(&local, &function(), false).unwrap();
    }

    #[test]
    fn names_the_field_that_is_out_of_bounds() {
        assert!(refused(|w| w.delay = Some(Duration::MAX)).starts_with("delay"));
        assert!(refused(|w| w.expiry = Some(Duration::ZERO)).starts_with("expiry"));
        assert!(refused(|w| w.queue = Some("a/b".into())).starts_with("queue"));
        assert!(refused(|w| w.priority = Some(10)).starts_with("priority"));
        assert!(refused(|w| w.key = Some("".into())).starts_with("key"));
        let idempotency = |key: String, window_ms| Some(Idempotency { key: key.into(), window_ms });
        assert!(refused(|w| w.idempotency = idempotency("x".repeat(257), 1)).starts_with("idempotency key"));
        assert!(refused(|w| w.idempotency = idempotency("x".into(), 0)).starts_with("idempotency window"));
        let retry = |change: fn(&mut Retry)| {
            refused(|wishes| {
                let mut retry = Retry::default();
                change(&mut retry);
                wishes.retry = Some(retry);
            })
        };
        assert!(retry(|r| r.attempts = 0).starts_with("retry attempts"));
        assert!(retry(|r| r.attempts = 1001).starts_with("retry attempts"));
        assert!(retry(|r| r.codes = vec![99]).starts_with("retry codes"));
        assert!(retry(|r| r.outcomes = vec!["sadness".into()]).starts_with("retry outcomes"));
        assert!(retry(|r| r.max_wait_ms = u64::MAX).starts_with("retry waits"));
        assert!(retry(|r| r.patience_ms = u64::MAX).starts_with("retry patience"));
        let destination = |recipient| refused(|w| w.destinations = to(recipient));
        assert!(destination(Recipient::Url("ftp://x/".into())).starts_with("destination"));
        assert!(destination(Recipient::Url("http://127.0.0.1/".into())).contains("public"));
        assert!(destination(Recipient::Url(format!("http://x/{}", "y".repeat(5000)))).contains("bytes"));
        assert!(destination(Recipient::Queue("".into())).starts_with("destination"));
        let foreign = FunctionKey::new(&Tenant::new("other"), "native", "g");
        assert!(destination(Recipient::Function(foreign)).contains("another tenant"));
        let many = vec![to(Recipient::Queue("q".into())).on_success[0].clone(); 17];
        assert!(refused(|w| w.destinations.on_failure = many).starts_with("destinations"));
        for header in ["content-length", "a b", ""] {
            let mut destinations = to(Recipient::Queue("q".into()));
            destinations.on_success[0].headers = vec![(header.into(), Field::Id)];
            assert!(refused(|w| w.destinations = destinations).starts_with("destination headers"));
        }
    }
}
