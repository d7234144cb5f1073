//! `http`: a web server inside; a call is a request to it.
//!
//! The server is ready when its port or socket can be connected to and, where there is a `ready_path`,
//! `GET` of it answers 2xx. Requests and answers stream both ways, with trailers; headers that concern one
//! connection only are dropped both ways; `Host` is kept; an upgrade (WebSocket and any other) that the
//! server grants becomes a tunnel, which holds its slot and may last as long as the run clock allows.
//!
//! | setting | | default |
//! |---|---|---|
//! | `port` | where the server listens | 8080 |
//! | `socket` | its Unix socket, an absolute path, in place of a port | – |
//! | `ready_path` | asked until it answers 2xx | – |
//! | `max_inflight` | calls past it are answered 429 here | – |
//! | `buffer_request_body` | the request is sent when all of it is there, with its length | `false` |
//!
//! **Connections** are kept and used again, last in, first out. One that has been idle for more than a
//! second is not used for a request that must not be sent twice, since the server may be closing it just
//! then; servers commonly keep idle connections for two seconds or more. A request that got lost on
//! a connection that was used before goes to a fresh one if nothing of it was sent, or if it is idempotent
//! (by its method, or an `Idempotency-Key`) and its body is at hand.
//!
//! **A caller that goes away** in the middle: the connection is closed for writing, which tells the server,
//! and what it still sends is thrown away. A server that closes its side within a second has ended
//! the call, and the slot is free again; otherwise the instance is retired.

use crate::{
    Call, CallError, Contract, DURATION_HEADER, Opening, Session, StartError, broken_request, duration_value,
    in_flight::InFlight, settings::Settings,
};
use ::http::{Request, Response, StatusCode};
use async_trait::async_trait;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    Body, Error,
    limits::Limits,
    ports::instance::{Endpoint, InstanceIo, Signal},
    revision::{ContractSpec, RevisionSpec},
};

mod answer;
mod exchange;
mod expect;
pub(crate) mod faults;
mod head;
mod idle;
mod letting_go;
pub(crate) mod link;
pub(crate) mod ready;
mod tunnel;

/// The contract.
pub struct Http;

#[async_trait]
impl Contract for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn check(&self, revision: &RevisionSpec) -> Result<(), Error> {
        Options::read(&revision.contract).map(|_| ())
    }

    async fn open(&self, opening: Opening) -> Result<Arc<dyn Session>, StartError> {
        let options = Options::read(&opening.spec).map_err(|error| StartError::new(error.to_string()))?;
        let server = Arc::new(Server::new(opening.io, &opening.limits, options));
        ready::until_ready(&server).await?;
        opening.slots.announce(opening.limits.concurrency);
        Ok(Arc::new(HttpSession(server)))
    }
}

/// Where a server listens: a port or a socket.
pub(crate) fn endpoint(settings: &mut Settings<'_>) -> Result<Endpoint, Error> {
    let port = settings.number("port", 1..=65535)?.and_then(|port| u16::try_from(port).ok());
    let socket = settings.read("socket", "an absolute path", |value| {
        value.as_str().filter(|path| path.starts_with('/')).map(PathBuf::from)
    })?;
    match (port, socket) {
        (Some(_), Some(_)) => Err(settings.both("port", "socket")),
        (port, None) => Ok(Endpoint::Port(port.unwrap_or(8080))),
        (None, Some(socket)) => Ok(Endpoint::Socket(socket)),
    }
}

/// The settings, read.
pub(crate) struct Options {
    endpoint: Endpoint,
    ready_path: Option<String>,
    max_in_flight: Option<u32>,
    buffer_request_body: bool,
}

impl Options {
    /// A server of which nothing but its place is known.
    pub(crate) fn at(endpoint: Endpoint) -> Self {
        Self { endpoint, ready_path: None, max_in_flight: None, buffer_request_body: false }
    }

