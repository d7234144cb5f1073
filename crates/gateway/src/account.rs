//! What is told of a request, where anybody listens: a line in the log, a span, how long it took.

use crate::{
    access_log::AccessLine,
    durations::{Key, Timed},
    gateway::Shared,
};
use compact_str::{CompactString, format_compact};
use http::{Method, StatusCode, Version, header, request::Parts};
use std::net::SocketAddr;
use xebec_core::trace::{Span, SpanKind};

/// The account of one request, given when its answer has gone out or was given up.
pub(crate) struct Account {
    line: Option<AccessLine>,
    span: Option<Span>,
    timed: Option<Timed>,
}

impl Account {
    /// An account, where anybody listens. Of what the gateway answers itself – probes, scrapes – only the log
    /// tells. Where traces are exported, the request carries the gateway's own context from here.
    pub(crate) fn begin(
        shared: &Shared,
        door: Option<usize>,
        request: &mut Parts,
        peer: SocketAddr,
    ) -> Option<Box<Self>> {
        let line = AccessLine::begin(request, peer);
        let (mut span, mut timed) = (None, None);
        if door.is_some() && (shared.options.traces.are_on() || shared.durations.is_some()) {
            let route = shared.table.claim(request.uri.path()).unwrap_or("/");
            let scheme = if shared.tls.is_some() { "https" } else { "http" };
            span = begin_span(shared, request, route, scheme, peer);
            timed = shared.durations.clone().map(|durations| {
                let key = Key { method: known(&request.method), route, scheme, status: 0 };
                Timed::begin(durations, key)
            });
        }
        (line.is_some() || span.is_some() || timed.is_some()).then(|| Box::new(Self { line, span, timed }))
    }

    pub(crate) fn set_answer(&mut self, door: &'static str, status: StatusCode) {
        if let Some(line) = &mut self.line {
            line.set_answer(door, status);
        }
        if let Some(timed) = &mut self.timed {
            timed.set_status(status.as_u16());
        }
        if let Some(span) = &mut self.span {
            span.tell("http.response.status_code", status.as_u16());
            if status.is_server_error() {
                span.tell("error.type", status.as_str());
                span.fail("");
            }
        }
    }

    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        if let Some(line) = &mut self.line {
            line.add_bytes(bytes);
        }
    }

    pub(crate) fn set_broken(&mut self, error: &(dyn std::error::Error + Send + Sync)) {
        if let Some(line) = &mut self.line {
            line.set_broken(error);
        }
        if let Some(span) = &mut self.span {
            span.fail(&error.to_string());
        }
    }
}

/// The span of a request, by the conventions for HTTP servers. Its query may hold what is nobody's business.
fn begin_span(
    shared: &Shared,
    request: &mut Parts,
    route: &'static str,
    scheme: &'static str,
    peer: SocketAddr,
) -> Option<Span> {
    let method = known(&request.method);
    let route = template(route);
    let mut span = shared.options.traces.enter(&mut request.headers, SpanKind::Server, || {
        let method = if method == OTHER { "HTTP" } else { method };
        format_compact!("{method} {route}")
    })?;
    span.tell("http.request.method", method);
    if method == OTHER {
        span.tell("http.request.method_original", request.method.as_str());
    }
    span.tell("http.route", route.as_str());
    span.tell("url.path", request.uri.path());
    span.tell("url.scheme", scheme);
    if let Some((host, port)) = server(request) {
        span.tell("server.address", host);
        if let Some(port) = port {
            span.tell("server.port", port);
        }
    }
    let address = peer.ip().to_string();
    span.tell("client.address", address.as_str());
    span.tell("network.peer.address", address.as_str());
    span.tell("network.peer.port", peer.port());
    span.tell("network.protocol.version", version(request.version));
    if let Some(agent) = request.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        span.tell("user_agent.original", agent);
    }
    request.extensions.insert(span.notes());
    Some(span)
}

const OTHER: &str = "_OTHER";

/// A method by its name where it is one that everybody knows: clients may make up any number of others.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| method == *known).unwrap_or(OTHER)
}

/// A claim as a route: what is below it is a wildcard.
pub(crate) fn template(claim: &str) -> CompactString {
    if claim.ends_with('/') { format_compact!("{claim}{{*path}}") } else { claim.into() }
}

/// Host and port as the client named them.
fn server(request: &Parts) -> Option<(&str, Option<u16>)> {
    let named = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| request.uri.authority().map(|authority| authority.as_str()))?;
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => (name, port.parse().ok()),
        _ => (host, None),
    };
    Some((name.trim_start_matches('[').trim_end_matches(']'), port))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn names_the_server_as_clients_do() {
        let named = |host: &str| {
            let (parts, ()) = Request::get("/x").header("host", host).body(()).unwrap().into_parts();
            server(&parts).map(|(name, port)| (name.to_owned(), port))
        };
        assert_eq!(named("example.com:8080"), Some(("example.com".to_owned(), Some(8080))));
        assert_eq!(named("example.com"), Some(("example.com".to_owned(), None)));
        assert_eq!(named("[::1]:80"), Some(("::1".to_owned(), Some(80))));
        assert_eq!(named("[::1]"), Some(("::1".to_owned(), None)));
        let (bare, ()) = Request::get("/x").body(()).unwrap().into_parts();
        assert_eq!(server(&bare), None);
    }

    #[test]
    fn made_up_methods_are_one() {
        assert_eq!(known(&Method::PATCH), "PATCH");
        assert_eq!(known(&Method::from_bytes(b"BREW").unwrap()), OTHER);
    }

    #[test]
    fn claims_are_routes() {
        assert_eq!(template("/function/"), "/function/{*path}");
        assert_eq!(template("/tasks"), "/tasks");
    }
}
