//! Results on their way: messages of their own, as durable as the call they tell of.

use crate::{
    attempt::{Attempt, Kept},
    conclude::Case,
    headers,
    shared::Shared,
    trace,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use compact_str::{CompactString, format_compact};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use xebec_core::{
    Error, FunctionKey, InvocationId,
    message::{
        Call, Destination, Destinations, Field, Form, Lane, Message, RESULTS_QUEUE, Recipient, Source, Target,
    },
    rules::retry::Death,
};

/// Destinations of one policy that are looked at, at most.
const MOST: usize = 64;

/// How a call ended, finally.
#[derive(Clone, Copy)]
pub(crate) struct ResultOf<'a> {
    pub(crate) case: Case<'a>,
    pub(crate) function: &'a FunctionKey,
    pub(crate) attempt: &'a Attempt,
    /// Why it is a dead letter; `None`: it succeeded.
    pub(crate) death: Option<Death>,
}

/// The messages that bring a result to all who shall have it.
///
/// # Errors
/// What the blobs say: nothing is left of it then.
pub(crate) async fn messages(shared: &Shared, result: &ResultOf<'_>) -> Result<Vec<Message>, Error> {
    let wished = result.chosen(&result.case.message.destinations);
    let configured = result.chosen(&result.case.policy.destinations);
    // What the function's owner configured may call what the sender might not.
    let authorised = result.case.message.authorised;
    let all = wished.iter().map(|to| (to, authorised)).chain(configured.iter().map(|to| (to, true)));
    let mut messages = Vec::new();
    for (destination, authorised) in all.take(MOST) {
        match message(shared, result, destination, authorised).await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => shared.metrics.result(false),
            Err(error) => {
                for message in messages {
                    shared.bodies.forget(&message.call.body).await;
                }
                return Err(error);
            }
        }
    }
    Ok(messages)
}

async fn message(
    shared: &Shared,
    result: &ResultOf<'_>,
    destination: &Destination,
    authorised: bool,
) -> Result<Option<Message>, Error> {
    let Some((lane, uri)) = address(shared, result, &destination.to) else { return Ok(None) };
    let id = InvocationId::new();
    let now = shared.clock.now();
    let (mut headers, body) = match destination.form {
        Form::Answer => answer(result),
        Form::Envelope => envelope(result, now),
    };
    let of = result.case.message.id;
    headers.insert(headers::RESULT_OF, headers::value(&of.to_string()));
    headers.insert(headers::OUTCOME, HeaderValue::from_static(result.attempt.ending.outcome.name()));
    for (name, field) in &destination.headers {
        if let Ok(name) = name.parse::<HeaderName>()
            && !headers::is_of_the_connection(&name)
        {
            headers.insert(name, headers::value(&result.field(field)));
        }
    }
    trace::carry_on(result.attempt, result.case.message, &mut headers);
    let expires = expiry(shared, &lane, now);
    Ok(Some(Message {
        id,
        authorised,
        expires,
        hops: result.case.message.hops.saturating_add(1),
        source: Source::Result(of),
        ..Message::new(
            lane,
            Call { method: "POST".into(), uri, headers, body: shared.bodies.keep_bytes(id, body).await? },
            now,
        )
    }))
}

/// The lane and the URI of a recipient; `None` where there can be none, which is logged.
fn address(shared: &Shared, result: &ResultOf<'_>, to: &Recipient) -> Option<(Lane, String)> {
    let tenant = &result.function.tenant;
    match to {
        Recipient::Function(key) if key.tenant == *tenant => {
            let taker = shared.control.peek(key);
            let queue = taker.map(|taker| taker.policy.delivery.queue.clone()).unwrap_or_default();
            let queue = if queue.is_empty() { xebec_core::message::DEFAULT_QUEUE } else { &*queue };
            Some((Lane::function(queue, key), "/".to_owned()))
        }
        Recipient::Function(key) => {
            let function = result.function;
            tracing::warn!(%function, to = %key, "a result cannot go to another tenant's function");
            None
        }
        Recipient::Url(url) => match authority(url) {
            Ok(host) => {
                let target = Target::Host(host);
                Some((Lane { tenant: tenant.clone(), queue: RESULTS_QUEUE.into(), target }, url.clone()))
            }
            Err(why) => {
                tracing::warn!(function = %result.function, url, why, "a result cannot be sent");
                None
            }
        },
        Recipient::Queue(queue) => {
            let lane = Lane { tenant: tenant.clone(), queue: queue.clone(), target: Target::Consumer };
            Some((lane, "/".to_owned()))
        }
    }
}

/// Until when the result may begin, by the policy of the function that gets it.
fn expiry(shared: &Shared, lane: &Lane, now: Timestamp) -> Option<Timestamp> {
    let Target::Function(key) = &lane.target else { return None };
    let expiry = shared.control.peek(key)?.policy.delivery.expiry_ms?;
    let expiry = SignedDuration::from_millis(i64::try_from(expiry).unwrap_or(i64::MAX));
    now.checked_add(expiry).ok()
}

