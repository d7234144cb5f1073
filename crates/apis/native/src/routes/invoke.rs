//! Calls: `/xebec/v1/functions/{name}/invoke[/path]`, any method.

use super::{
    PREFIX, State, functions,
    wishes::{self, Asked},
};
use crate::{
    describe::Octets,
    errors,
    wire::{ErrorBody, Span},
};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use std::time::Duration;
use utoipa::{
    PartialSchema as _,
    openapi::{
        RefOr, Required,
        path::{ParameterBuilder, ParameterIn, Paths},
    },
};
use xebec_core::{
    Body, Error, FunctionKey, Invocation, InvocationId, Outcome, Tenant,
    auth::Principal,
    message::{Form, Receipt, Submission},
    names::DEFAULT_TENANT,
};

/// The header with the call's id, on answers.
const ID_HEADER: HeaderName = HeaderName::from_static("x-xebec-invocation");
/// The header that says whether the call waited for a start, on answers.
const COLD_HEADER: HeaderName = HeaderName::from_static("x-xebec-cold");
/// The header with which a caller shortens the clocks: whole milliseconds.
const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-xebec-timeout-ms");

/// The function's name and the path it shall see, where `path` is one of a call.
pub(super) fn target(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix(PREFIX)?.strip_prefix("functions/")?;
    let (name, rest) = rest.split_once('/')?;
    let path = rest.strip_prefix("invoke")?;
    (path.is_empty() || path.starts_with('/')).then_some((name, path))
}

/// The operations of calls, which the router does not know: they take any method, and any path below theirs.
pub(super) fn paths() -> Paths {
    use utoipa::Path as _;
    let (root, methods) = (__path_call::path(), __path_call::methods());
    let mut operation = __path_call::operation();
    operation.tags = Some(vec!["calls".to_owned()]);
    let mut paths = Paths::new();
    paths.add_path_operation(&root, methods.clone(), operation.clone());
    let path = ParameterBuilder::new()
        .name("path")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The path that the function sees; it may have several segments"))
        .schema(Some(String::schema()));
    operation.parameters.get_or_insert_default().push(RefOr::T(path.build()));
    paths.add_path_operation(format!("{root}/{{path}}"), methods, operation);
    paths
}

