//! The handlers, a file per subject.

mod caller;
mod functions;
mod invocations;
mod invoke;
mod keys;
mod messages;
mod observe;
mod operate;
mod queues;
mod schedules;
mod secrets;
mod wishes;

use crate::{DOOR, errors};
use async_trait::async_trait;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post, put},
};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, header, request::Parts};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};
use tower::ServiceExt as _;
use xebec_core::{
    Body, Error,
    auth::{Access, Keys},
    error::ErrorKind,
    ports::{control::Control, deliveries::Deliveries, door::Door, invoker::Invoker, schedules::Schedules},
};

/// Where everything of this door lives.
pub(crate) const PREFIX: &str = "/xebec/v1/";

/// The largest management body other than code, in bytes.
const MANAGEMENT_BYTES: usize = 2 * 1024 * 1024;

/// Writes a complete backup into a directory: what of it is documents, blobs and keys, the binary knows.
pub type BackUp = Box<dyn Fn(PathBuf) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// What the door works with.
pub struct NativeParts {
    /// Management.
    pub control: Arc<dyn Control>,
    /// Calls.
    pub invoker: Arc<dyn Invoker>,
    /// Calls that outlive their caller; `None`: there are none here.
    pub deliveries: Option<Arc<dyn Deliveries>>,
    /// Schedules; `None`: there are none here.
    pub schedules: Option<Arc<dyn Schedules>>,
    /// Keys.
    pub keys: Arc<dyn Keys>,
    /// The server's version.
    pub version: &'static str,
    /// The largest code archive, in bytes.
    pub code_bytes: u64,
    /// Writes a complete backup into a directory.
    pub backup: BackUp,
    /// Set when the server stops: streams that follow something then end.
    pub stopping: Arc<AtomicBool>,
}

/// The native front door.
pub struct Native {
    state: Arc<State>,
    router: Router,
}

pub(crate) struct State {
    pub(crate) parts: NativeParts,
    pub(crate) started: jiff::Timestamp,
}

impl std::ops::Deref for State {
    type Target = NativeParts;

    fn deref(&self) -> &NativeParts {
        &self.parts
    }
}

impl State {
    /// Calls that outlive their caller, where this server makes them.
    fn deliveries(&self) -> Result<&dyn Deliveries, Error> {
        self.parts.deliveries.as_deref().ok_or_else(|| not_here("XB2016", "calls that outlive their caller"))
    }

    /// Schedules, where this server keeps them.
    fn schedules(&self) -> Result<&dyn Schedules, Error> {
        self.parts.schedules.as_deref().ok_or_else(|| not_here("XB2017", "schedules"))
    }
}

fn not_here(code: &'static str, what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, code, format!("{what} are not available on this server"))
}

impl Native {
    /// The door over the engine.
    pub fn new(parts: NativeParts) -> Self {
        let state = Arc::new(State { parts, started: jiff::Timestamp::now() });
        let router = router(Arc::clone(&state));
        Self { state, router }
    }
}

fn router(state: Arc<State>) -> Router {
    let functions = Router::new()
        .route("/functions", get(functions::list))
        .route("/functions/{name}", get(functions::read).put(functions::deploy).delete(functions::remove))
        .route("/functions/{name}/revisions", get(functions::revisions))
        .route("/functions/{name}/traffic", put(functions::set_traffic))
        .route("/functions/{name}/rollback", post(functions::rollback))
        .route("/functions/{name}/scale", post(functions::scale))
        .route("/functions/{name}/logs", get(observe::logs))
        .route("/code", post(functions::store_code).layer(DefaultBodyLimit::disable()));
    let rest = Router::new()
        .route("/events", get(observe::events))
        .route("/secrets", get(secrets::list))
        .route("/secrets/{name}", put(secrets::write).delete(secrets::remove))
        .route("/keys", get(keys::list).post(keys::issue))
        .route("/keys/{id}", axum::routing::delete(keys::revoke))
        .route("/environments", get(operate::environments))
        .route("/info", get(operate::info))
        .route("/collect-garbage", post(operate::collect_garbage))
        .route("/backup", post(operate::backup));
    let asynchronous = Router::new()
        .route("/functions/{name}/pause", post(queues::pause_function))
        .route("/functions/{name}/resume", post(queues::resume_function))
        .route("/queues", get(queues::list))
        .route("/pauses", get(queues::paused))
        .route("/queues/{name}/pause", post(queues::pause))
        .route("/queues/{name}/resume", post(queues::resume))
        .route("/messages", get(messages::list))
        .route("/messages/{id}", get(messages::show).delete(messages::cancel))
        .route("/messages/{id}/body", get(messages::body))
        .route("/dead-letters/redrive", post(messages::redrive))
        .route("/dead-letters/discard", post(messages::discard))
        .route("/schedules", get(schedules::list))
        .route("/schedules/{name}", get(schedules::read).put(schedules::write).delete(schedules::remove))
        .route("/schedules/{name}/pause", post(schedules::pause))
        .route("/schedules/{name}/resume", post(schedules::resume))
        .route("/schedules/{name}/fire", post(schedules::fire));
    let routes = functions
        .merge(asynchronous)
        .merge(invocations::routes())
        .merge(rest)
        .layer(DefaultBodyLimit::max(MANAGEMENT_BYTES))
        .with_state(state);
    Router::new().nest("/xebec/v1", routes).fallback(nothing_here)
}

async fn nothing_here(request: Request<axum::body::Body>) -> Response<axum::body::Body> {
    let error =
        Error::not_found("XB1006", format!("nothing is at {} {}", request.method(), request.uri().path()))
            .with_hint("docs/native-api.md lists what there is");
    errors::answer(&error).map(axum::body::Body::new)
}

#[async_trait]
impl Door for Native {
    fn name(&self) -> &'static str {
        DOOR
    }

    fn claims(&self) -> &[&'static str] {
        &[PREFIX]
    }

    fn access(&self, request: &Parts) -> Access {
        if invoke::target(request.uri.path()).is_some() { Access::Invocation } else { Access::Management }
    }

    fn refuse(&self, error: &Error) -> Response<Body> {
        let mut response = errors::answer(error);
        if error.kind == ErrorKind::Forbidden && error.code == "XB5001" {
            *response.status_mut() = http::StatusCode::UNAUTHORIZED;
            let realm = HeaderValue::from_static("Bearer realm=\"xebec\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }

    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        if invoke::target(request.uri().path()).is_some() {
            return invoke::call(&self.state, request).await;
        }
        match self.router.clone().oneshot(request.map(axum::body::Body::new)).await {
            Ok(response) => response.map(Body::stream),
            Err(never) => match never {},
        }
    }

    fn greeting(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut greeting = serde_json::Map::new();
        greeting.insert("xebec".into(), self.state.version.into());
        greeting
    }
}
