//! The OpenFaaS front door: what `faas-cli`, the SDKs, connectors and dashboards of OpenFaaS speak.
//!
//! Functions are deployed under `/system/…` and called under `/function/<name>[.<namespace>]`. What other
//! doors put into that space is callable here, too.
//!
//! * [`wire`]: what is sent and received · [`names`], [`quantity`]: pure parsers
//! * `translate`: `FunctionDeployment` → deployment
//! * `call`: `/function/…`, the hot path · `async_call`: `/async-function/…` · `routes`: `/system/…`
//! * `oauth`, `tokens`: `/oauth/token`, for functions that not everyone may call
//! * `stepping`: the free edition's own scaling
//! * `errors`: outcome and error → status and body, and nowhere else · `metrics`: the gateway's series

mod async_call;
mod call;
mod counted;
mod errors;
mod metrics;
mod oauth;
mod routes;
mod stepping;
mod tokens;
mod translate;

pub mod names;
pub mod quantity;
pub mod wire;

pub use translate::deployment;

use async_trait::async_trait;
use http::{HeaderValue, Request, Response, request::Parts};
use metrics::{Figures, usage::Used};
use names::namespace_of;
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tokio::task::JoinHandle;
use xebec_core::{
    Body, Error,
    auth::{Access, Keys},
    message::Target,
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
/// Keys become tokens that call.
const TOKEN: &str = "/oauth/token";
/// Where the original has its web page.
const PAGE: &str = "/ui/";

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
    exchange: Option<oauth::Exchange>,
    options: Options,
    metrics: Arc<metrics::Metrics>,
    stepping: Option<JoinHandle<()>>,
    served_by: HeaderValue,
}

impl OpenFaas {
    /// A door to what `control` manages and `invoker` calls.
    pub fn new(control: Arc<dyn Control>, invoker: Arc<dyn Invoker>, options: Options) -> Self {
        let served_by = HeaderValue::try_from(format!("xebec/{}", options.version))
            .unwrap_or_else(|_| HeaderValue::from_static("xebec"));
        Self {
            control,
            invoker,
            deliveries: None,
            exchange: None,
            options,
            metrics: Arc::new(metrics::Metrics::new()),
            stepping: None,
            served_by,
        }
    }

    /// The same, with calls that are answered before they are made; without, they are refused with 501.
    #[must_use]
    pub fn with_deliveries(mut self, deliveries: Arc<dyn Deliveries>) -> Self {
        self.deliveries = Some(deliveries);
        self
    }

    /// The same, scaling functions without scaling labels as OpenFaaS' free edition does, on top of how the
    /// engine scales all. Must be called within a tokio runtime.
    #[must_use]
    pub fn with_steps(mut self) -> Self {
        let stepping = stepping::look_regularly(self.control.clone(), self.metrics.clone());
        self.stepping = Some(tokio::spawn(stepping));
        self
    }

    /// What calls that were accepted to be made later are to be made through, so that they are counted as they
    /// end, too.
    pub fn counted(&self) -> Arc<dyn Invoker> {
        Arc::new(counted::Counted {
            control: self.control.clone(),
            invoker: self.invoker.clone(),
            metrics: self.metrics.clone(),
        })
    }

    /// The same, with tokens for keys; `secret` is the installation's, so that tokens outlive a restart.
    /// Without, they are refused with 501.
    #[must_use]
    pub fn with_keys(mut self, keys: Arc<dyn Keys>, secret: &[u8; 32]) -> Self {
        self.exchange = Some(oauth::Exchange { keys, tokens: tokens::Tokens::new(secret) });
        self
    }
}

impl Drop for OpenFaas {
    fn drop(&mut self) {
        if let Some(stepping) = &self.stepping {
            stepping.abort();
        }
    }
}

#[async_trait]
impl Door for OpenFaas {
    fn name(&self) -> &'static str {
        DOOR
    }

    fn claims(&self) -> &[&'static str] {
        &[CALLS, ASYNC_CALLS, SYSTEM, TOKEN, PAGE]
    }

    fn access(&self, request: &Parts) -> Access {
        match request.uri.path() {
            path if path.starts_with(SYSTEM) => Access::Management,
            path if path.starts_with(PAGE) => Access::Open,
            _ => Access::Invocation,
        }
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
            Box::pin(self.served(request, true)).await
        } else if path.starts_with(ASYNC_CALLS) {
            Box::pin(self.served(request, false)).await
        } else if path == TOKEN {
            Box::pin(self.token(request)).await
        } else if path.starts_with(PAGE) {
            errors::moved("/")
        } else {
            errors::no_such_route()
        }
    }

    fn metrics(&self, out: &mut String) {
        self.metrics.write(out, |address| {
            let key = self.control.at(address)?;
            Some(Figures::of(&self.control.function(&key)?))
        });
        self.metrics.queues.write(out, self.waiting());
        metrics::usage::write(out, &self.used());
    }
}

impl OpenFaas {
    /// Answers what the server itself is asked, and counts it.
    async fn served(&self, request: Request<Body>, manages: bool) -> Response<Body> {
        let since = Instant::now();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let response = if manages { self.system(request).await } else { self.async_call(request).await };
        self.metrics.requests.answered(&method, uri.path(), response.status(), since.elapsed());
        response
    }

    /// How many calls wait for this door's functions, by queue.
    fn waiting(&self) -> BTreeMap<String, u64> {
        let lanes = self.deliveries.iter().flat_map(|deliveries| deliveries.queues_lately());
        let mut waiting = BTreeMap::new();
        for lane in lanes {
            if matches!(&lane.lane.target, Target::Function(key) if key.door == DOOR) {
                *waiting.entry(lane.lane.queue.to_string()).or_default() += lane.waiting;
            }
        }
        waiting
    }

    /// What this door's functions use.
    fn used(&self) -> Vec<Used> {
        let of_door = self.control.usages().into_iter().filter(|(key, _)| key.door == DOOR);
        of_door
            .map(|(key, usage)| (key.name.to_string(), namespace_of(&key.tenant).to_owned(), usage))
            .collect()
    }
}
