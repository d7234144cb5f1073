//! Outcome and error → OpenFaaS' status and body: the only place where that happens.
//!
//! Texts that come from what OpenFaaS calls the provider end in a newline; those of its gateway do not.

use crate::metrics::CallLabels;
use http::{HeaderValue, Response, StatusCode, header};
use xebec_core::{
    Body, Error, InvokeError, Outcome,
    error::ErrorKind,
    outcome::{FunctionFault, PlatformFault},
};

/// Marks answers that the platform made, as against those of functions.
const INTERNAL_HEADER: &str = "x-openfaas-internal";

/// An answer of the platform's own, in plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::full(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// No or bad credentials, on any path that needs them.
pub(crate) fn unauthorized() -> Response<Body> {
    let mut response = text(StatusCode::UNAUTHORIZED, "invalid credentials");
    let challenge = HeaderValue::from_static("Basic realm=\"Restricted\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// A function that not everyone may call, and a caller who is nobody. Clients know the realm: they get a token
/// and try again.
fn unauthorized_call() -> Response<Body> {
    let message = "this function asks for a key that may call it, or for a token of /oauth/token\n";
    let mut response = internal(text(StatusCode::UNAUTHORIZED, message), "proxy");
    for challenge in ["Bearer realm=\"IAM function invoke\"", "Basic realm=\"Restricted\""] {
        response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// What is elsewhere here.
pub(crate) fn moved(to: &'static str) -> Response<Body> {
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(to));
    response
}

/// What the gateway lets nobody do, or not with these credentials.
pub(crate) fn refused(error: &Error) -> Response<Body> {
    match error.code {
        // Good credentials, which may call and not manage: asking for others would not say so.
        "XB5004" => management(error),
        _ => unauthorized(),
    }
}

/// Credentials that are good, but not for this namespace.
pub(crate) fn forbidden(namespace: &str) -> Response<Body> {
    let message = format!(
        "these credentials may not manage namespace {namespace}; where they are for another one, name it (-n)\n"
    );
    text(StatusCode::FORBIDDEN, message)
}

/// A path that is none of this door's.
pub(crate) fn no_such_route() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A path of this door's, but not with this method.
pub(crate) fn no_such_method(allowed: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("use one of {allowed}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Something that OpenFaaS has and that this installation lacks.
pub(crate) fn not_implemented(what: &str) -> Response<Body> {
    text(StatusCode::NOT_IMPLEMENTED, format!("{what} is not available on this server\n"))
}

/// A function that is not there, where the provider is asked.
pub(crate) fn no_such_function(name: &str, namespace: &str) -> Response<Body> {
    text(StatusCode::NOT_FOUND, format!("no such function: {name}.{namespace}\n"))
}

/// A namespace that is not there.
pub(crate) fn no_such_namespace(name: &str) -> Response<Body> {
    text(StatusCode::NOT_FOUND, format!("no such namespace: {name}\n"))
}

/// A namespace that is there already.
pub(crate) fn namespace_exists(name: &str) -> Response<Body> {
    text(StatusCode::CONFLICT, format!("the namespace {name} exists already\n"))
}

/// A namespace that holds something.
pub(crate) fn namespace_in_use(name: &str, error: &Error) -> Response<Body> {
    let what = error.message.split_once(": ").map_or("", |(_, what)| what);
    let message = format!("the namespace {name} is not empty: {what} (remove them first) [{}]\n", error.code);
    text(StatusCode::CONFLICT, message)
}

/// Alerts that could not be acted on, one line each.
pub(crate) fn alerts(faults: &[String]) -> Response<Body> {
    text(StatusCode::INTERNAL_SERVER_ERROR, faults.join("\n") + "\n")
}

/// A function that is not there, where it is called.
pub(crate) fn cannot_call(name: &str, namespace: &str) -> Response<Body> {
    let message = format!("error finding function {name}.{namespace}: no such function");
    internal(text(StatusCode::NOT_FOUND, message), "proxy")
}

/// A call that was to be taken back, and is not there.
pub(crate) fn no_such_call(id: &str) -> Response<Body> {
    text(StatusCode::NOT_FOUND, format!("no such call: {id}; it may have ended\n"))
}

/// A callback that nothing can be sent to.
pub(crate) fn bad_callback() -> Response<Body> {
    text(StatusCode::BAD_REQUEST, "X-Callback-Url is not a URL that begins with http:// or https://\n")
}

/// A call that could not be accepted for later.
pub(crate) fn enqueue(error: &Error, callee: &CallLabels<'_>, anonymous: bool) -> Response<Body> {
    let said = |status| {
        internal(text(status, format!("Error queuing request: {error} [{}]\n", error.code)), "proxy")
    };
    match (error.code, error.kind) {
        ("XB2002", _) => cannot_call(callee.name, callee.namespace),
        (_, ErrorKind::Forbidden) if anonymous => unauthorized_call(),
        // Full: more may be accepted when some of it is done.
        ("XB4020", _) => later(said(StatusCode::TOO_MANY_REQUESTS)),
        ("XB2013", _) => said(StatusCode::LOOP_DETECTED),
        ("XB4013", _) => said(StatusCode::REQUEST_TIMEOUT),
        (_, ErrorKind::Unavailable) | ("XB4002", _) => later(said(StatusCode::SERVICE_UNAVAILABLE)),
        (_, ErrorKind::TooLarge) => said(StatusCode::PAYLOAD_TOO_LARGE),
        (_, ErrorKind::Forbidden) => said(StatusCode::FORBIDDEN),
        (_, ErrorKind::Invalid | ErrorKind::Refused | ErrorKind::Conflict) => said(StatusCode::BAD_REQUEST),
        (_, ErrorKind::NotFound) => said(StatusCode::NOT_FOUND),
        (_, ErrorKind::Internal) => said(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Nobody knows when: soon enough for one caller, not so soon that all of them are a storm.
fn later(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// A management call that failed.
pub(crate) fn management(error: &Error) -> Response<Body> {
    let status = match error.kind {
        ErrorKind::Invalid | ErrorKind::Refused => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(status, format!("{error} [{}]\n", error.code))
}

/// A deploy that failed.
pub(crate) fn deploy(error: &Error) -> Response<Body> {
    match error.code {
        "XB2001" => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("unable create Deployment: {error} [{}]\n", error.code),
        ),
        "XB2005" => {
            let message = format!(
                "unable to fetch secrets: {} (create it with faas-cli secret create) [{}]\n",
                error.message, error.code
            );
            text(StatusCode::BAD_REQUEST, message)
        }
        _ => management(error),
    }
}

/// A change of scale that failed.
pub(crate) fn scale(error: &Error, name: &str) -> Response<Body> {
    match error.code {
        "XB2002" => {
            let message = format!("Unable to lookup function deployment {name}\n");
            text(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
        _ => management(error),
    }
}

/// A change of a secret that failed. What clients have words for themselves comes without a body.
pub(crate) fn secret(error: &Error) -> Response<Body> {
    match (error.code, error.kind) {
        ("XB1001", _) => text(StatusCode::UNPROCESSABLE_ENTITY, format!("{error} [{}]\n", error.code)),
        (_, ErrorKind::NotFound) => empty(StatusCode::NOT_FOUND),
        ("XB2008", _) => management(error),
        (_, ErrorKind::Conflict) => empty(StatusCode::CONFLICT),
        _ => management(error),
    }
}

/// A call that got no answer from its function.
pub(crate) fn call(error: &InvokeError, callee: &CallLabels<'_>, anonymous: bool) -> Response<Body> {
    let name = callee.name;
    match error.outcome {
        // An answer came as far as the engine is concerned; there is none here, so something is amiss.
        Outcome::Success | Outcome::ApplicationError => unreachable_service(name, error),
        Outcome::FunctionError(fault) => function_fault(fault, error, name),
        Outcome::PlatformError(fault) => match fault {
            PlatformFault::NotFound => cannot_call(name, callee.namespace),
            PlatformFault::Forbidden if anonymous => unauthorized_call(),
            PlatformFault::Forbidden => {
                internal(text(StatusCode::FORBIDDEN, format!("{}\n", error.message)), "proxy")
            }
            PlatformFault::Overloaded => overloaded(error),
            PlatformFault::Unavailable => {
                let message = format!("No endpoints available for: {name}.\n{}\n", error.message);
                retry_after(internal(text(StatusCode::SERVICE_UNAVAILABLE, message), "proxy"), error)
            }
            PlatformFault::TooLarge => {
                internal(text(StatusCode::PAYLOAD_TOO_LARGE, format!("{}\n", error.message)), "proxy")
            }
            // Nobody is there to read it; the status is for the log and the metrics.
            PlatformFault::Cancelled => internal(empty(StatusCode::BAD_GATEWAY), "proxy"),
            PlatformFault::BadRequest => {
                internal(text(StatusCode::BAD_REQUEST, format!("{}\n", error.message)), "proxy")
            }
            PlatformFault::Loop => {
                internal(text(StatusCode::LOOP_DETECTED, format!("{}\n", error.message)), "proxy")
            }
            PlatformFault::Internal => unreachable_service(name, error),
        },
    }
}

fn function_fault(fault: FunctionFault, error: &InvokeError, name: &str) -> Response<Body> {
    let forked = error.contract == "stdio";
    match fault {
        FunctionFault::Timeout(_) if forked => {
            internal(text(StatusCode::REQUEST_TIMEOUT, "Killed process."), "of-watchdog")
        }
        FunctionFault::Timeout(_) => {
            internal(text(StatusCode::GATEWAY_TIMEOUT, format!("{}\n", error.message)), "of-watchdog")
        }
        FunctionFault::Crash | FunctionFault::OutOfMemory if forked => internal(exited(error), "of-watchdog"),
        FunctionFault::FailedInit => {
            let mut message = format!("Can't reach service for: {name}.\n{}\n", error.message);
            for line in &error.log_tail {
                message.push_str(line);
                message.push('\n');
            }
            internal(text(StatusCode::INTERNAL_SERVER_ERROR, message), "proxy")
        }
        _ => internal(text(StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", error.message)), "of-watchdog"),
    }
}

/// A process that ended badly: how, and after that what it had printed.
fn exited(error: &InvokeError) -> Response<Body> {
    let mut body = match error.exit_code {
        Some(code) if error.outcome == Outcome::FunctionError(FunctionFault::Crash) => {
            format!("exit status {code}\n")
        }
        _ => format!("{}\n", error.message),
    }
    .into_bytes();
    body.extend_from_slice(&error.output);
    let mut response = text(StatusCode::INTERNAL_SERVER_ERROR, "");
    *response.body_mut() = Body::full(body);
    response
}

fn overloaded(error: &InvokeError) -> Response<Body> {
    let answer = text(StatusCode::TOO_MANY_REQUESTS, format!("{}\n", error.message));
    retry_after(internal(answer, "of-watchdog"), error)
}

fn unreachable_service(name: &str, error: &InvokeError) -> Response<Body> {
    let message = format!("Can't reach service for: {name}.\n{}\n", error.message);
    internal(text(StatusCode::INTERNAL_SERVER_ERROR, message), "proxy")
}

fn retry_after(mut response: Response<Body>, error: &InvokeError) -> Response<Body> {
    if let Some(after) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

/// Marks an answer as the platform's; queue workers retry on the mark.
fn internal(mut response: Response<Body>, part: &'static str) -> Response<Body> {
    response.headers_mut().insert(INTERNAL_HEADER, HeaderValue::from_static(part));
    response
}
