//! The engine itself: what it holds, and what it is made of.

use crate::{
    active::{Active, serving},
    blanks::Blanks,
    documents,
    events::Events,
    functions::Functions,
    garbage::{self, Pins},
    keeper::{self, Keeper},
    log_hub::LogHub,
    metrics::Totals,
    options::EngineParts,
    pool::{Pool, PoolParts},
    recorder::Recorder,
    secrets::Vault,
    shared::Shared,
    tenants::Tenants,
    usage::Rounds,
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    sync::{OwnedMutexGuard, RwLock},
    task::JoinHandle,
    time::Instant,
};
use xebec_contracts::Contract;
use xebec_core::{
    Digest, Error, FunctionKey, Tenant,
    environment::Environment,
    error::ErrorKind,
    ports::{driver::Driver, store::Store},
    revision::{Revision, RevisionSpec},
};

/// The contracts, by name.
pub type Contracts = fn(&str) -> Option<Arc<dyn Contract>>;

/// Runs functions: takes calls, starts instances for them, records what happened; and manages what is
/// deployed.
pub struct Engine {
    pub(crate) this: Weak<Self>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) functions: Functions,
    pub(crate) vault: Vault,
    pub(crate) pins: Arc<Pins>,
    /// Whoever stores a function reads, whoever changes secrets writes: none is deleted under a deploy.
    pub(crate) secrets_turn: RwLock<()>,
    /// Held while a function of a tenant with a bound on their number is stored.
    pub(crate) quota_turn: tokio::sync::Mutex<()>,
    /// Held while garbage is collected, and while a backup is written.
    pub(crate) cleaning: tokio::sync::Mutex<()>,
    turns: Mutex<HashMap<FunctionKey, Weak<tokio::sync::Mutex<()>>>>,
    stopping: AtomicBool,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// An engine with nothing in it yet; [`Engine::resume`] brings what is stored. Must be called within a
    /// tokio runtime.
    pub fn new(parts: EngineParts) -> Arc<Self> {
        Self::with_contracts(parts, xebec_contracts::contract)
    }

    /// The same, with contracts of one's own.
    pub fn with_contracts(parts: EngineParts, contracts: Contracts) -> Arc<Self> {
        let bound = parts.options.write_behind;
        let shared = Arc::new(Shared {
            tenants: Tenants::new(&parts.options),
            options: parts.options,
            events: Events::new(parts.clock.clone()),
            clock: parts.clock,
            drivers: parts.drivers,
            environments: parts.environments,
            blobs: parts.blobs,
            contracts,
            recorder: Arc::new(Recorder::new(parts.records, bound)),
            logs: Arc::new(LogHub::new(parts.logs, bound)),
            blanks: Blanks::default(),
            keeper: Keeper::default(),
            rounds: Rounds::default(),
            totals: Totals::default(),
            epoch: Instant::now(),
        });
        let engine = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            shared: shared.clone(),
            store: parts.store,
            functions: Functions::new(),
            vault: Vault::new(parts.secret_key),
            pins: Arc::default(),
            secrets_turn: RwLock::default(),
            quota_turn: tokio::sync::Mutex::default(),
            cleaning: tokio::sync::Mutex::default(),
            turns: Mutex::default(),
            stopping: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        engine.run(shared.recorder.clone().write_behind(shared.options.record_retention));
        engine.run(shared.logs.clone().write_behind(shared.options.log_retention));
        engine.run(keeper::keep(shared));
        engine.run(garbage::collect_regularly(engine.this.clone()));
        engine
    }

    /// Runs a task for as long as the engine is there.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().push(tokio::spawn(task));
    }

    /// Ends the tasks in the background.
    pub(crate) fn end_tasks(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }

    /// Whether no more calls are taken.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn stop_taking_calls(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Changes of one function go one after the other.
    pub(crate) async fn turn(&self, key: &FunctionKey) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock();
            if turns.len() > 1024 {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            match turns.get(key).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    let turn = Arc::new(tokio::sync::Mutex::new(()));
                    turns.insert(key.clone(), Arc::downgrade(&turn));
                    turn
                }
            }
        };
        turn.lock_owned().await
    }

    /// Does what must not stop in the middle, though the caller may go away: disk and memory would differ.
    pub(crate) async fn whole<T, F>(&self, work: impl FnOnce(Arc<Self>) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let engine = self.this.upgrade().ok_or_else(stopped)?;
        tokio::spawn(work(engine)).await.map_err(|_| stopped())?
    }

    /// A revision of a tenant.
    pub(crate) async fn load_revision(
        &self,
        tenant: &Tenant,
        digest: &Digest,
    ) -> Result<Option<RevisionSpec>, Error> {
        let document = self.store.get(&documents::revision_key(tenant, digest)).await?;
        document.as_ref().map(documents::revision_spec).transpose()
    }

    /// The environment of that name.
    pub(crate) fn find_environment(&self, name: &str) -> Result<Arc<Environment>, Error> {
        self.shared.environments.environment(name).ok_or_else(|| {
            let known = self.shared.environments.names().join(", ");
            Error::new(ErrorKind::Refused, "XB2004", format!("there is no environment {name:?}"))
                .with_hint(format!("there are: {known}"))
        })
    }

    /// The driver of an environment.
    pub(crate) fn find_driver(&self, environment: &Environment) -> Result<Arc<dyn Driver>, Error> {
        self.shared.driver(&environment.driver).cloned().ok_or_else(|| {
            let message = format!(
                "the environment {:?} needs the driver {:?}, which this server does not have",
                environment.name, environment.driver
            );
            Error::new(ErrorKind::Refused, "XB2004", message)
        })
    }

    /// The contract of that name.
    pub(crate) fn find_contract(&self, name: &str) -> Result<Arc<dyn Contract>, Error> {
        (self.shared.contracts)(name)
            .ok_or_else(|| Error::invalid("XB1003", format!("there is no contract {name:?}")))
    }

    /// Makes the pool of a function's revision, unless someone else just did.
    pub(crate) async fn open_pool(&self, active: &Arc<Active>, revision: Digest) -> Result<Arc<Pool>, Error> {
        let _opening = active.opening.lock().await;
        if let Some(pool) = active.pool(&revision) {
            return Ok(pool);
        }
        let key = &active.key;
        let gone = || Error::not_found("XB2002", format!("there is no function {:?}", key.name));
        let spec = self.load_revision(&key.tenant, &revision).await?.ok_or_else(gone)?;
        let environment = self.find_environment(&spec.environment)?;
        let contract = self.find_contract(&spec.contract.name)?;
        let driver = self.find_driver(&environment)?;
        let secrets = self.open_secrets(&key.tenant, &spec.secrets).await?;
        // Looked up last: policy and traffic as they are now.
        let deployed = self.functions.get(key).ok_or_else(gone)?;
        let pool = Pool::new(PoolParts {
            shared: self.shared.clone(),
            key: key.clone(),
            revision: Arc::new(Revision { digest: revision, spec }),
            environment,
            contract,
            driver,
            secrets,
            active: Arc::downgrade(active),
            serving: serving(Some(&deployed.function), &revision),
        });
        active.add(pool.clone());
        Ok(pool)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "XB2010", "the server is stopping")
}
