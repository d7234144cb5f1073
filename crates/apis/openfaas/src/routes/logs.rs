//! `GET /system/logs`: what a function printed, one JSON object per line.

use super::{Refusal, SystemCall};
use crate::{
    DOOR, OpenFaas, errors,
    names::{FUNCTION_SPACE, namespace_of},
    wire::LogMessage,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use jiff::{SignedDuration, Timestamp};
use std::convert::Infallible;
use xebec_core::{
    Body, Error, FunctionKey,
    log::{LogLine, LogQuery},
    names::Address,
};

/// How far back lines go where neither `since` nor `tail` says.
const DEFAULT_SPAN: SignedDuration = SignedDuration::from_mins(5);

impl OpenFaas {
    pub(super) async fn logs(&self, call: &SystemCall<'_>) -> Result<Response<Body>, Refusal> {
        let tenant = call.tenant("")?;
        let namespace = namespace_of(&tenant);
        let asked =
            Asked::of(call, Timestamp::now()).map_err(|error| Box::new(errors::management(&error)))?;
        let own = FunctionKey::new(&tenant, DOOR, &asked.name);
        // What is called at /function/<name> can be read here, too, whichever door it came through.
        let function = match self.control.function(&own) {
            Some(_) => own,
            None => match self.control.at(&Address::new(FUNCTION_SPACE, &tenant, &asked.name)) {
                Some(other) => other,
                None => return Ok(errors::no_such_function(&asked.name, namespace)),
            },
        };
        let query = LogQuery { function: Some(function), ..asked.query };
        let lines = match self.control.logs(query, asked.follow).await {
            Ok(lines) => lines,
            Err(error) => return Ok(errors::management(&error)),
        };
        let (name, namespace) = (asked.name, namespace.to_owned());
        let frames =
            lines.map(move |line| Ok::<_, Infallible>(Frame::data(written(&line, &name, &namespace))));
        let mut response = Response::new(Body::stream(StreamBody::new(frames)));
        let ndjson = HeaderValue::from_static("application/x-ndjson");
        response.headers_mut().insert(header::CONTENT_TYPE, ndjson);
        Ok(response)
    }
}

/// What a request for logs asks for.
#[derive(Debug)]
struct Asked {
    name: String,
    query: LogQuery,
    follow: bool,
}

impl Asked {
    fn of(call: &SystemCall<'_>, now: Timestamp) -> Result<Self, Error> {
        let invalid = |text: String| Error::invalid("XB1004", text);
        let name = call.parameter("name").ok_or_else(|| invalid("name is missing".to_owned()))?;
        let tail: Option<i64> = match call.parameter("tail") {
            None => None,
            Some(text) => {
                Some(text.parse().map_err(|_| invalid(format!("tail: {text:?} is not a whole number")))?)
            }
        };
        // Clients that want no tail send -1, or 0, or nothing.
        let tail = tail.filter(|tail| *tail > 0).map(|tail| u32::try_from(tail).unwrap_or(u32::MAX));
        let since = match call.parameter("since") {
            Some(text) => Some(text.parse().map_err(|_| {
                invalid(format!("since: {text:?} is not a time such as 2026-01-31T12:00:00Z"))
            })?),
            None if tail.is_some() => None,
            None => now.checked_sub(DEFAULT_SPAN).ok(),
        };
        let instance = call.parameter("instance").map(str::to_owned);
        Ok(Self {
            name: name.to_owned(),
            query: LogQuery { instance, since, tail, ..LogQuery::default() },
            follow: call.asks_for("follow"),
        })
    }
}

fn written(line: &LogLine, name: &str, namespace: &str) -> Bytes {
    let message =
        LogMessage { name, namespace, instance: &line.instance, timestamp: line.time, text: &line.text };
    // Strings and a time always serialise.
    let mut bytes = serde_json::to_vec(&message).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
