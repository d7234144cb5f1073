//! Headers of a call that shall outlive its caller, and what they wish. The function sees none of them.

use super::State;
use crate::{translate, wire::Span};
use compact_str::CompactString;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{str::FromStr, time::Duration};
use xebec_core::{
    Error, FunctionKey,
    message::{Destination, Destinations, Field, Form, Guarantee, Idempotency, MAX_PRIORITY, Wishes},
};

/// `true`: the call outlives its caller.
const ASYNC: HeaderName = HeaderName::from_static("x-xebec-async");
/// RFC 7240: `respond-async` wishes the same.
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// What is said back to that.
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
pub(super) const RESPOND_ASYNC: &str = "respond-async";

const DELAY: HeaderName = HeaderName::from_static("x-xebec-delay");
const EXPIRY: HeaderName = HeaderName::from_static("x-xebec-expiry");
const QUEUE: HeaderName = HeaderName::from_static("x-xebec-queue");
const PRIORITY: HeaderName = HeaderName::from_static("x-xebec-priority");
const KEY: HeaderName = HeaderName::from_static("x-xebec-key");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_WINDOW: HeaderName = HeaderName::from_static("x-xebec-idempotency-window");
const CALLBACK: HeaderName = HeaderName::from_static("x-xebec-callback");
const CALLBACK_FORM: HeaderName = HeaderName::from_static("x-xebec-callback-form");
const AT_MOST_ONCE: HeaderName = HeaderName::from_static("x-xebec-at-most-once");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-xebec-attempts");

/// Those that mean nothing for a caller who waits. (`idempotency-key` may be meant for the function.)
const ONLY_ASYNC: [HeaderName; 10] = [
    DELAY,
    EXPIRY,
    QUEUE,
    PRIORITY,
    KEY,
    IDEMPOTENCY_WINDOW,
    CALLBACK,
    CALLBACK_FORM,
    AT_MOST_ONCE,
    ATTEMPTS,
];

/// For how long an idempotency key is remembered where its sender does not say.
const WINDOW: Duration = Duration::from_secs(24 * 3600);

/// The longest key, in bytes.
const KEY_BYTES: usize = 256;

/// How the caller asked that the call outlive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Not at all.
    No,
    /// With our own header.
    Header,
    /// With `Prefer`.
    Prefer,
}

/// Whether a call shall outlive its caller.
pub(super) fn asked(headers: &HeaderMap) -> Result<Asked, Error> {
    if flag(headers, &ASYNC)? == Some(true) {
        return Ok(Asked::Header);
    }
    let preferences = headers.get_all(&PREFER).iter().filter_map(|value| value.to_str().ok());
    // RFC 7240: a preference may have a value and parameters; this one means the same without.
    let mut names = preferences
        .flat_map(|value| value.split(','))
        .map(|preference| preference.split([';', '=']).next().unwrap_or_default().trim());
    Ok(if names.any(|name| name.eq_ignore_ascii_case(RESPOND_ASYNC)) { Asked::Prefer } else { Asked::No })
}

/// Refuses wishes of a caller who waits: better than a delay that is silently none.
pub(super) fn refuse_stray(headers: &HeaderMap) -> Result<(), Error> {
    match ONLY_ASYNC.iter().find(|name| headers.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(Error::invalid("XB1011", format!("{name} means nothing for a caller who waits"))
            .with_hint("add x-xebec-async: true")),
    }
}

/// Reads the wishes, and takes their headers away.
pub(super) fn take(state: &State, function: &FunctionKey, headers: &mut HeaderMap) -> Result<Wishes, Error> {
    let window: Option<Span> = parsed(headers, &IDEMPOTENCY_WINDOW, "a length of time such as 24h")?;
    let idempotency = text(headers, &IDEMPOTENCY_KEY)?.map(|key| {
        let window = window.map_or(WINDOW, |window| window.0);
        Ok::<_, Error>(Idempotency {
            key: key_of(&IDEMPOTENCY_KEY, key)?,
            window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        })
    });
    if window.is_some() && idempotency.is_none() {
        return Err(refused(&IDEMPOTENCY_WINDOW, "goes with idempotency-key"));
    }
    let priority: Option<u8> = parsed(headers, &PRIORITY, "a number from 0 to 9")?;
    if priority.is_some_and(|priority| priority > MAX_PRIORITY) {
        return Err(refused(&PRIORITY, "must be a number from 0 to 9"));
    }
    let span = |name| parsed::<Span>(headers, name, "a length of time such as 30s").map(|s| s.map(|s| s.0));
    let wishes = Wishes {
        delay: span(&DELAY)?,
        expiry: span(&EXPIRY)?,
        queue: text(headers, &QUEUE)?.map(CompactString::from),
        priority,
        key: text(headers, &KEY)?.map(|key| key_of(&KEY, key)).transpose()?,
        idempotency: idempotency.transpose()?,
        retry: attempts(state, function, headers)?,
        guarantee: flag(headers, &AT_MOST_ONCE)?
            .map(|most| if most { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce }),
        destinations: callback(state, function, headers)?,
    };
    for name in ONLY_ASYNC.iter().chain([&ASYNC, &PREFER, &IDEMPOTENCY_KEY]) {
        headers.remove(name);
    }
    Ok(wishes)
}

