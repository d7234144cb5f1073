//! The OpenFaaS front door: what `faas-cli`, the SDKs, connectors and dashboards of OpenFaaS speak.
//!
//! Functions are deployed under `/system/…` and called under `/function/<name>[.<namespace>]`. What other
//! doors put into that space is callable here, too.
//!
//! * [`wire`]: what is sent and received · [`names`], [`quantity`]: pure parsers
//! * `translate`: `FunctionDeployment` → deployment
//! * `call`: `/function/…`, the hot path · `async_call`: `/async-function/…` · `routes`: `/system/…`
//! * `errors`: outcome and error → status and body, and nowhere else · `metrics`: the gateway's series

mod async_call;
mod call;
mod errors;
mod metrics;
mod routes;
mod translate;

pub mod names;
pub mod quantity;
pub mod wire;

pub use translate::deployment;

use async_trait::async_trait;
use http::{HeaderValue, Request, Response, request::Parts};
use std::sync::Arc;
use xebec_core::{
    Body, Error,
    auth::Access,
    ports::{control::Control, deliveries::Deliveries, door::Door, invoker::Invoker},
};

/// The door's name, as functions deployed through it carry it in their key.
pub const DOOR: &str = "openfaas";

/// What is called, deployed through whichever door.
const CALLS: &str = "/function/";
/// Calls that are answered before they are made.
const ASYNC_CALLS: &str = "/async-function/";
/// Management.
const SYSTEM: &str = "/system/";

/// What the door tells about the server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's version, e.g. `0.1.0`.
    pub version: String,
    /// The commit it was built from; empty: unknown.
    pub commit: String,
    /// What runs the functions, e.g. `embedded`.
    pub orchestration: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: String::new(),
            orchestration: "embedded".to_owned(),
        }
    }
}

/// The front door.
pub struct OpenFaas {
    control: Arc<dyn Control>,
    invoker: Arc<dyn Invoker>,
    deliveries: Option<Arc<dyn Deliveries>>,
    options: Options,
    metrics: metrics::Metrics,
    served_by: HeaderValue,
}

impl OpenFaas {
    /// A door to what `control` manages and `invoker` calls.
    pub fn new(control: Arc<dyn Control>, invoker: Arc<dyn Invoker>, options: Options) -> Self {
        let served_by = HeaderValue::try_from(format!("xebec/{}", options.version))
            .unwrap_or_else(|_| HeaderValue::from_static("xebec"));
        Self { control, invoker, deliveries: None, options, metrics: metrics::Metrics::new(), served_by }
    }

    /// The same, with calls that are answered before they are made; without, they are refused with 501.
    #[must_use]
    pub fn with_deliveries(self, deliveries: Arc<dyn Deliveries>) -> Self {
        Self { deliveries: Some(deliveries), ..self }
    }
}

#[async_trait]
impl Door for OpenFaas {
    fn name(&self) -> &'static str {
        DOOR
    }

    fn claims(&self) -> &[&'static str] {
        &[CALLS, ASYNC_CALLS, SYSTEM]
    }

    fn access(&self, request: &Parts) -> Access {
        if request.uri.path().starts_with(SYSTEM) { Access::Management } else { Access::Invocation }
    }

    fn refuse(&self, error: &Error) -> Response<Body> {
        errors::refused(error)
    }

    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        if path.starts_with(CALLS) {
            self.call(request).await
        } else if path.starts_with(SYSTEM) {
            // Boxed: calls must not carry the size of the management routes.
            Box::pin(self.system(request)).await
        } else if path.starts_with(ASYNC_CALLS) {
            Box::pin(self.async_call(request)).await
        } else {
            errors::no_such_route()
        }
    }

    fn metrics(&self, out: &mut String) {
        self.metrics.write(out, |address| {
            let key = self.control.at(address)?;
            let live = self.control.function(&key)?.live;
            Some(live.ready + live.starting)
        });
    }
}