    fn read(spec: &ContractSpec) -> Result<Self, Error> {
        let mut settings = Settings::of(spec);
        let options = Self {
            endpoint: endpoint(&mut settings)?,
            ready_path: settings.read("ready_path", "a path that starts with /", |value| {
                let path = value.as_str().filter(|path| path.starts_with('/'))?;
                path.parse::<::http::Uri>().ok().map(|_| path.to_owned())
            })?,
            max_in_flight: settings
                .number("max_inflight", 1..=1_000_000)?
                .and_then(|calls| u32::try_from(calls).ok()),
            buffer_request_body: settings.flag("buffer_request_body")?.unwrap_or(false),
        };
        settings.finish()?;
        Ok(options)
    }
}

/// The web server in the instance, and our connections to it.
pub(crate) struct Server {
    pub(crate) io: Arc<dyn InstanceIo>,
    pub(crate) idle: idle::Idle,
    pub(crate) in_flight: Arc<InFlight>,
    request_bytes: u64,
    tunnel_time: Duration,
    options: Options,
}

impl Server {
    pub(crate) fn new(io: Arc<dyn InstanceIo>, limits: &Limits, options: Options) -> Self {
        Self {
            io,
            idle: idle::Idle::default(),
            in_flight: Arc::default(),
            request_bytes: limits.request_bytes,
            tunnel_time: limits.clocks.run,
            options,
        }
    }

    /// Lets it finish what it has, and asks it to stop.
    pub(crate) async fn close(&self, grace: Duration) {
        let until = tokio::time::Instant::now() + grace;
        self.in_flight.drained(grace).await;
        self.idle.clear();
        if self.io.signal(Signal::Stop).await.is_ok() {
            let _ = tokio::time::timeout_at(until, self.io.exited()).await;
        }
    }
}

struct HttpSession(Arc<Server>);

#[async_trait]
impl Session for HttpSession {
    async fn call(&self, call: Call) -> Result<Response<Body>, CallError> {
        let started = Instant::now();
        let server = &self.0;
        let (counted, in_flight) = server.in_flight.enter();
        if let Some(limit) = server.options.max_in_flight.filter(|limit| in_flight > *limit) {
            call.slot.free();
            return Ok(too_many(limit));
        }
        let mut request = call.request;
        let exchange = exchange::Exchange::new(server.clone(), call.slot, counted);
        if server.options.buffer_request_body && request.body().replay().is_none() {
            request = buffered(request, server.request_bytes).await?;
        }
        let upgrade = head::prepare_request(&mut request);
        let (exchange, mut response) = exchange.send(request, upgrade).await?;
        response.headers_mut().insert(DURATION_HEADER, duration_value(started.elapsed()));
        head::prepare_response(&mut response);
        let (parts, incoming) = response.into_parts();
        let body = match incoming {
            Some(incoming) => answer::Answer::new(exchange, incoming).into_body(),
            None => Body::empty(),
        };
        Ok(Response::from_parts(parts, body))
    }

    async fn close(&self, grace: Duration) {
        self.0.close(grace).await;
    }
}

/// Reads a request's body whole, so that it is sent with its length.
async fn buffered(request: Request<Body>, limit: u64) -> Result<Request<Body>, CallError> {
    let (mut parts, body) = request.into_parts();
    let bytes = body.collect(limit).await.map_err(|error| {
        let (outcome, message) = broken_request(&error);
        CallError::new(outcome, message)
    })?;
    parts.headers.remove(::http::header::TRANSFER_ENCODING);
    parts.headers.insert(::http::header::CONTENT_LENGTH, bytes.len().into());
    Ok(Request::from_parts(parts, Body::full(bytes)))
}

fn too_many(limit: u32) -> Response<Body> {
    let text = format!("too many calls at once: this function takes {limit} (max_inflight)\n");
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let plain = ::http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(::http::header::CONTENT_TYPE, plain);
    response
}
