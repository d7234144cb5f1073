//! What became of calls.

pub(crate) mod details;
mod logs;
pub(crate) mod shape;

use crate::{
    Shared,
    errors::{self, Rejection},
    routes::Call,
    wire::name::is_name,
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, Method, Response, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use shape::Activation;
use std::sync::Arc;
use uuid::Uuid;
use xebec_core::{Body, Error, InvocationId, Tenant, record::RecordQuery};

/// Digits of an activation's id.
const ID_DIGITS: usize = 32;

/// Activations whose lines are fetched at a time.
const AT_ONCE: usize = 8;

/// `…/activations[/id[/result|/logs]]`; `rest` is what follows `activations`.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    call: &Call,
    namespace: &Tenant,
    rest: &[&str],
) -> Result<Response<Body>, Rejection> {
    if !matches!(call.head.method, Method::GET | Method::HEAD) {
        return Err(Rejection::no_such_method("GET"));
    }
    if !call.caller.owns(namespace) {
        return Err(Rejection::forbidden(namespace));
    }
    match rest {
        [] => list(shared, call, namespace).await,
        [id] => {
            let mut activation = get(shared, namespace, id).await?;
            with_lines(shared, &mut activation).await?;
            Ok(answer(&activation))
        }
        [id, "result"] => Ok(answer(&get(shared, namespace, id).await?.response())),
        [id, "logs"] => {
            let mut activation = get(shared, namespace, id).await?;
            with_lines(shared, &mut activation).await?;
            Ok(answer(&json!({ "logs": activation.logs })))
        }
        _ => Err(Rejection::no_such_route()),
    }
}

async fn get(shared: &Arc<Shared>, namespace: &Tenant, id: &str) -> Result<Activation, Rejection> {
    let id = parse_id(id)?;
    let record = shared.control.record(&id).await?.ok_or_else(Rejection::not_found)?;
    let filed = record.noted.as_ref().and_then(|noted| noted.filed.as_ref());
    // Whose it is decides, not whose function it was.
    if filed.is_none_or(|filed| filed.tenant != *namespace) {
        return Err(Rejection::not_found());
    }
    Ok(Activation::of(&record, namespace.clone()))
}

fn parse_id(text: &str) -> Result<InvocationId, Rejection> {
    if text.len() != ID_DIGITS {
        let length = text.len();
        return Err(Rejection::bad_request(format!(
            "Activation id length is {length} but must be {ID_DIGITS}."
        )));
    }
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let id = text.bytes().all(is_digit).then(|| Uuid::try_parse(text).ok()).flatten();
    id.map(InvocationId).ok_or_else(|| Rejection::bad_request("The activation id is not valid."))
}

async fn with_lines(shared: &Arc<Shared>, activation: &mut Activation) -> Result<(), Error> {
    if activation.prints() {
        activation.logs = logs::printed(shared.control.as_ref(), &activation.id).await?;
    }
    Ok(())
}

async fn list(shared: &Arc<Shared>, call: &Call, namespace: &Tenant) -> Result<Response<Body>, Rejection> {
    let slice = call.query.slice("activations")?;
    let docs = call.query.flag("docs", false)?;
    let mut query = RecordQuery {
        filed_for: Some(namespace.clone()),
        filed_as: name(call)?.map(Into::into),
        since: moment(call, "since")?,
        until: moment(call, "upto")?.map(after),
        ..RecordQuery::default()
    };
    if slice.count {
        if docs {
            return Err(Rejection::bad_request("The parameter 'docs' is not permitted with 'count'."));
        }
        let count = shared.records.count(&query).await?.saturating_sub(slice.skip as u64);
        return Ok(answer(&json!({ "activations": count })));
    }
    query.answers = docs;
    query.skip = slice.skip as u64;
    query.limit = u32::try_from(slice.limit).ok();
    let page = shared.control.records(query).await?;
    let activations = page.records.iter().map(|record| Activation::of(record, namespace.clone()));
    if !docs {
        let activations: Vec<_> = activations.collect();
        return Ok(answer(&activations.iter().map(Activation::summary).collect::<Vec<_>>()));
    }
    let whole = all_with_lines(shared, activations.collect()).await?;
    Ok(answer(&whole))
}

async fn all_with_lines(shared: &Arc<Shared>, all: Vec<Activation>) -> Result<Vec<Activation>, Error> {
    let shared = shared.clone();
    let fetched = stream::iter(all).map(move |mut activation| {
        let shared = shared.clone();
        async move {
            with_lines(&shared, &mut activation).await?;
            Ok(activation)
        }
        .boxed()
    });
    fetched.buffered(AT_ONCE).try_collect().await
}

/// The action whose activations are asked for: `action` or `package/action`.
fn name(call: &Call) -> Result<Option<String>, Rejection> {
    let Some(text) = call.query.get("name").filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.len() > 2 || !parts.iter().all(|part| is_name(part)) {
        let fault = format!("Parameter may be a 'simple' name or 'package-name/simple' name: {text}");
        return Err(malformed("name", &fault));
    }
    Ok(Some(parts.join("/")))
}

/// Milliseconds since 1970.
fn moment(call: &Call, name: &str) -> Result<Option<Timestamp>, Rejection> {
    let Some(text) = call.query.get(name) else { return Ok(None) };
    let parsed = text.parse::<i64>().ok().map(|millis| {
        let (least, most) = (Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond() - 1);
        Timestamp::from_millisecond(millis.clamp(least, most)).unwrap_or(Timestamp::MAX)
    });
    let fault = || malformed(name, &format!("Parameter is not a valid value for epoch seconds: {text}"));
    parsed.map(Some).ok_or_else(fault)
}

/// What began in that millisecond belongs to it, too.
fn after(moment: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(moment.as_millisecond() + 1).unwrap_or(Timestamp::MAX)
}

fn malformed(parameter: &str, fault: &str) -> Rejection {
    Rejection::bad_request(format!("The query parameter '{parameter}' was malformed:\n{fault}"))
}

/// An answer in JSON, written straight from what it tells of.
pub(crate) fn answer<T: Serialize>(value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(json) => bytes(StatusCode::OK, json.into()),
        // Nothing that is told here has keys that are no text; should it ever, that is a defect to be seen.
        Err(error) => errors::json(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": error.to_string() })),
    }
}

/// An answer that is JSON already.
pub(crate) fn bytes(status: StatusCode, json: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::full(json));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
