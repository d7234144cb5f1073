//! Deploying: check, prepare, store, swap. Nothing is answered before it is on disk, nothing is in memory
//! before it is answered for.

use crate::{
    documents,
    engine::Engine,
    functions::{Deployed, Standing},
    garbage::Pinned,
    resume::shrink,
};
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;
use xebec_core::{
    Digest, Error, FunctionKey,
    document::{Expect, Write},
    environment::Environment,
    error::ErrorKind,
    function::{Function, FunctionView, RevisionEntry},
    limits::Limits,
    policy::Policy,
    ports::{
        control::{Deployment, Happening},
        driver::{Driver, Prepare, Progress, Silent},
    },
    revision::{Revision, RevisionSpec},
    rules::{schedule, traffic::Traffic},
    workload::Workload,
};

/// How many revisions of a function are kept; those with traffic are on top.
const HISTORY: usize = 20;

/// A deploy that is prepared, on its way to the disk. It goes there whole, whoever waits for it.
struct Ready {
    deployment: Deployment,
    revision: Revision,
    environment: Arc<Environment>,
    _turn: OwnedMutexGuard<()>,
    _pinned: Pinned,
}

impl Engine {
    pub(crate) async fn deploy_function(
        &self,
        mut deployment: Deployment,
        progress: &dyn Progress,
    ) -> Result<FunctionView, Error> {
        check_bounds(&deployment)?;
        let turn = self.turn(&deployment.key).await;
        let (environment, driver) = self.check(&mut deployment, progress).await?;
        let revision = Revision::new(deployment.revision.clone());
        let archive = revision.spec.workload.archive();
        let pinned = self.pins.pin([revision.digest].into_iter().chain(archive).collect()).await;
        let code = match archive {
            Some(archive) => Some(self.shared.blobs.get(&archive).await?),
            None => None,
        };
        driver.prepare(Prepare { revision: &revision, environment: &environment, code, progress }).await?;
        let ready = Ready { deployment, revision, environment, _turn: turn, _pinned: pinned };
        self.whole(|engine| async move { engine.commit(ready).await }).await
    }

    /// What a deploy would be refused for.
    pub(crate) async fn check_function(&self, mut deployment: Deployment) -> Result<(), Error> {
        check_bounds(&deployment)?;
        let (environment, _) = self.check(&mut deployment, &Silent).await?;
        // A deploy finds this out where it prepares.
        let missing = self.shared.environments.missing(&environment);
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!(
            "this machine has no {}, which the environment {:?} needs",
            missing.join(", "),
            environment.name
        );
        Err(Error::new(ErrorKind::Refused, "XB3003", message))
    }

    /// Checks what can be checked before anything is done, and fills in what engine and driver know better.
    async fn check(
        &self,
        deployment: &mut Deployment,
        progress: &dyn Progress,
    ) -> Result<(Arc<Environment>, Arc<dyn Driver>), Error> {
        let key = &deployment.key;
        check_expectation(key, deployment.expect, self.functions.get(key).is_some())?;
        for address in &deployment.addresses {
            if let Some(owner) = self.functions.at(address).filter(|owner| owner != key) {
                return Err(crate::functions::taken(address, &owner));
            }
        }
        self.check_quota(key)?;
        let spec = &mut deployment.revision;
        let environment = self.environment_of(spec)?;
        let contract = self.find_contract(&spec.contract.name)?;
        contract.check(spec)?;
        self.fill_in_versions(&key.tenant, spec).await?;
        let driver = self.find_driver(&environment)?;
        driver.accepts(&Revision::new(spec.clone()), &environment)?;
        driver.pin(spec, progress).await?;
        Ok((environment, driver))
    }

    fn environment_of(&self, spec: &mut RevisionSpec) -> Result<Arc<Environment>, Error> {
        if !spec.environment.is_empty() {
            return self.find_environment(&spec.environment);
        }
        let Workload::Image { reference, .. } = &spec.workload else {
            return Err(Error::invalid("XB2004", "the function names no environment"));
        };
        let environment = self.shared.environments.stands_in_for(reference).ok_or_else(|| {
            Error::new(ErrorKind::Refused, "XB2004", format!("nothing here can run the image {reference:?}"))
                .with_hint("let an environment stand in for it, in the table [[images]] of the configuration")
        })?;
        spec.environment.clone_from(&environment.name);
        Ok(environment)
    }