/// The function's own policy with other attempts.
fn attempts(
    state: &State,
    function: &FunctionKey,
    headers: &HeaderMap,
) -> Result<Option<xebec_core::rules::retry::Retry>, Error> {
    let Some(attempts) = parsed::<u32>(headers, &ATTEMPTS, "a whole number")? else { return Ok(None) };
    if !(1..=translate::MAX_ATTEMPTS).contains(&attempts) {
        return Err(refused(&ATTEMPTS, format!("must be from 1 to {}", translate::MAX_ATTEMPTS)));
    }
    let mut retry =
        state.control.function(function).map(|view| view.function.policy.delivery.retry).unwrap_or_default();
    retry.attempts = attempts;
    Ok(Some(retry))
}

/// Where the result goes, whichever it is.
fn callback(state: &State, function: &FunctionKey, headers: &HeaderMap) -> Result<Destinations, Error> {
    let form = match text(headers, &CALLBACK_FORM)? {
        None | Some("envelope") => Form::Envelope,
        Some("answer") => Form::Answer,
        Some(_) => return Err(refused(&CALLBACK_FORM, "must be envelope or answer")),
    };
    let Some(to) = text(headers, &CALLBACK)? else { return Ok(Destinations::default()) };
    let to = translate::recipient(&*state.control, &function.tenant, CALLBACK.as_str(), to)
        .map_err(|error| Error { code: "XB1011", ..error })?;
    let told = match form {
        Form::Envelope => Vec::new(),
        // What the envelope would say of the call.
        Form::Answer => vec![
            ("x-xebec-invocation".into(), Field::Id),
            ("x-xebec-function".into(), Field::FunctionName),
            ("x-xebec-outcome".into(), Field::Outcome),
            ("x-xebec-status".into(), Field::Status),
        ],
    };
    let one = Destination { to, form, headers: told };
    Ok(Destinations { on_success: vec![one.clone()], on_failure: vec![one] })
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| refused(name, "must be plain text"))?.trim();
    if text.is_empty() { Err(refused(name, "must not be empty")) } else { Ok(Some(text)) }
}

fn parsed<T: FromStr>(headers: &HeaderMap, name: &HeaderName, what: &str) -> Result<Option<T>, Error> {
    text(headers, name)?
        .map(|text| text.parse().map_err(|_| refused(name, format!("is {text:?}; it must be {what}"))))
        .transpose()
}

fn flag(headers: &HeaderMap, name: &HeaderName) -> Result<Option<bool>, Error> {
    match headers.get(name).map(HeaderValue::as_bytes) {
        None => Ok(None),
        Some(b"true" | b"1") => Ok(Some(true)),
        Some(b"false" | b"0") => Ok(Some(false)),
        Some(_) => Err(refused(name, "must be true or false")),
    }
}

fn key_of(name: &HeaderName, key: &str) -> Result<CompactString, Error> {
    if key.len() > KEY_BYTES {
        return Err(refused(name, format!("has {} bytes; at most {KEY_BYTES} are allowed", key.len())));
    }
    Ok(key.into())
}

fn refused(name: &HeaderName, message: impl std::fmt::Display) -> Error {
    Error::invalid("XB1011", format!("{name} {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn knows_who_does_not_wait() {
        let asked = |pairs: &[(&'static str, &'static str)]| asked(&headers(pairs));
        assert_eq!(asked(&[]).unwrap(), Asked::No);
        assert_eq!(asked(&[("x-xebec-async", "true")]).unwrap(), Asked::Header);
        assert_eq!(asked(&[("x-xebec-async", "false")]).unwrap(), Asked::No);
        assert_eq!(asked(&[("x-xebec-async", "please")]).unwrap_err().code, "XB1011");
        for prefer in
            ["respond-async", "wait=10, Respond-Async", "respond-async; x=1", "return=minimal,respond-async"]
        {
            assert_eq!(asked(&[("prefer", prefer)]).unwrap(), Asked::Prefer, "{prefer}");
        }
        assert_eq!(asked(&[("prefer", "return=minimal")]).unwrap(), Asked::No);
    }

    #[test]
    fn a_delay_without_async_is_refused() {
        assert!(refuse_stray(&headers(&[("idempotency-key", "a"), ("x-xebec-hops", "2")])).is_ok());
        let error = refuse_stray(&headers(&[("x-xebec-delay", "5s")])).unwrap_err();
        assert!(error.message.contains("x-xebec-delay"), "{error}");
    }
}
