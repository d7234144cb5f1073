//! The routes at their own URLs: `/api/{namespace}/{base path}/{path}`.

use super::routes::{Backend, Cors, Found, segments};
use crate::{Shared, web};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
    request::Parts as Head,
};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};
use xebec_core::{
    Body, Tenant,
    auth::{Credential, Principal},
    ports::door::credential_of,
};

const X_FORWARDED_URL: HeaderName = HeaderName::from_static("x-forwarded-url");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS");

/// What stands in a segment as it is.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@').remove(b'$');

/// Answers a request for a route.
pub(crate) async fn handle(shared: &Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let mut asked = segments(&path).skip(1);
    let Some(namespace) = asked.next().map(|namespace| Tenant::new(&*namespace)) else { return not_found() };
    let asked: Vec<Cow<'_, str>> = asked.collect();
    let apis = match shared.apis.ready(shared.store.as_ref(), &namespace).await {
        Ok(apis) => apis,
        Err(error) => {
            tracing::warn!(%namespace, %error, "the routes of the API gateway cannot be read");
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "Internal error.");
        }
    };
    let found = apis.iter().filter_map(|api| api.find(&asked, &head.method)).max_by_key(|(fit, _)| *fit);
    let Some((_, Found { cors, backend, rest })) = found else { return not_found() };
    if cors == Cors::Open && head.method == Method::OPTIONS {
        return preflight(&head.headers);
    }
    let origin = head.headers.get(header::ORIGIN).cloned();
    let mut response = match backend {
        Some(backend) => match lead(shared, head, backend, &asked, rest) {
            Some(head) => web::handle(shared, Request::from_parts(head, body)).await,
            None => not_found(),
        },
        None => refused(StatusCode::NOT_FOUND, "Whoops. Verb not supported."),
    };
    say_of_origins(cors, origin, response.headers_mut());
    response
}

/// The request as the web action gets it.
fn lead(
    shared: &Shared,
    mut head: Head,
    backend: &Backend,
    asked: &[Cow<'_, str>],
    rest: usize,
) -> Option<Head> {
    let told = if backend.tells_path { asked } else { &asked[asked.len() - rest..] };
    let mut target = utf8_percent_encode(&backend.path, CONTROLS).to_string().replace(' ', "%20");
    for segment in told {
        target.push('/');
        target.push_str(&encoded(segment));
    }
    if let Some(query) = head.uri.query() {
        target.push('?');
        target.push_str(query);
    }
    let forwarded = forwarded_url(&head);
    head.uri = target.parse::<Uri>().ok()?;
    if let Some(method) = &backend.method {
        head.method = method.clone();
    }
    head.headers.extend(forwarded.map(|url| (X_FORWARDED_URL, url)));
    for (name, value) in &backend.headers {
        head.headers.insert(name, value.clone());
    }
    if backend.headers.iter().any(|(name, _)| *name == header::AUTHORIZATION) {
        // The API's own credential counts, not the one its caller came with.
        let principal = match credential_of(&head) {
            Credential::None => Principal::Anonymous,
            credential => shared.keys.authenticate(&credential, false).unwrap_or(Principal::Anonymous),
        };
        head.extensions.insert(principal);
    }
    Some(head)
}

/// The URL that was asked for, as far as the request says it.
fn forwarded_url(head: &Head) -> Option<HeaderValue> {
    let said = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = said("x-forwarded-proto").unwrap_or("http");
    let host = said("x-forwarded-host").or_else(|| said("host"))?;
    format!("{scheme}://{host}{}", head.uri).parse().ok()
}

/// What a browser asks before it asks.
fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    say_of_origins(Cors::Open, asked.get(header::ORIGIN).cloned(), headers);
    response
}

fn say_of_origins(cors: Cors, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    match cors {
        Cors::Unsaid => {}
        Cors::Open => {
            let origin = origin.unwrap_or(HeaderValue::from_static("*"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        Cors::Closed => {
            for name in [
                header::ACCESS_CONTROL_ALLOW_ORIGIN,
                header::ACCESS_CONTROL_ALLOW_METHODS,
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                header::ACCESS_CONTROL_MAX_AGE,
            ] {
                headers.remove(name);
            }
        }
    }
}

fn not_found() -> Response<Body> {
    refused(StatusCode::NOT_FOUND, "Not found.")
}

fn refused(status: StatusCode, message: &str) -> Response<Body> {
    let body = json!({ "status": status.as_u16(), "message": format!("Error: {message}") });
    let mut response = Response::new(Body::full(format!("{body}\n")));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A segment as it stands in a URL.
pub(crate) fn encoded(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

/// Scheme and host by which this server is reached: as the request came, else as it is configured.
pub(super) fn public_host(headers: Option<&Value>, configured: &str) -> String {
    let said =
        |name: &str| headers.and_then(|headers| headers[name].as_str()).filter(|text| !text.is_empty());
    let configured = configured.trim_end_matches('/');
    match said("x-forwarded-host").or_else(|| said("host")) {
        None => configured.to_owned(),
        Some(host) => {
            let scheme = configured.split_once("://").map_or("http", |(scheme, _)| scheme);
            format!("{}://{host}", said("x-forwarded-proto").unwrap_or(scheme))
        }
    }
}