    fn check_quota(&self, key: &FunctionKey) -> Result<(), Error> {
        let Some(most) = self.shared.tenants.quota(&key.tenant).max_functions else { return Ok(()) };
        if self.functions.get(key).is_none() && self.functions.count(&key.tenant) >= most as usize {
            let message =
                format!("the tenant {:?} has {most} functions, as many as it may have", key.tenant.as_str());
            return Err(Error::new(ErrorKind::Refused, "XB2006", message)
                .with_hint("remove a function, or raise max_functions of the tenant"));
        }
        Ok(())
    }

    /// To the disk, then into memory.
    async fn commit(self: Arc<Self>, ready: Ready) -> Result<FunctionView, Error> {
        let Ready { deployment, revision, environment, _turn, _pinned } = ready;
        let key = deployment.key.clone();
        let bounded = self.shared.tenants.quota(&key.tenant).max_functions.is_some();
        let _quota = if bounded { Some(self.quota_turn.lock().await) } else { None };
        self.check_quota(&key)?;
        let _secrets = self.secrets_turn.read().await;
        // Preparing may have taken minutes: what the revision mounts must still be there.
        self.open_secrets(&key.tenant, &revision.spec.secrets).await?;

        let before = self.functions.get(&key);
        self.functions.claim(&key, &deployment.addresses)?;
        let function = next(&deployment, before.as_deref(), revision.digest, self.shared.clock.now());
        let stored = self.store_function(&function, &revision, &environment, deployment).await;
        if let Err(error) = stored {
            let kept = before.as_ref().map_or(&[][..], |before| &before.function.addresses);
            self.functions.release(&key, &function.addresses, kept);
            return Err(error);
        }

        let left = before.as_ref().map(|before| before.environment.clone());
        let deployed = self.swap(function, before, &environment.name).await;
        self.shared.events.tell(&key, Happening::Deployed { revision: revision.digest });
        self.shared.blanks.want(&self.shared, &environment);
        if let Some(left) = left.filter(|left| **left != *environment.name) {
            self.keep_blanks_if_used(&left);
        }
        self.keep_warm(&deployed);
        Ok(deployed.view())
    }

    async fn store_function(
        &self,
        function: &Function,
        revision: &Revision,
        environment: &Environment,
        deployment: Deployment,
    ) -> Result<(), Error> {
        let revision = documents::revision(&function.key.tenant, revision)?;
        let document = documents::function(function, &environment.name, deployment.document)?;
        self.store
            .write(vec![Write::Put(revision, Expect::Any), Write::Put(document, deployment.expect)])
            .await?;
        Ok(())
    }

    /// Puts a function in place of what was there, in memory, and has its pools follow.
    pub(crate) async fn swap(
        &self,
        mut function: Function,
        before: Option<Arc<Deployed>>,
        environment: &str,
    ) -> Arc<Deployed> {
        shrink(&mut function);
        if let Some(before) = &before {
            self.functions.release(&function.key, &before.function.addresses, &function.addresses);
        }
        let environment = self.functions.environment_name(environment);
        let standing = before.map_or_else(|| Arc::new(Standing::default()), |before| before.standing.clone());
        let deployed = self.functions.put(Deployed { function: Arc::new(function), environment, standing });
        self.pools_follow(&deployed.standing, Some(&deployed.function)).await;
        deployed
    }

    /// Has a function's pools take over policy and traffic.
    pub(crate) async fn pools_follow(&self, standing: &Standing, function: Option<&Function>) {
        if let Some(active) = standing.active.load_full() {
            let _opening = active.opening.lock().await;
            active.follow(function);
        }
    }

    /// Keeps no more blanks of an environment that no function has any more.
    pub(crate) fn keep_blanks_if_used(&self, environment: &str) {
        if !self.functions.uses_environment(environment) {
            self.shared.blanks.unwant(environment);
        }
    }

    /// Starts in the background what the policy keeps even when idle.
    pub(crate) fn keep_warm(&self, deployed: &Arc<Deployed>) {
        if deployed.function.policy.min_instances == 0 {
            return;
        }
        let Some(engine) = self.this.upgrade() else { return };
        let deployed = deployed.clone();
        drop(tokio::spawn(async move { engine.open_pools(&deployed).await }));
    }

