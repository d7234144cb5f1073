//! What every part of the engine has at hand.

use crate::{
    blanks::Blanks, engine::Contracts, events::Events, keeper::Keeper, log_hub::LogHub, metrics::Totals,
    options::EngineOptions, recorder::Recorder, tenants::Tenants, usage::Rounds,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use xebec_core::{
    environment::Environments,
    ports::{blobs::Blobs, clock::Clock, driver::Driver},
};

/// What every part of the engine has at hand.
pub(crate) struct Shared {
    pub(crate) options: EngineOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) drivers: Vec<Arc<dyn Driver>>,
    pub(crate) environments: Arc<dyn Environments>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) contracts: Contracts,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) logs: Arc<LogHub>,
    pub(crate) events: Events,
    pub(crate) tenants: Tenants,
    pub(crate) blanks: Blanks,
    pub(crate) keeper: Keeper,
    pub(crate) rounds: Rounds,
    pub(crate) totals: Totals,
    pub(crate) epoch: Instant,
}

impl Shared {
    /// Time since the engine was made: what the rules take as `now`.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The driver of that name.
    pub(crate) fn driver(&self, name: &str) -> Option<&Arc<dyn Driver>> {
        self.drivers.iter().find(|driver| driver.name() == name)
    }
}
