//! Outcome and error → status and body: the only place where that happens in this door.

use crate::wire::ErrorBody;
use http::{HeaderValue, Response, StatusCode, header};
use xebec_core::{
    Body, Error, InvokeError, Outcome,
    error::ErrorKind,
    outcome::{FunctionFault, PlatformFault},
};

/// The header that names a call's outcome on answers of this door.
pub const OUTCOME_HEADER: &str = "x-xebec-outcome";

/// The body of a management error.
pub fn body(error: &Error) -> ErrorBody {
    ErrorBody {
        code: error.code.to_owned(),
        message: error.message.clone(),
        hint: error.hint.clone(),
        outcome: None,
        invocation: None,
        log_tail: Vec::new(),
        output: String::new(),
    }
}

/// The status of a management error.
pub fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to a management call that failed.
pub fn answer(error: &Error) -> Response<Body> {
    let mut response = json(status(error.kind), &body(error));
    if error.kind == ErrorKind::Unavailable {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The answer to a call that shall outlive its caller and was not accepted.
pub fn submission(error: &Error) -> Response<Body> {
    let mut response = answer(error);
    if error.code == "XB5003" {
        // As the same call gets it whose caller waits.
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}

/// The answer to a call that got none from its function.
pub fn call(error: &InvokeError) -> Response<Body> {
    let (status, code, hint) = of_outcome(&error.outcome);
    let body = ErrorBody {
        code: code.to_owned(),
        message: error.message.clone(),
        hint: hint.map(str::to_owned),
        outcome: Some(error.outcome.name().to_owned()),
        invocation: Some(error.id.to_string()),
        log_tail: error.log_tail.clone(),
        output: String::from_utf8_lossy(&error.output).into_owned(),
    };
    let mut response = json(status, &body);
    response.headers_mut().insert(OUTCOME_HEADER, HeaderValue::from_static(error.outcome.name()));
    if let Some(after) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

fn of_outcome(outcome: &Outcome) -> (StatusCode, &'static str, Option<&'static str>) {
    match outcome {
        Outcome::Success => (StatusCode::OK, "XB2100", None),
        Outcome::ApplicationError => (StatusCode::INTERNAL_SERVER_ERROR, "XB2101", None),
        Outcome::FunctionError(fault) => match fault {
            FunctionFault::Timeout(_) => {
                (StatusCode::GATEWAY_TIMEOUT, "XB2110", Some("raise limits.timeout if it needs longer"))
            }
            FunctionFault::Crash => (StatusCode::BAD_GATEWAY, "XB2111", None),
            FunctionFault::OutOfMemory => {
                (StatusCode::BAD_GATEWAY, "XB2112", Some("raise limits.memory if it needs more"))
            }
            FunctionFault::FailedInit => (StatusCode::BAD_GATEWAY, "XB2113", None),
            FunctionFault::BadResponse => (StatusCode::BAD_GATEWAY, "XB2114", None),
        },
        Outcome::PlatformError(fault) => match fault {
            PlatformFault::NotFound => {
                (StatusCode::NOT_FOUND, "XB2002", Some("xebec ls lists what is deployed"))
            }
            PlatformFault::Forbidden => (
                StatusCode::UNAUTHORIZED,
                "XB5003",
                Some("send a key that may call it: Authorization: Bearer <token>"),
            ),
            PlatformFault::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "XB2120", None),
            PlatformFault::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "XB2121", None),
            PlatformFault::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "XB2122", Some("raise limits.request if it shall take more"))
            }
            // The caller is gone; nobody reads this.
            PlatformFault::Cancelled => (StatusCode::BAD_REQUEST, "XB2123", None),
            PlatformFault::BadRequest => (StatusCode::BAD_REQUEST, "XB2124", None),
            PlatformFault::Loop => (
                StatusCode::LOOP_DETECTED,
                "XB2126",
                Some("find the function that leads back to itself; calls may be nested 16 deep"),
            ),
            PlatformFault::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "XB2125", None),
        },
    }
}

/// A JSON answer.
pub(crate) fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
