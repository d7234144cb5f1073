//! The OpenWhisk front door: what `wsk`, `wskdeploy`, the SDKs and plugins of OpenWhisk speak.
//!
//! Everything that runs is a function: an action, a sequence, a trigger. What has nothing to run, packages and
//! rules, are documents of this door's own kinds.
//!
//! * [`wire`]: what is sent, received and stored · `kinds`: which kinds of actions there are, and what runs them
//! * `entities`: all of it in memory, so that calls read no store · `caller`: who asks, and as which namespace
//! * `routes`: management · `invoke`, `fire`, `web`: calls · `activations`: what became of them
//! * `translate`: action → deployment · `steps`: what sequences and conductors are made of
//! * `throttle`: how often and how many at a time · `payload`: what actions are called with
//! * `system`: the packages of `whisk.system`, and the API gateway
//! * `errors`, `outcome`: outcome and error → status and body, and nowhere else

mod activations;
mod caller;
mod entities;
mod errors;
mod fire;
mod invoke;
mod kinds;
mod limits;
mod merge;
mod outcome;
mod payload;
mod routes;
mod steps;
mod system;
mod throttle;
mod translate;
mod turns;
mod web;

pub mod wire;

pub use throttle::Throttle;

use async_trait::async_trait;
use entities::Entities;
use http::{Request, Response, request::Parts as Head};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use turns::Turns;
use xebec_core::{
    Body, Error,
    auth::{Access, Keys},
    ports::{
        builtin::Builtin, control::Control, deliveries::Deliveries, door::Door, invoker::Invoker,
        records::Records, schedules::Schedules, store::Store,
    },
};
use xebec_flows::{Bounds, Flows, Journal, Ports};

/// The door's name, as functions deployed through it carry it in their key.
pub const DOOR: &str = "openwhisk";

/// Management and calls.
const API: &str = "/api/v1/";
/// The same, without its slash: what the API is.
const API_ROOT: &str = "/api/v1";
/// Routes of the API gateway.
const GATEWAY: &str = "/api/";
/// Web actions.
const WEB: &str = "/api/v1/web/";
/// Asked by those who look whether a controller is alive.
const PING: &str = "/ping";
/// What runs actions, as administrators ask for it.
const INVOKERS: &str = "/invokers";

/// What the door stands on.
pub struct Parts {
    /// Where functions are deployed.
    pub control: Arc<dyn Control>,
    /// Where they are called.
    pub invoker: Arc<dyn Invoker>,
    /// Where calls are accepted that outlive their caller.
    pub deliveries: Arc<dyn Deliveries>,
    /// What fires alarms.
    pub schedules: Arc<dyn Schedules>,
    /// Where packages and rules are kept.
    pub store: Arc<dyn Store>,
    /// What became of calls.
    pub records: Arc<dyn Records>,
    /// Where calls are written down that outlive the caller who waited for them: the one of the flows.
    pub journal: Arc<Journal>,
    /// Who may do what.
    pub keys: Arc<dyn Keys>,
    /// What namespaces do just now: the one whose [`Throttle::counted`] the deliveries call through.
    pub throttle: Arc<Throttle>,
    /// What is configured.
    pub options: Options,
}

/// What is configured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's version, e.g. `0.1.0`.
    pub version: String,
    /// When it was built, as the API says it.
    pub build: String,
    /// Where actions reach this door, as `__OW_API_HOST` tells them, e.g. `http://127.0.0.1:8080`.
    pub api_host: String,
    /// What namespaces may do that have no limits of their own.
    pub limits: wire::limits::SystemLimits,
    /// How long a caller waits at most for a call; past it, the call goes on without them.
    pub wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: String::new(),
            api_host: "http://127.0.0.1:8080".to_owned(),
            limits: wire::limits::SystemLimits::default(),
            wait: Duration::from_secs(60),
        }
    }
}

/// The front door.
pub struct OpenWhisk {
    shared: Arc<Shared>,
    watching: JoinHandle<()>,
}