    /// Opens the pools of all revisions with traffic, which start what the policy keeps.
    pub(crate) async fn open_pools(&self, deployed: &Deployed) {
        let active = crate::admit::active(&self.shared, deployed);
        for share in deployed.function.traffic.shares() {
            match self.open_pool(&active, share.revision).await {
                Ok(pool) => pool.start_what_is_wanted(),
                Err(error) => {
                    tracing::warn!(function = %deployed.function.key, %error, "cannot be kept warm")
                }
            }
        }
        self.shared.keeper.wake(&active);
    }
}

fn check_expectation(key: &FunctionKey, expect: Expect, exists: bool) -> Result<(), Error> {
    match (expect, exists) {
        (Expect::Absent, true) => {
            let message = format!("the function {:?} exists already", key.name);
            Err(Error::new(ErrorKind::Conflict, "XB2001", message))
        }
        (Expect::Present | Expect::Version(_), false) => Err(no_function(key)),
        _ => Ok(()),
    }
}

pub(crate) fn no_function(key: &FunctionKey) -> Error {
    Error::not_found("XB2002", format!("there is no function {:?}", key.name))
}

pub(crate) fn check_policy(policy: &Policy) -> Result<(), Error> {
    schedule::check_all(&policy.schedules)?;
    policy.scaling.check()?;
    let fault = if policy.max_instances == 0 {
        "max_instances is 0: then nothing could run; 1 is the least".to_owned()
    } else if policy.min_instances > policy.max_instances {
        format!("min_instances ({}) is above max_instances ({})", policy.min_instances, policy.max_instances)
    } else if policy.max_rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        "max_rate must be above 0; leave it out for no limit".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid("XB1004", fault))
}

fn check_bounds(deployment: &Deployment) -> Result<(), Error> {
    check_policy(&deployment.policy)?;
    check_limits(&deployment.revision.limits)
}

fn check_limits(limits: &Limits) -> Result<(), Error> {
    let clocks = &limits.clocks;
    let zero = [
        ("wait_ms", clocks.wait),
        ("start_ms", clocks.start),
        ("first_byte_ms", clocks.first_byte),
        ("run_ms", clocks.run),
    ]
    .into_iter()
    .find(|(_, clock)| clock.is_zero());
    let fault = match zero {
        Some((name, _)) => format!("the clock {name} is 0: nothing could be done within it"),
        None if limits.concurrency == 0 => "concurrency is 0: an instance could take no call".to_owned(),
        None if limits.memory_bytes == Some(0) => {
            "memory_bytes is 0; leave it out for the default".to_owned()
        }
        None => return Ok(()),
    };
    Err(Error::invalid("XB1004", fault))
}

/// What becomes of a function by a deploy of `digest`.
fn next(
    deployment: &Deployment,
    before: Option<&Deployed>,
    digest: Digest,
    now: jiff::Timestamp,
) -> Function {
    let before = before.map(|before| &before.function);
    let mut revisions = before.map_or_else(Vec::new, |before| before.revisions.clone());
    let newest = revisions.last().map(|entry| (entry.digest, entry.number));
    if newest.is_none_or(|(newest, _)| newest != digest) {
        // An older one that comes again is the newest now, so that the history tells what followed what.
        revisions.retain(|entry| entry.digest != digest);
        let number = newest.map_or(1, |(_, number)| number + 1);
        revisions.push(RevisionEntry { digest, number, created: now });
    }
    let traffic = match before {
        // Unchanged, and it has its share: a split in progress goes on.
        Some(before)
            if newest.is_some_and(|(newest, _)| newest == digest)
                && has_traffic(&before.traffic, &digest) =>
        {
            before.traffic.clone()
        }
        _ => Traffic::all_to(digest),
    };
    bound_history(&mut revisions, &traffic);
    Function {
        key: deployment.key.clone(),
        addresses: deployment.addresses.clone(),
        policy: deployment.policy.clone(),
        revisions,
        traffic,
        labels: deployment.labels.clone(),
        annotations: deployment.annotations.clone(),
        created: before.map_or(now, |before| before.created),
        updated: now,
    }
}

fn has_traffic(traffic: &Traffic, digest: &Digest) -> bool {
    traffic.shares().iter().any(|share| share.revision == *digest)
}

fn bound_history(revisions: &mut Vec<RevisionEntry>, traffic: &Traffic) {
    let mut excess = revisions.len().saturating_sub(HISTORY);
    revisions.retain(|entry| {
        let drop = excess > 0 && !has_traffic(traffic, &entry.digest);
        excess -= usize::from(drop);
        !drop
    });
}
