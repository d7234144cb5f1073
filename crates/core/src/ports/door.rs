//! What the gateway needs of a front door.

use crate::{
    auth::{Access, Credential},
    body::Body,
    error::Error,
};
use async_trait::async_trait;
use http::{Request, Response, request::Parts};
use std::net::SocketAddr;

/// Who sent a request, as its connection shows it. The gateway puts it into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A front door: one framework's API. The gateway owns listeners, TLS, limits and authentication; it puts
/// the [`crate::auth::Principal`] and the [`Peer`] into the request's extensions before the door sees it.
#[async_trait]
pub trait Door: Send + Sync {
    /// Its name, e.g. `openfaas`.
    fn name(&self) -> &'static str;

    /// The path prefixes it owns, each ending in `/` or naming one path whole. Longest match wins; no two
    /// doors may claim the same.
    fn claims(&self) -> &[&'static str];

    /// What a request wants.
    fn access(&self, request: &Parts) -> Access;

    /// The credential that it carries. The default reads `Authorization`: Basic and Bearer.
    fn credential(&self, request: &Parts) -> Credential {
        credential_of(request)
    }

    /// The answer to a request that may not do what it wants.
    fn refuse(&self, error: &Error) -> Response<Body>;

    /// Answers a request.
    async fn handle(&self, request: Request<Body>) -> Response<Body>;

    /// Appends the metrics that this framework's dashboards read, in Prometheus' text format.
    fn metrics(&self, _out: &mut String) {}

    /// What it adds to the JSON object of `GET /`.
    fn greeting(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }
}

/// Reads `Authorization`: Basic and Bearer. An empty bearer token is none: some clients always send one.
pub fn credential_of(request: &Parts) -> Credential {
    let Some(value) = request.headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok()) else {
        return Credential::None;
    };
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
        return Credential::Bearer(rest.to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        use base64::Engine as _;
        let decoded = base64::engine::general_purpose::STANDARD.decode(rest).ok();
        if let Some(text) = decoded.and_then(|bytes| String::from_utf8(bytes).ok())
            && let Some((user, password)) = text.split_once(':')
        {
            return Credential::Basic { user: user.to_owned(), password: password.to_owned() };
        }
    }
    Credential::None
}
