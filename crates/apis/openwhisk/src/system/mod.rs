//! The packages of `whisk.system`, and the API gateway.
//!
//! * `catalogue`: what is there, from the start · [`System`]: what makes it callable
//! * `utils`, `alarms`, `apimgmt`: what its actions do, as parts of the server; `samples` are code
//! * `answer`: what such parts are told, and how they answer

mod alarms;
mod answer;
mod apimgmt;
mod catalogue;
mod utils;

pub(crate) use apimgmt::{Apis, handle as gateway};
pub(crate) use catalogue::source_of;

use crate::{
    Shared,
    entities::PACKAGE,
    errors::Rejection,
    routes::actions,
    wire::{action::Action, exec::Exec},
};
use std::sync::{Arc, Weak};
use tokio::sync::OnceCell;
use xebec_core::{Body, Error, ErrorKind, document::Document, ports::builtin::Builtin};

/// Makes what is in `whisk.system` callable, once somebody uses the door at all: who never does has no functions
/// of it among their own.
#[derive(Default)]
pub(crate) struct System(OnceCell<()>);

impl System {
    /// Returns when it is. Where it cannot be, all else goes on without it, and the next request tries again.
    pub(crate) async fn ready(&self, shared: &Shared) {
        if let Err(rejection) = self.0.get_or_try_init(|| Box::pin(install(shared))).await {
            tracing::warn!(why = %rejection.message, "what is in whisk.system cannot be called");
        }
    }
}

/// What the parts of the server are registered as with what runs them.
pub(crate) fn builtins(shared: &Arc<Shared>) -> Vec<(&'static str, Arc<dyn Builtin>)> {
    // The engine holds these, and they reach the engine.
    let weak = || Arc::downgrade(shared);
    vec![
        (utils::UTILS, Arc::new(utils::Utils { api_host: shared.options.api_host.clone() })),
        (alarms::FEEDS, Arc::new(alarms::Feeds { shared: weak() })),
        (alarms::ALARMS, Arc::new(alarms::Alarms { shared: weak() })),
        (apimgmt::APIMGMT, Arc::new(apimgmt::Apimgmt { shared: weak() })),
    ]
}

async fn install(shared: &Shared) -> Result<(), Rejection> {
    for package in catalogue::packages() {
        let spec = serde_json::to_value(&package);
        let spec = spec.map_err(|error| Error::internal("XB4003", error.to_string()))?;
        let document = Document::new(PACKAGE, package.namespace.as_str(), &package.name, spec);
        shared.entities.apply(document);
    }
    let all = catalogue::actions();
    let changed = all.iter().filter(|action| {
        shared
            .entities
            .one::<Action>(&action.namespace, &action.full_name().local())
            .is_none_or(|there| *there != **action)
    });
    // Together, so that their writes share what they wait for.
    let installed = futures_util::future::join_all(changed.map(|action| one(shared, action))).await;
    installed.into_iter().collect()
}

async fn one(shared: &Shared, action: &Action) -> Result<(), Rejection> {
    if let (Exec::Code { .. }, Some(source)) = (&action.exec, source_of(&action.full_name())) {
        shared.control.put_code(Body::full(source)).await?;
    }
    match actions::deploy(shared, action, None, None).await {
        Err(rejection) if matches!(action.exec, Exec::Code { .. }) => {
            // Samples need a language that this machine may not have; all else goes on without them.
            tracing::info!(action = %action.full_name(), why = %rejection.message, "a sample is left out");
            Ok(())
        }
        deployed => deployed,
    }
}

/// The door, as long as it is there.
fn shared(weak: &Weak<Shared>) -> Result<Arc<Shared>, Error> {
    let stopping = || Error::new(ErrorKind::Unavailable, "XB2010", "the server is stopping");
    weak.upgrade().ok_or_else(stopping)
}