/// The server of a URL that results can go to, as lanes name it.
///
/// # Errors
/// Why they cannot.
pub(crate) fn authority(url: &str) -> Result<CompactString, String> {
    let url = reqwest::Url::parse(url).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{} is neither http nor https", url.scheme()));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it names no server")?;
    Ok(match url.port() {
        Some(port) => format_compact!("{host}:{port}"),
        None => host.into(),
    })
}

impl ResultOf<'_> {
    fn chosen<'d>(&self, destinations: &'d Destinations) -> &'d [Destination] {
        if self.death.is_none() { &destinations.on_success } else { &destinations.on_failure }
    }

    fn field(&self, field: &Field) -> CompactString {
        let status = || self.attempt.answer.as_ref().map_or(503, |answer| answer.status);
        match field {
            Field::Text(text) => text.clone(),
            Field::Id => format_compact!("{}", self.case.message.id),
            Field::FunctionName => self.function.name.clone(),
            Field::Status => format_compact!("{}", status()),
            Field::Seconds => format_compact!("{:.6}", self.attempt.took.as_secs_f64()),
            Field::Outcome => self.attempt.ending.outcome.name().into(),
            Field::Retries => format_compact!("{}", self.case.history.failures),
            Field::Attempts => format_compact!("{}", self.case.retry().attempts),
        }
    }
}

/// The answer as it came; where there is none, the error in a sentence.
fn answer(result: &ResultOf<'_>) -> (HeaderMap, Bytes) {
    let Some(answer) = &result.attempt.answer else {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        return (HeaderMap::from_iter([(CONTENT_TYPE, text)]), Bytes::from(result.attempt.why.clone()));
    };
    let mut headers = answer.headers.clone();
    headers::drop_hop_by_hop(&mut headers);
    if answer.truncated {
        headers.insert(headers::TRUNCATED, HeaderValue::from_static("true"));
    }
    (headers, answer.body.clone())
}

#[derive(Serialize)]
struct Envelope<'a> {
    id: InvocationId,
    function: &'a FunctionKey,
    source: &'a Source,
    accepted: Timestamp,
    ended: Timestamp,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    death: Option<Death>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    attempt: u32,
    attempts: u32,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerPart<'a>>,
}

#[derive(Serialize)]
struct AnswerPart<'a> {
    status: u16,
    headers: BTreeMap<&'a str, String>,
    #[serde(flatten)]
    body: BodyText<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// A body in JSON.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BodyText<'a> {
    /// Its text.
    Body(&'a str),
    /// Its bytes, which are no text.
    BodyBase64(String),
}

impl<'a> BodyText<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Body(text),
            Err(_) => Self::BodyBase64(STANDARD.encode(bytes)),
        }
    }
}

/// Headers in JSON: several of one name are joined as HTTP joins them.
pub(crate) fn header_texts(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        texts
            .entry(name.as_str())
            .and_modify(|text| {
                text.push_str(", ");
                text.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    texts
}

/// All that there is to tell, as JSON.
fn envelope(result: &ResultOf<'_>, now: Timestamp) -> (HeaderMap, Bytes) {
    let ResultOf { case, function, attempt, death } = *result;
    let envelope = Envelope {
        id: case.message.id,
        function,
        source: &case.message.source,
        accepted: case.message.accepted,
        ended: now,
        outcome: attempt.ending.outcome.name(),
        death,
        message: death.map(|_| attempt.why.as_str()),
        attempt: crate::attempt::number(&case.history),
        attempts: case.retry().attempts,
        seconds: attempt.took.as_secs_f64(),
        answer: attempt.answer.as_ref().map(answer_part),
    };
    // Texts and numbers only: nothing that JSON cannot say.
    let body = serde_json::to_vec(&envelope).unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    (HeaderMap::from_iter([(CONTENT_TYPE, json)]), body.into())
}

fn answer_part(answer: &Kept) -> AnswerPart<'_> {
    // A beginning cut off in the middle of a character is still the beginning of a text.
    let text = match std::str::from_utf8(&answer.body) {
        Err(error)
            if answer.truncated
                && error.error_len().is_none()
                && !answer.headers.contains_key(CONTENT_ENCODING) =>
        {
            &answer.body[..error.valid_up_to()]
        }
        _ => &answer.body[..],
    };
    AnswerPart {
        status: answer.status,
        headers: header_texts(&answer.headers),
        body: BodyText::of(text),
        truncated: answer.truncated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_servers_as_lanes_do() {
        assert_eq!(authority("http://user:pw@Example.com:8080/a?b").unwrap(), "example.com:8080");
        assert_eq!(authority("https://example.com:443/").unwrap(), "example.com");
        assert_eq!(authority("http://[::1]:9/").unwrap(), "[::1]:9");
        for bad in ["", "example.com", "ftp://example.com/", "http://", "/path", "file:///etc/passwd"] {
            assert!(authority(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn says_bodies_in_json() {
        let of = |bytes: &[u8]| serde_json::to_string(&BodyText::of(bytes)).unwrap();
        assert_eq!(of(b"a\"b"), r#"{"body":"a\"b"}"#);
        assert_eq!(of(b"\xff\x00"), r#"{"body_base64":"/wA="}"#);
    }

    #[test]
    fn joins_headers() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(header_texts(&headers)["x-a"], "1, \u{fffd}");
    }
}