/// Call a function
///
/// With any method. The function sees the path after `invoke`, and the query without `tenant`. Its answer is passed
/// on as it is, whatever its status: `x-xebec-outcome` tells an answer of the function's own from ours. With
/// `x-xebec-async: true` (or `Prefer: respond-async`) the call is answered with 202 as soon as it is on disk.
#[utoipa::path(
    method(get, head, post, put, patch, delete, options),
    path = "/xebec/v1/functions/{name}/invoke",
    params(
        ("name" = String, Path, description = "The function's name"),
        ("x-xebec-timeout-ms" = Option<u64>, Header, description = "Shortens the clocks of a caller who waits"),
        ("x-xebec-async" = Option<bool>, Header, description = "The call outlives its caller"),
        ("prefer" = Option<String>, Header, description = "`respond-async` (RFC 7240) means the same"),
        ("x-xebec-delay" = Option<Span>, Header, description = "Not before so long from now"),
        ("x-xebec-expiry" = Option<Span>, Header,
            description = "A dead letter if it has not begun so long after it was due"),
        ("x-xebec-queue" = Option<String>, Header, description = "The queue; left out, as the function says"),
        ("x-xebec-priority" = Option<u8>, Header, maximum = 9, description = "0 to 9, usually 5"),
        ("x-xebec-key" = Option<String>, Header,
            description = "Calls with the same key are made one at a time, in order"),
        ("idempotency-key" = Option<String>, Header,
            description = "A second call of the function in that queue with the same key is the first one"),
        ("x-xebec-idempotency-window" = Option<Span>, Header,
            description = "For how long that is remembered; usually `24h`"),
        ("x-xebec-callback" = Option<String>, Header,
            description = "Where the result goes: a URL, `function:name` or `queue:name`"),
        ("x-xebec-callback-form" = Option<Form>, Header, description = "What is sent there"),
        ("x-xebec-at-most-once" = Option<bool>, Header, description = "Once begun, never again"),
        ("x-xebec-attempts" = Option<u32>, Header,
            description = "Attempts in all; left out, as the function says"),
    ),
    request_body(content = Octets, content_type = "*/*", description = "What the function is called with"),
    responses(
        (status = 202, description = "Accepted: it is on disk", body = Receipt, headers(
            ("x-xebec-invocation" = InvocationId, description = "The call's id"),
            ("location" = String, description = "Where it is seen while it waits"),
        )),
        (status = 429, description = "A queue is full or a quota used up", body = ErrorBody, headers(
            ("retry-after" = u32, description = "Seconds"),
        )),
        (status = 502, description = "The function crashed, did not start, or gave a bad answer", body = ErrorBody),
        (status = 504, description = "One of the function's clocks ran out", body = ErrorBody),
        (status = 508, description = "It is the last of too long a chain of calls", body = ErrorBody),
        (status = "default", description = "The function's own answer", content_type = "*/*", body = Octets, headers(
            ("x-xebec-invocation" = InvocationId, description = "The call's id"),
            ("x-xebec-outcome" = String, description = "How it ended: `success`, `application_error`, `timeout`, …"),
            ("x-xebec-cold" = u8, description = "1: it waited for an instance to start"),
        )),
    )
)]
pub(super) async fn call(state: &State, request: Request<Body>) -> Response<Body> {
    match wishes::asked(request.headers()) {
        Err(error) => errors::answer(&error),
        Ok(Asked::No) => waited_for(state, request).await,
        Ok(asked) => submit(state, request, asked).await.unwrap_or_else(|error| errors::submission(&error)),
    }
}

/// A call whose caller waits.
async fn waited_for(state: &State, request: Request<Body>) -> Response<Body> {
    match invocation(state, request) {
        Err(error) => errors::answer(&error),
        Ok(invocation) => {
            let id = invocation.id;
            let mut response = match state.invoker.invoke(invocation).await {
                Ok(answer) => {
                    let mut response = answer.response;
                    let outcome = if response.status().is_server_error() {
                        Outcome::ApplicationError
                    } else {
                        Outcome::Success
                    };
                    let headers = response.headers_mut();
                    headers.insert(errors::OUTCOME_HEADER, HeaderValue::from_static(outcome.name()));
                    headers.insert(
                        COLD_HEADER,
                        HeaderValue::from_static(if answer.timing.cold { "1" } else { "0" }),
                    );
                    response
                }
                Err(error) => errors::call(&error),
            };
            if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
                response.headers_mut().insert(ID_HEADER, id);
            }
            response
        }
    }
}

fn invocation(state: &State, request: Request<Body>) -> Result<Invocation, Error> {
    wishes::refuse_stray(request.headers())?;
    let (key, principal, mut request) = stripped(state, request)?;
    let timeout = timeout(&request)?;
    request.headers_mut().remove(TIMEOUT_HEADER);
    let mut invocation = Invocation::new(key, principal, request);
    invocation.timeout = timeout;
    Ok(invocation)
}

