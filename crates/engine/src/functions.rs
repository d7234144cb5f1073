//! What is deployed, in memory: small, since there may be very many.

use crate::active::Active;
use arc_swap::ArcSwapOption;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use xebec_core::{
    Digest, Error, FunctionKey, Tenant,
    error::ErrorKind,
    function::{Function, FunctionView, Live},
    names::Address,
    rules::keep_alive::Gaps,
};

const SHARDS: usize = 16;

/// A function as it was last deployed. Replaced whole by every change.
pub(crate) struct Deployed {
    pub(crate) function: Arc<Function>,
    /// The environment of its newest revision.
    pub(crate) environment: Arc<str>,
    /// What outlives changes.
    pub(crate) standing: Arc<Standing>,
}

/// What a function has for as long as it is deployed.
#[derive(Default)]
pub(crate) struct Standing {
    /// What it has while it is in use.
    pub(crate) active: ArcSwapOption<Active>,
    pub(crate) invocations: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) cold_starts: AtomicU64,
    /// What was learnt of when it is called.
    pub(crate) gaps: Mutex<Option<Box<Gaps>>>,
}

impl Deployed {
    /// The function and how it is doing.
    pub(crate) fn view(&self) -> FunctionView {
        let mut live = Live {
            invocations: self.standing.invocations.load(Ordering::Relaxed),
            failures: self.standing.failures.load(Ordering::Relaxed),
            cold_starts: self.standing.cold_starts.load(Ordering::Relaxed),
            ..Live::default()
        };
        if let Some(active) = &*self.standing.active.load() {
            active.add_to(&mut live);
        }
        FunctionView { function: Function::clone(&self.function), live }
    }
}

/// What is deployed.
pub(crate) struct Functions {
    shards: [RwLock<HashMap<FunctionKey, Arc<Deployed>>>; SHARDS],
    hasher: RandomState,
    addresses: RwLock<HashMap<Address, FunctionKey>>,
    /// A tenant that has it, for the newest revision of each function.
    newest: RwLock<HashMap<Digest, Tenant>>,
    /// Names of environments, each once.
    environments: Mutex<HashMap<Box<str>, Arc<str>>>,
}

impl Functions {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::new(),
            addresses: RwLock::default(),
            newest: RwLock::default(),
            environments: Mutex::default(),
        }
    }

    fn shard(&self, key: &FunctionKey) -> &RwLock<HashMap<FunctionKey, Arc<Deployed>>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// The function of that key.
    pub(crate) fn get(&self, key: &FunctionKey) -> Option<Arc<Deployed>> {
        self.shard(key).read().get(key).cloned()
    }

    /// Puts a function in place of what was there. Its addresses were claimed before.
    pub(crate) fn put(&self, deployed: Deployed) -> Arc<Deployed> {
        let deployed = Arc::new(deployed);
        let key = deployed.function.key.clone();
        if let Some(newest) = deployed.function.latest() {
            self.newest.write().insert(newest.digest, key.tenant.clone());
        }
        let before = self.shard(&key).write().insert(key, deployed.clone());
        if let Some(before) = before.as_deref().and_then(|before| before.function.latest())
            && Some(before) != deployed.function.latest()
        {
            self.newest.write().remove(&before.digest);
        }
        deployed
    }

    /// Takes a function out, its addresses too.
    pub(crate) fn remove(&self, key: &FunctionKey) -> Option<Arc<Deployed>> {
        let removed = self.shard(key).write().remove(key);
        if let Some(removed) = &removed {
            self.release(key, &removed.function.addresses, &[]);
            if let Some(newest) = removed.function.latest() {
                self.newest.write().remove(&newest.digest);
            }
        }
        removed
    }

    /// A tenant one of whose functions has a revision.
    pub(crate) fn tenant_of(&self, revision: &Digest) -> Option<Tenant> {
        if let Some(tenant) = self.newest.read().get(revision) {
            return Some(tenant.clone());
        }
        // An older one, or one that several functions have: rarely asked for, so not indexed.
        self.shards.iter().find_map(|shard| {
            let shard = shard.read();
            let found = shard.values().find(|deployed| deployed.function.revision(revision).is_some());
            found.map(|deployed| deployed.function.key.tenant.clone())
        })
    }

    /// Functions, sorted by key.
    pub(crate) fn select(&self, tenant: Option<&Tenant>, door: Option<&str>) -> Vec<Arc<Deployed>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            let wanted = shard.values().filter(|deployed| {
                let key = &deployed.function.key;
                tenant.is_none_or(|tenant| *tenant == key.tenant) && door.is_none_or(|door| door == key.door)
            });
            found.extend(wanted.cloned());
        }
        found.sort_unstable_by(|a, b| a.function.key.cmp(&b.function.key));
        found
    }

    /// How many functions a tenant has.
    pub(crate) fn count(&self, tenant: &Tenant) -> usize {
        let of = |shard: &RwLock<HashMap<FunctionKey, Arc<Deployed>>>| {
            shard.read().keys().filter(|key| key.tenant == *tenant).count()
        };
        self.shards.iter().map(of).sum()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Whether any function's newest revision has this environment.
    pub(crate) fn uses_environment(&self, name: &str) -> bool {
        self.shards.iter().any(|shard| shard.read().values().any(|deployed| &*deployed.environment == name))
    }

    /// Who has an address.
    pub(crate) fn at(&self, address: &Address) -> Option<FunctionKey> {
        self.addresses.read().get(address).cloned()
    }

    /// Claims addresses for a function, all or none.
    ///
    /// # Errors
    /// `XB2003`, naming who has one of them.
    pub(crate) fn claim(&self, key: &FunctionKey, wanted: &[Address]) -> Result<(), Error> {
        let mut addresses = self.addresses.write();
        for address in wanted {
            if let Some(owner) = addresses.get(address).filter(|owner| *owner != key) {
                return Err(taken(address, owner));
            }
        }
        for address in wanted {
            addresses.entry(address.clone()).or_insert_with(|| key.clone());
        }
        Ok(())
    }

    /// Gives back those of `held` that are the function's, but for those in `keep`.
    pub(crate) fn release(&self, key: &FunctionKey, held: &[Address], keep: &[Address]) {
        let mut addresses = self.addresses.write();
        for address in held.iter().filter(|address| !keep.contains(address)) {
            if addresses.get(address) == Some(key) {
                addresses.remove(address);
            }
        }
    }

    /// One copy of an environment's name.
    pub(crate) fn environment_name(&self, name: &str) -> Arc<str> {
        let mut names = self.environments.lock();
        if let Some(name) = names.get(name) {
            return name.clone();
        }
        let shared: Arc<str> = name.into();
        names.insert(name.into(), shared.clone());
        shared
    }
}

pub(crate) fn taken(address: &Address, owner: &FunctionKey) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "XB2003",
        format!(
            "the name {:?} is taken: the function {:?} that was deployed through the {} API is called there",
            address.name, owner.name, owner.door
        ),
    )
    .with_hint(format!("choose another name, or remove the one of the {} API first", owner.door))
}
