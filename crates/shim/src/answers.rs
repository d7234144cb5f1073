//! What the shim answers itself: the statuses and texts of the watchdogs, as OpenFaaS' door gives them for
//! functions that have none.

use http::{HeaderName, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use xebec_contracts::CallError;
use xebec_core::{
    Body, Outcome,
    outcome::{FunctionFault, PlatformFault},
};

/// Marks answers that are not the function's; queue workers retry on it.
pub(crate) const INTERNAL: HeaderName = HeaderName::from_static("x-openfaas-internal");

/// An answer in plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// One call too many.
pub(crate) fn too_many(limit: u32) -> Response<Body> {
    let said = format!("too many calls at once: this function takes {limit} (max_inflight)\n");
    internal(text(StatusCode::TOO_MANY_REQUESTS, said), "faas-middleware")
}

/// A call whose time was up before there was an answer.
pub(crate) fn timed_out(forked: bool) -> Response<Body> {
    let timed_out = if forked {
        text(StatusCode::REQUEST_TIMEOUT, "Killed process.\n")
    } else {
        text(StatusCode::GATEWAY_TIMEOUT, "the function gave no answer within its time (exec_timeout)\n")
    };
    internal(timed_out, "of-watchdog")
}

/// A call that got no answer.
pub(crate) fn failed(error: CallError, forked: bool) -> Response<Body> {
    let status = match error.outcome {
        Outcome::FunctionError(FunctionFault::Timeout(_)) => return timed_out(forked),
        Outcome::PlatformError(PlatformFault::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Outcome::PlatformError(PlatformFault::Cancelled) => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut said = match error.exit_code {
        Some(code) if forked => format!("exit status {code}\n"),
        _ => format!("{}\n", error.message),
    }
    .into_bytes();
    said.extend_from_slice(&error.output);
    internal(text(status, said), "of-watchdog")
}

fn internal(mut response: Response<Body>, part: &'static str) -> Response<Body> {
    response.headers_mut().insert(INTERNAL, HeaderValue::from_static(part));
    response
}