/// What all parts of the door use, and tasks that outlive a request hold on to.
pub(crate) struct Shared {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) invoker: Arc<dyn Invoker>,
    pub(crate) deliveries: Arc<dyn Deliveries>,
    pub(crate) schedules: Arc<dyn Schedules>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) options: Options,
    /// What is deployed, in memory.
    pub(crate) entities: Arc<Entities>,
    /// What namespaces do just now.
    pub(crate) throttle: Arc<Throttle>,
    /// Changes of one thing come one after the other.
    pub(crate) turns: Turns,
    /// The routes of the API gateway.
    pub(crate) apis: system::Apis,
    /// What comes with the server.
    pub(crate) system: system::System,
}

impl OpenWhisk {
    /// A door to what `parts` manage and call; reads what is deployed. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open(parts: Parts) -> Result<Self, Error> {
        let Parts {
            control,
            invoker,
            deliveries,
            schedules,
            store,
            records,
            journal,
            keys,
            throttle,
            options,
        } = parts;
        let entities = Arc::new(Entities::default());
        let version = entities.load(store.as_ref()).await?;
        let watching = tokio::spawn(entities::watch(Arc::clone(&entities), Arc::clone(&store), version));
        let shared = Shared {
            control,
            invoker,
            deliveries,
            schedules,
            store,
            records,
            journal,
            keys,
            options,
            entities,
            throttle,
            turns: Turns::default(),
            apis: system::Apis::default(),
            system: system::System::default(),
        };
        Ok(Self { shared: Arc::new(shared), watching })
    }

    /// The code of its functions that are part of the server, by name: to be made known to the builtin driver
    /// before the first request.
    pub fn builtins(&self) -> Vec<(&'static str, Arc<dyn Builtin>)> {
        let ports =
            Ports { invoker: Arc::clone(&self.shared.invoker), journal: Arc::clone(&self.shared.journal) };
        let steps = Arc::new(steps::OfDoor(Arc::downgrade(&self.shared)));
        let limits = &self.shared.options.limits;
        let steps_at_most = u32::try_from(limits.sequence_length).unwrap_or(u32::MAX);
        let flows = Flows::new(ports, steps, Bounds { steps: steps_at_most, ..Bounds::default() });
        let triggers: Arc<dyn Builtin> = Arc::new(fire::Triggers(Arc::downgrade(&self.shared)));
        let mut builtins = vec![
            (translate::CHAIN, flows.chain()),
            (translate::CONDUCT, flows.conduct()),
            (translate::TRIGGER, triggers),
        ];
        builtins.extend(system::builtins(&self.shared));
        builtins
    }
}

impl Drop for OpenWhisk {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

#[async_trait]
impl Door for OpenWhisk {
    fn name(&self) -> &'static str {
        DOOR
    }

    fn claims(&self) -> &[&'static str] {
        &[API, API_ROOT, GATEWAY, PING, INVOKERS, "/invokers/"]
    }

    /// The door judges for itself, by namespace and collection: a key that may only call may read what became
    /// of its calls, and pages of other origins may come with a key of their own.
    fn access(&self, request: &Head) -> Access {
        match request.uri.path() {
            PING => Access::Open,
            _ => Access::Invocation,
        }
    }

    fn refuse(&self, error: &Error) -> Response<Body> {
        routes::refused(error)
    }

    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        self.shared.system.ready(&self.shared).await;
        let path = request.uri().path();
        if path.starts_with(WEB) {
            web::handle(&self.shared, request).await
        } else if path.starts_with(API) || path == API_ROOT {
            // Boxed: the routes of management are large.
            Box::pin(routes::handle(&self.shared, request)).await
        } else if path.starts_with(GATEWAY) {
            Box::pin(system::gateway(&self.shared, request)).await
        } else {
            routes::admin(request)
        }
    }

    fn greeting(&self) -> serde_json::Map<String, serde_json::Value> {
        routes::info::greeting(&self.shared)
    }
}
