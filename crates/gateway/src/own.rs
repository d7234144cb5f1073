//! What the gateway answers itself: `/`, health, readiness, metrics, and what nobody claims.

use crate::{
    gateway::Shared,
    refusal::{json, sentence},
    service::{forbidden, manager},
    state::ConnectionState,
};
use arc_swap::ArcSwapOption;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use std::sync::Arc;
use xebec_core::{Body, auth::Principal, error::ErrorKind, ports::door::credential_of};

const CONSOLE: &str = "/console/";

const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Xebec</title></head>\n\
<body><h1>Xebec</h1><p>This server runs functions. It has no web console; use the command line:</p>\n\
<pre>xebec ls</pre></body></html>\n";

/// Says whether calls can be served. Until it is told otherwise, they cannot.
#[derive(Clone)]
pub struct Readiness(Arc<ArcSwapOption<String>>);

impl Readiness {
    pub(crate) fn starting() -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee("is starting".to_owned())))
    }

    /// Calls can be served: `/readyz` answers 200.
    pub fn set_ready(&self) {
        self.0.store(None);
    }

    /// They cannot: `/readyz` answers 503 and says that the server `reason`, e.g. `is resuming functions`.
    pub fn set_unready(&self, reason: impl Into<String>) {
        self.0.store(Some(Arc::new(reason.into())));
    }

    fn reason(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }
}

/// Answers what no door claims.
pub(crate) fn answer(shared: &Shared, state: &ConnectionState, parts: &Parts) -> Response<Body> {
    let path = parts.uri.path();
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    match path {
        "/" | "/healthz" | "/readyz" | "/metrics" if !reads => {
            let mut response = json(
                StatusCode::METHOD_NOT_ALLOWED,
                sentence("XB1028", &format!("{path} can only be read"), Some("use GET")),
            );
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        "/" => root(shared, parts),
        "/healthz" => text("text/plain; charset=utf-8", "ok\n"),
        "/readyz" => ready(shared),
        "/metrics" => metrics(shared, state, parts),
        _ if reads && wants_page(parts) && shared.table.lacks_slash(path) => redirect(&format!("{path}/")),
        _ => unknown(shared, parts),
    }
}

fn root(shared: &Shared, parts: &Parts) -> Response<Body> {
    if wants_page(parts) {
        return match shared.table.find(CONSOLE) {
            Some(_) => redirect(CONSOLE),
            None => text("text/html; charset=utf-8", PAGE),
        };
    }
    let mut object = serde_json::Map::new();
    for door in shared.table.doors() {
        for (key, value) in door.greeting() {
            object.entry(key).or_insert(value);
        }
    }
    let doors: Vec<&str> = shared.table.doors().iter().map(|door| door.name()).collect();
    object.entry("doors").or_insert_with(|| doors.into());
    json(StatusCode::OK, serde_json::Value::Object(object).to_string())
}

fn ready(shared: &Shared) -> Response<Body> {
    match shared.readiness.reason() {
        None => text("text/plain; charset=utf-8", "ready\n"),
        Some(reason) => {
            let message = format!("the server {reason}");
            let mut response =
                json(StatusCode::SERVICE_UNAVAILABLE, sentence("XB6003", &message, Some("try again soon")));
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

/// Names of functions stand in the series, so they are shown to whoever may see every tenant's.
fn metrics(shared: &Shared, state: &ConnectionState, parts: &Parts) -> Response<Body> {
    if !shared.options.public_metrics {
        match manager(shared, state, parts, || credential_of(parts)) {
            Ok(Principal::Key { tenant: Some(_), .. }) => {
                let error = xebec_core::Error::new(
                    ErrorKind::Forbidden,
                    "XB5004",
                    "this key is confined to one tenant, metrics show all",
                );
                return forbidden(&error);
            }
            Ok(_) => {}
            Err(error) if error.code == "XB5001" => {
                let body = sentence(error.code, &error.message, error.hint.as_deref());
                let mut response = json(StatusCode::UNAUTHORIZED, body);
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"xebec\""));
                return response;
            }
            Err(error) => return forbidden(&error),
        }
    }
    let mut out = String::with_capacity(16 * 1024);
    write_metrics(shared, &mut out);
    text("text/plain; version=0.0.4; charset=utf-8", out)
}

/// All series.
pub(crate) fn write_metrics(shared: &Shared, out: &mut String) {
    shared.counters.write(out, &shared.table, &shared.register);
    if let Some(durations) = &shared.durations {
        durations.write(out);
    }
    for write in &shared.metrics {
        write(out);
    }
    for door in shared.table.doors() {
        door.metrics(out);
    }
}

fn unknown(shared: &Shared, parts: &Parts) -> Response<Body> {
    let path = parts.uri.path();
    let shown: String = path.chars().take(200).collect();
    let hint = if shared.table.lacks_slash(path) {
        format!("did you mean {shown}/ ?")
    } else {
        let mut claims: Vec<&str> =
            shared.table.doors().iter().flat_map(|door| door.claims()).copied().collect();
        claims.sort_unstable();
        format!("this server answers below {}", claims.join(" "))
    };
    json(StatusCode::NOT_FOUND, sentence("XB1029", &format!("nothing is at {shown}"), Some(&hint)))
}

fn wants_page(parts: &Parts) -> bool {
    let accept = parts.headers.get_all(header::ACCEPT).iter();
    accept.filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/html"))
}

fn text(kind: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn redirect(to: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}
