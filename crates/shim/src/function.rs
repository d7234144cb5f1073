//! The function: what answers calls, and each call's way.

use crate::{
    answers,
    calls::Calls,
    connection::AnswerClock,
    counted::{Ended, counted},
    health::Health,
    log::{self, CallLine},
    metrics::Metrics,
    settings::Settings,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT, USER_AGENT},
    uri::PathAndQuery,
};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use std::{
    future::Future,
    io::Write as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    time::{Sleep, sleep},
};
use tower_http::services::ServeDir;
use xebec_contracts::{Call, DURATION_HEADER, Session, duration, duration_value};
use xebec_core::{Body, BodyError, InvocationId, slot::Slot};

const HEALTH: &str = "/_/health";
const READY: &str = "/_/ready";
const CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
const TIMEOUT: HeaderName = HeaderName::from_static("x-timeout");

/// What answers calls.
pub(crate) enum Place {
    /// A process per call.
    Forked { session: Arc<dyn Session>, classic: bool },
    /// A server, once it takes calls; every path is put behind `path`.
    Served { session: watch::Receiver<Option<Arc<dyn Session>>>, path: String },
    /// Files.
    Files(ServeDir),
}

/// The function, and what is known of it.
pub(crate) struct Function {
    pub(crate) settings: Settings,
    pub(crate) place: Place,
    pub(crate) calls: Arc<Calls>,
    pub(crate) health: Health,
    pub(crate) metrics: Arc<Metrics>,
}

impl Function {
    /// Answers a request.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        clock: Arc<AnswerClock>,
    ) -> Response<Body> {
        let response = match request.uri().path() {
            HEALTH => self.health(request.method()),
            READY => self.ready(request).await,
            _ => self.called(request).await,
        };
        response.map(|body| counted(body, None, Box::new(move |_| clock.written())))
    }

    fn health(&self, method: &Method) -> Response<Body> {
        if method != Method::GET {
            answers::empty(StatusCode::METHOD_NOT_ALLOWED)
        } else if self.health.is_healthy() {
            answers::text(StatusCode::OK, "OK")
        } else {
            answers::empty(StatusCode::SERVICE_UNAVAILABLE)
        }
    }

    /// Whether a call would be answered now. The function itself is asked where it has a path for that.
    async fn ready(&self, request: Request<Incoming>) -> Response<Body> {
        if request.method() != Method::GET {
            return answers::empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let has_started = match &self.place {
            Place::Served { session, .. } => session.borrow().is_some(),
            _ => true,
        };
        if !self.health.is_healthy() || !has_started {
            return answers::empty(StatusCode::SERVICE_UNAVAILABLE);
        }
        if self.calls.is_full() {
            return answers::empty(StatusCode::TOO_MANY_REQUESTS);
        }
        let Some(path) = &self.settings.ready_path else { return answers::empty(StatusCode::OK) };
        let mut asked = Request::new(Body::empty());
        *asked.headers_mut() = request.headers().clone();
        *asked.uri_mut() = Uri::from(path.clone());
        let limit = self.settings.call_timeout();
        let response = self.respond(asked, self.calls.begin_always(), limit).await;
        response.map(|body| counted(body, limit, Box::new(|_| {})))
    }

    async fn called(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let started = Instant::now();
        let seen = Seen::of(&request, self.settings.log_call_id);
        if self.settings.debug_headers {
            log::headers("in", request.headers());
        }
        let (response, limit) = self.admitted(request).await;
        let (mut parts, body) = response.into_parts();
        if parts.headers.contains_key(answers::INTERNAL) {
            parts.headers.insert(DURATION_HEADER, duration_value(started.elapsed()));
        }
        if self.settings.debug_headers {
            log::headers("out", &parts.headers);
        }
        if self.settings.write_debug
            && let Some(output) = body.replay()
        {
            // A log that nobody reads is no reason to stop.
            let _ = std::io::stdout().write_all(&output);
        }
        let time_left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        let body = counted(body, time_left, self.clone().ended(seen, parts.status, started));
        Response::from_parts(parts, body)
    }

    /// What is done when an answer has ended.
    fn ended(self: Arc<Self>, seen: Seen, status: StatusCode, started: Instant) -> Ended {
        Box::new(move |bytes| {
            let taken = started.elapsed();
            self.metrics.observe(&seen.method, status, taken);
            if seen.is_probe {
                return;
            }
            let call_id = seen.call_id.as_deref();
            CallLine { method: &seen.method, uri: &seen.uri, status, bytes, taken, call_id }.write();
        })
    }

    /// The answer, and how long it may take in all.
    async fn admitted(&self, request: Request<Incoming>) -> (Response<Body>, Option<Duration>) {
        let limit = self.limit(request.headers());
        let classic = matches!(self.place, Place::Forked { classic: true, .. });
        if classic && !is_classic(request.method()) {
            return (answers::empty(StatusCode::METHOD_NOT_ALLOWED), limit);
        }
        let Some(slot) = self.calls.begin() else {
            return (answers::too_many(self.calls.limit()), limit);
        };
        let read_timeout = self.settings.read_timeout;
        let request = request.map(|body| {
            if body.is_end_stream() { Body::empty() } else { Body::stream(Arriving::new(body, read_timeout)) }
        });
        (self.respond(request, slot, limit).await, limit)
    }

    /// How long a call may take: what its caller says, where that is less. Streams of events have until the answer's
    /// own limit: it is their nature to last.
    fn limit(&self, headers: &HeaderMap) -> Option<Duration> {
        if matches!(self.place, Place::Served { .. }) && is_event_stream(headers) {
            return self.settings.write_timeout;
        }
        let said = headers.get(TIMEOUT).and_then(|value| duration::parse(value.to_str().ok()?));
        let said = said.filter(|limit| !limit.is_zero());
        said.into_iter().chain(self.settings.call_timeout()).min()
    }

    async fn respond(
        &self,
        mut request: Request<Body>,
        slot: Slot,
        limit: Option<Duration>,
    ) -> Response<Body> {
        let forked = matches!(self.place, Place::Forked { .. });
        let id = InvocationId::new();
        let answered = match &self.place {
            Place::Files(files) => return serve_file(files.clone(), request, slot).await,
            Place::Forked { session, .. } => within(limit, session.call(Call { id, slot, request })).await,
            Place::Served { session, path } => {
                put_behind(path, request.uri_mut());
                let mut opened = session.clone();
                let answered = async {
                    // Its sender lives as long as the shim does.
                    let session = opened.wait_for(Option::is_some).await.ok()?.clone()?;
                    Some(session.call(Call { id, slot, request }).await)
                };
                within(limit, answered).await.flatten()
            }
        };
        match answered {
            Some(Ok(response)) => response,
            Some(Err(error)) => answers::failed(error, forked),
            None => answers::timed_out(forked),
        }
    }
}

