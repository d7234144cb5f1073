//! Calls of actions.

mod calls;
mod made;

pub(crate) use calls::{Calls, Context, Made, Ready, handed_down, on_behalf};
pub(crate) use made::{Waited, submission, submit, wait_for};

use crate::{
    Shared,
    activations::{self, shape::activation_id},
    entities::Right,
    errors::Rejection,
    payload::{Malformed, Shape, shape},
    routes::{Call, query::Query},
    wire::name::FullName,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use xebec_core::{Body, InvocationId};

/// Tells clients which activation it was.
const ACTIVATION_ID: HeaderName = HeaderName::from_static("x-openwhisk-activation-id");

/// `POST …/actions/[package/]name`.
pub(crate) async fn action(
    shared: &Arc<Shared>,
    call: &Call,
    name: FullName,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    let wish = Wish::of(&call.query, shared.options.wait)?;
    let caller = &call.caller;
    let resolved = shared.entities.resolve(caller, &name, Right::Call)?;
    let limits = shared.limits(&caller.namespace);
    let payload = read(&call.head.headers, body, limits.payload_bytes()).await?;
    if shape(&payload)? == Shape::Array {
        return Err(Malformed("JSON object expected".to_owned()).into());
    }
    let arguments = resolved.calls.defaults.under(&payload)?;
    let context = Context {
        caller,
        transaction: &call.transaction,
        part: false,
        keep: limits.stores_activations().then(|| limits.result_bytes()),
    };
    let ready = resolved.calls.ready(&context, arguments);
    let Some(wait) = wish.wait else {
        shared.throttle.submission(&caller.namespace, &limits)?;
        return Ok(accepted(&submit(shared, ready).await?));
    };
    let in_flight = shared.throttle.invocation(&caller.namespace, &limits)?;
    match wait_for(shared, ready, in_flight, wait).await? {
        Waited::Later(id) => Ok(accepted(&id)),
        Waited::Ended(activation) => {
            let ending = &activation.ending;
            let mut response = if wish.only_result || ending.is_array() {
                activations::bytes(StatusCode::OK, ending.result.clone())
            } else {
                activations::answer(&*activation)
            };
            *response.status_mut() = ending.code().http();
            tell_activation(response.headers_mut(), &activation.id);
            Ok(response)
        }
    }
}

/// How a caller wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    /// How long they wait; `None`: they do not.
    wait: Option<Duration>,
    /// The result alone, and not what is known of the call.
    only_result: bool,
}

impl Wish {
    fn of(query: &Query, longest: Duration) -> Result<Self, Rejection> {
        let (blocking, only_result) = (query.flag("blocking", false)?, query.flag("result", false)?);
        let wait = match query.get("timeout") {
            None => longest,
            Some(text) => {
                let asked = text.parse().ok().map(Duration::from_millis);
                asked.filter(|asked| !asked.is_zero() && *asked <= longest).ok_or_else(|| {
                    Rejection::bad_request(format!(
                        "The query parameter 'timeout' was malformed:\nTimeout must be number of milliseconds up \
                         to {}.",
                        longest.as_millis()
                    ))
                })?
            }
        };
        Ok(Self { wait: blocking.then_some(wait), only_result })
    }
}

/// Reads a body that may have so many bytes.
///
/// # Errors
/// 413 past it.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: u64) -> Result<Bytes, Rejection> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match announced {
        Some(bytes) if bytes > limit => Err(Rejection::too_large("Request", bytes, limit)),
        _ => Ok(body.collect(limit).await?),
    }
}

/// The answer to a call that goes on without its caller.
pub(crate) fn accepted(id: &InvocationId) -> Response<Body> {
    let mut response =
        crate::errors::json(StatusCode::ACCEPTED, &json!({ "activationId": activation_id(id) }));
    tell_activation(response.headers_mut(), id);
    response
}

/// Says which activation it was.
pub(crate) fn tell_activation(headers: &mut HeaderMap, id: &InvocationId) {
    if let Ok(id) = HeaderValue::try_from(activation_id(id)) {
        headers.insert(ACTIVATION_ID, id);
    }
}
