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

use crate::{DOOR, describe, errors};
use async_trait::async_trait;
use axum::{Router, extract::DefaultBodyLimit};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, header, request::Parts};
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};
use tower::ServiceExt as _;
use utoipa_axum::{router::OpenApiRouter, routes};
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
    /// The description, as it is served; made when it is first asked for.
    pub(crate) description: OnceLock<bytes::Bytes>,
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
        let state = Arc::new(State { parts, started: jiff::Timestamp::now(), description: OnceLock::new() });
        let router = router(Arc::clone(&state));
        Self { state, router }
    }
}

/// All routes with what they say of themselves. There is no other way to add one.
pub(crate) fn documented() -> OpenApiRouter<Arc<State>> {
    let code = OpenApiRouter::new().routes(routes!(functions::store_code)).layer(DefaultBodyLimit::disable());
    let functions = OpenApiRouter::new()
        .routes(routes!(functions::list))
        .routes(routes!(functions::read, functions::deploy, functions::remove))
        .routes(routes!(functions::revisions))
        .routes(routes!(functions::set_traffic))
        .routes(routes!(functions::rollback))
        .routes(routes!(functions::scale))
        .routes(routes!(observe::logs))
        .merge(code);
    let rest = OpenApiRouter::new()
        .routes(routes!(observe::events))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::write, secrets::remove))
        .routes(routes!(keys::list, keys::issue))
        .routes(routes!(keys::revoke))
        .routes(routes!(operate::environments))
        .routes(routes!(operate::info))
        .routes(routes!(operate::description))
        .routes(routes!(operate::collect_garbage))
        .routes(routes!(operate::backup));
    let asynchronous = OpenApiRouter::new()
        .routes(routes!(queues::pause_function))
        .routes(routes!(queues::resume_function))
        .routes(routes!(queues::list))
        .routes(routes!(queues::paused))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(messages::list))
        .routes(routes!(messages::show, messages::cancel))
        .routes(routes!(messages::body))
        .routes(routes!(messages::redrive))
        .routes(routes!(messages::discard))
        .routes(routes!(schedules::list))
        .routes(routes!(schedules::read, schedules::write, schedules::remove))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::fire));
    let routes = functions
        .merge(asynchronous)
        .merge(invocations::routes())
        .merge(rest)
        .layer(DefaultBodyLimit::max(MANAGEMENT_BYTES));
    let mut all = OpenApiRouter::new().nest("/xebec/v1", routes);
    all.get_openapi_mut().paths.merge(invoke::paths());
    all
}

fn router(state: Arc<State>) -> Router {
    let (routes, _) = documented().split_for_parts();
    routes.with_state(state).method_not_allowed_fallback(not_for_this).fallback(nothing_here)
}

/// Whether a path, or a template of one, is that of a call.
pub(crate) fn is_call(path: &str) -> bool {
    invoke::target(path).is_some()
}

async fn not_for_this(request: Request<axum::body::Body>) -> Response<axum::body::Body> {
    let (method, path) = (request.method(), request.uri().path());
    let error = Error::invalid("XB1006", format!("{method} is not for {path}"))
        .with_hint("the answer's Allow header names what is");
    let mut response = errors::answer(&error).map(axum::body::Body::new);
    *response.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
    response
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
        match request.uri.path() {
            path if is_call(path) => Access::Invocation,
            path if describe::is_here(path) => Access::Open,
            _ => Access::Management,
        }
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

#[cfg(test)]
mod tests {
    use super::documented;
    use std::collections::BTreeSet;

    /// The paths that axum matches, which only its `Debug` tells.
    fn matched(router: &axum::Router<std::sync::Arc<super::State>>) -> BTreeSet<String> {
        let printed = format!("{router:?}");
        let paths = printed.split("RouteId(").skip(1).filter_map(|after| {
            let (_, text) = after.split_once("): \"")?;
            text.split_once('"').map(|(path, _)| path.to_owned())
        });
        paths.filter(|path| path.starts_with("/xebec/")).collect()
    }

    #[test]
    fn every_route_is_described_and_every_description_is_a_route() {
        let (router, described) = documented().split_for_parts();
        let described: BTreeSet<String> = described.paths.paths.into_keys().collect();
        let (calls, described): (BTreeSet<_>, BTreeSet<_>) =
            described.into_iter().partition(|path| super::is_call(path));
        assert_eq!(matched(&router), described);
        // Those are answered before the router is asked.
        let expected = ["/xebec/v1/functions/{name}/invoke", "/xebec/v1/functions/{name}/invoke/{path}"];
        assert_eq!(calls.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
}
