//! Calls: `/xebec/v1/functions/{name}/invoke[/path]`, any method.

use super::{PREFIX, State, functions};
use crate::errors;
use http::{HeaderName, HeaderValue, Request, Response, Uri, uri::PathAndQuery};
use std::time::Duration;
use xebec_core::{Body, Error, Invocation, Outcome, Tenant, auth::Principal};

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

pub(super) async fn call(state: &State, request: Request<Body>) -> Response<Body> {
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

fn invocation(state: &State, mut request: Request<Body>) -> Result<Invocation, Error> {
    let tenant = tenant(request.uri())?;
    let (name, path) = target(request.uri().path())
        .ok_or_else(|| Error::internal("XB1000", "a call was routed here that is none"))?;
    let key = functions::find(state, &tenant, name)?;
    let seen = path_and_query(path, request.uri().query())?;
    *request.uri_mut() = Uri::from(seen);
    let timeout = timeout(&request)?;
    request.headers_mut().remove(TIMEOUT_HEADER);
    // The credential was for us, not for the function.
    request.headers_mut().remove(http::header::AUTHORIZATION);
    let principal = request.extensions_mut().remove::<Principal>().unwrap_or(Principal::Anonymous);
    let mut invocation = Invocation::new(key, principal, request);
    invocation.timeout = timeout;
    Ok(invocation)
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