/// A call that outlives its caller: accepted, or refused, now.
async fn submit(state: &State, request: Request<Body>, asked: Asked) -> Result<Response<Body>, Error> {
    let (key, principal, mut request) = stripped(state, request)?;
    if request.headers().contains_key(&TIMEOUT_HEADER) {
        return Err(Error::invalid(
            "XB1011",
            "x-xebec-timeout-ms means nothing for a caller who does not wait",
        )
        .with_hint("limits.timeout of the function says how long a call may take"));
    }
    let wishes = wishes::take(state, &key, request.headers_mut())?;
    let tenant = key.tenant.clone();
    let submission = Submission { wishes, ..Submission::new(key, principal, request) };
    let receipt = state.deliveries()?.submit(submission).await?;
    let mut response = accepted(&tenant, &receipt);
    if asked == Asked::Prefer {
        let applied = HeaderValue::from_static(wishes::RESPOND_ASYNC);
        response.headers_mut().insert(wishes::PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// The answer that says that a call was accepted.
pub(super) fn accepted(tenant: &Tenant, receipt: &Receipt) -> Response<Body> {
    let mut response = errors::json(StatusCode::ACCEPTED, receipt);
    let id = receipt.id.to_string();
    let query = if tenant.as_str() == DEFAULT_TENANT { String::new() } else { format!("?tenant={tenant}") };
    let location = format!("{PREFIX}messages/{id}{query}");
    for (name, value) in [(ID_HEADER, id), (header::LOCATION, location)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Whom a request calls and on whose behalf, and the request as the function shall see it.
fn stripped(
    state: &State,
    mut request: Request<Body>,
) -> Result<(FunctionKey, Principal, Request<Body>), Error> {
    let tenant = tenant(request.uri())?;
    let (name, path) = target(request.uri().path())
        .ok_or_else(|| Error::internal("XB1000", "a call was routed here that is none"))?;
    let key = functions::find(state, &tenant, name)?;
    let seen = path_and_query(path, request.uri().query())?;
    *request.uri_mut() = Uri::from(seen);
    // The credential was for us, not for the function.
    request.headers_mut().remove(header::AUTHORIZATION);
    let principal = request.extensions_mut().remove::<Principal>().unwrap_or(Principal::Anonymous);
    Ok((key, principal, request))
}

fn timeout(request: &Request<Body>) -> Result<Option<Duration>, Error> {
    let Some(value) = request.headers().get(TIMEOUT_HEADER) else { return Ok(None) };
    let millis = value.to_str().ok().and_then(|text| text.parse::<u64>().ok()).filter(|millis| *millis > 0);
    match millis {
        Some(millis) => Ok(Some(Duration::from_millis(millis))),
        None => Err(Error::invalid("XB1009", "x-xebec-timeout-ms must be whole milliseconds above 0")),
    }
}

fn tenant(uri: &Uri) -> Result<Tenant, Error> {
    let wanted = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("tenant="));
    match wanted {
        None => Ok(Tenant::default()),
        Some(name) => {
            xebec_core::names::check_dns_label("tenant", name)?;
            Ok(Tenant::new(name))
        }
    }
}

/// The path after `invoke`, and the query without what was meant for us.
fn path_and_query(path: &str, query: Option<&str>) -> Result<PathAndQuery, Error> {
    let mut seen = String::from(if path.is_empty() { "/" } else { path });
    let mut separator = '?';
    for pair in query.unwrap_or_default().split('&') {
        if !pair.is_empty() && !pair.starts_with("tenant=") {
            seen.push(separator);
            seen.push_str(pair);
            separator = '&';
        }
    }
    seen.parse().map_err(|error| Error::invalid("XB1010", format!("the path cannot be passed on: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_calls_from_management() {
        assert_eq!(target("/xebec/v1/functions/a/invoke"), Some(("a", "")));
        assert_eq!(target("/xebec/v1/functions/a/invoke/b/c"), Some(("a", "/b/c")));
        assert_eq!(target("/xebec/v1/functions/a/invoked"), None);
        assert_eq!(target("/xebec/v1/functions/a/logs"), None);
        assert_eq!(target("/xebec/v1/functions/invoke"), None);
    }

    #[test]
    fn passes_on_the_rest_of_the_query() {
        let seen = |path, query| path_and_query(path, query).unwrap().to_string();
        assert_eq!(seen("", None), "/");
        assert_eq!(seen("/x", Some("a=1&tenant=t&b=2")), "/x?a=1&b=2");
        assert_eq!(seen("", Some("tenant=t")), "/");
    }
}