/// What is remembered of a request until its answer has ended.
struct Seen {
    method: Method,
    uri: Uri,
    call_id: Option<String>,
    /// Asked by Kubernetes again and again; not logged.
    is_probe: bool,
}

impl Seen {
    fn of(request: &Request<Incoming>, call_id: bool) -> Self {
        let text =
            |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            call_id: call_id.then(|| text(CALL_ID).to_owned()),
            is_probe: text(USER_AGENT).starts_with("kube-probe"),
        }
    }
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

async fn serve_file(mut files: ServeDir, request: Request<Body>, slot: Slot) -> Response<Body> {
    match files.try_call(request).await {
        Ok(response) => {
            response.map(|body| counted(Body::stream(body), None, Box::new(move |_| slot.free())))
        }
        Err(error) => {
            answers::text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot read the file: {error}\n"))
        }
    }
}

/// The classic watchdog takes these and no others.
fn is_classic(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|accept| {
        let accept = accept.to_ascii_lowercase();
        accept.contains("text/event-stream") || accept.contains("application/x-ndjson")
    })
}

/// Puts a path before the one that was asked for.
fn put_behind(path: &str, uri: &mut Uri) {
    if path.is_empty() {
        return;
    }
    let asked = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    // Both are paths, and so is what they make; should it be too long, the server is asked what it was.
    if let Ok(whole) = format!("{path}{asked}").parse::<PathAndQuery>() {
        *uri = whole.into();
    }
}

/// A request's body, held to its time.
struct Arriving {
    body: Incoming,
    time_left: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    fn new(body: Incoming, limit: Option<Duration>) -> Self {
        Self { body, time_left: limit.map(|limit| Box::pin(sleep(limit))) }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => {
                let time_left = this.time_left.as_mut().map(|time| time.as_mut().poll(cx));
                if time_left.is_none_or(|time| time.is_pending()) {
                    return Poll::Pending;
                }
                this.time_left = None;
                Poll::Ready(Some(Err("it took longer to arrive than read_timeout".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
