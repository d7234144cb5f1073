//! What doors may ask: each question one short way to where it is answered.

use crate::{
    active::Active,
    deploy::{check_policy, no_function},
    documents,
    engine::Engine,
    functions::Deployed,
    shared::Shared,
    usage::FRESH,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};
use tokio::sync::OwnedMutexGuard;
use xebec_core::{
    Body, Digest, Error, FunctionKey, InvocationId, Tenant,
    document::{Document, Expect},
    environment::Environment,
    function::{Function, FunctionUsage, FunctionView},
    log::{LogLine, LogQuery},
    message::Call,
    names::Address,
    policy::{Metric, Policy},
    ports::{
        control::{Control, Deployment, EnvironmentInfo, Event, Happening, SecretInfo},
        driver::{DriverReport, Progress},
        records::Records as _,
    },
    record::{Followed, InvocationRecord, RecordPage, RecordQuery},
    revision::RevisionSpec,
    rules::traffic::Traffic,
    tenant::TenantInfo,
};

#[async_trait]
impl Control for Engine {
    async fn deploy(&self, deployment: Deployment, progress: &dyn Progress) -> Result<FunctionView, Error> {
        self.deploy_function(deployment, progress).await
    }

    async fn check(&self, deployment: Deployment) -> Result<(), Error> {
        self.check_function(deployment).await
    }

    async fn remove(&self, key: &FunctionKey) -> Result<(), Error> {
        let turn = self.turn(key).await;
        let key = key.clone();
        self.whole(|engine| async move { engine.remove_function(key, turn).await }).await
    }

    fn function(&self, key: &FunctionKey) -> Option<FunctionView> {
        self.functions.get(key).map(|deployed| deployed.view())
    }

    fn peek(&self, key: &FunctionKey) -> Option<Arc<Function>> {
        self.functions.get(key).map(|deployed| deployed.function.clone())
    }

    fn functions(&self, tenant: Option<&Tenant>, door: Option<&str>) -> Vec<FunctionView> {
        self.functions.select(tenant, door).iter().map(|deployed| deployed.view()).collect()
    }

    fn scheduled(&self) -> Vec<FunctionView> {
        let all = self.functions.select(None, None);
        let scheduled = all.iter().filter(|deployed| !deployed.function.policy.schedules.is_empty());
        scheduled.map(|deployed| deployed.view()).collect()
    }

    async fn usage(&self, key: &FunctionKey) -> Option<FunctionUsage> {
        let deployed = self.functions.get(key)?;
        let Some(active) = deployed.standing.active.load_full() else {
            return Some(FunctionUsage::default());
        };
        active.measure(&self.shared, FRESH).await;
        Some(active.meter.last())
    }

    fn usages(&self) -> Vec<(FunctionKey, FunctionUsage)> {
        let in_use = self.shared.keeper.in_use();
        let there = in_use.iter().filter(|active| !active.is_removed());
        there.map(|active| (active.key.clone(), active.meter.last())).collect()
    }

    fn note_backlog(&self, key: &FunctionKey, waiting: u64) {
        if let Some(deployed) = self.functions.get(key) {
            self.scale_by_backlog(deployed, waiting);
        }
    }

    fn at(&self, address: &Address) -> Option<FunctionKey> {
        self.functions.at(address)
    }

    async fn document(&self, key: &FunctionKey) -> Result<Option<Document>, Error> {
        self.store.get(&documents::function_key(key)).await
    }

    async fn revision(&self, digest: &Digest) -> Result<Option<RevisionSpec>, Error> {
        let Some(tenant) = self.functions.tenant_of(digest) else { return Ok(None) };
        self.load_revision(&tenant, digest).await
    }

    async fn set_traffic(&self, key: &FunctionKey, traffic: Traffic) -> Result<FunctionView, Error> {
        let turn = self.turn(key).await;
        let deployed = self.functions.get(key).ok_or_else(|| no_function(key))?;
        let unknown =
            traffic.shares().iter().find(|share| deployed.function.revision(&share.revision).is_none());
        if let Some(share) = unknown {
            let message = format!("{} is not a revision of {:?}", share.revision.short(), key.name);
            return Err(Error::invalid("XB2007", message));
        }
        let function = Function { traffic, ..Function::clone(&deployed.function) };
        self.whole(|engine| async move { engine.change(function, deployed, turn).await }).await
    }

    async fn set_policy(&self, key: &FunctionKey, policy: Policy) -> Result<FunctionView, Error> {
        check_policy(&policy)?;
        let turn = self.turn(key).await;
        let deployed = self.functions.get(key).ok_or_else(|| no_function(key))?;
        let function = Function { policy, ..Function::clone(&deployed.function) };
        self.whole(|engine| async move { engine.change(function, deployed, turn).await }).await
    }

    async fn scale(&self, key: &FunctionKey, instances: u32) -> Result<(), Error> {
        let deployed = self.functions.get(key).ok_or_else(|| no_function(key))?;
        if instances > 0 {
            self.open_pools(&deployed).await;
        }
        if let Some(active) = deployed.standing.active.load_full() {
            let shares: HashMap<Digest, u8> = deployed
                .function
                .traffic
                .shares()
                .iter()
                .map(|share| (share.revision, share.percent))
                .collect();
            for pool in active.pools().iter() {
                let percent = shares.get(&pool.revision.digest).copied().unwrap_or(0);
                pool.scale_to((u64::from(instances) * u64::from(percent)).div_ceil(100) as u32);
            }
        }
        Ok(())
    }

    async fn put_secret(
        &self,
        tenant: &Tenant,
        name: &str,
        value: Bytes,
        expect: Expect,
    ) -> Result<SecretInfo, Error> {
        self.store_secret(tenant, name, value, expect).await
    }

    async fn secrets(&self, tenant: &Tenant) -> Result<Vec<SecretInfo>, Error> {
        self.list_secrets(tenant).await
    }

    async fn delete_secret(&self, tenant: &Tenant, name: &str) -> Result<(), Error> {
        self.drop_secret(tenant, name).await
    }

    async fn put_tenant(
        &self,
        tenant: &Tenant,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        expect: Expect,
    ) -> Result<TenantInfo, Error> {
        self.write_tenant(tenant, labels, annotations, expect).await
    }

    async fn tenant(&self, tenant: &Tenant) -> Result<Option<TenantInfo>, Error> {
        self.written_tenant(tenant).await
    }

    async fn tenants(&self) -> Result<Vec<TenantInfo>, Error> {
        self.written_tenants().await
    }

    async fn delete_tenant(&self, tenant: &Tenant) -> Result<(), Error> {
        self.drop_tenant(tenant).await
    }

    async fn logs(&self, query: LogQuery, follow: bool) -> Result<BoxStream<'static, LogLine>, Error> {
        self.shared.logs.read(query, follow).await
    }

    async fn records(&self, query: RecordQuery) -> Result<RecordPage, Error> {
        self.shared.recorder.query(&query).await
    }

    async fn flush_records(&self) -> Result<(), Error> {
        self.shared.recorder.flush().await
    }

    async fn record(&self, id: &InvocationId) -> Result<Option<InvocationRecord>, Error> {
        self.shared.recorder.get(id).await
    }

    async fn follow_records(
        &self,
        query: RecordQuery,
    ) -> Result<(RecordPage, BoxStream<'static, Followed>), Error> {
        self.shared.recorder.follow(query).await
    }

    async fn kept_request(&self, id: &InvocationId) -> Result<Option<Call>, Error> {
        self.shared.recorder.request(id).await
    }

    fn events(&self) -> BoxStream<'static, Arc<Event>> {
        self.shared.events.listen()
    }

    fn drivers(&self) -> Vec<DriverReport> {
        self.shared.drivers.iter().map(|driver| driver.report()).collect()
    }

    fn environments(&self) -> Vec<EnvironmentInfo> {
        let table = &self.shared.environments;
        let blanks: HashMap<String, usize> = self.shared.blanks.counts().into_iter().collect();
        let known = table.names().into_iter().filter_map(|name| table.environment(&name));
        known
            .map(|environment| EnvironmentInfo {
                name: environment.name.clone(),
                description: environment.description.clone(),
                driver: environment.driver.clone(),
                missing: table.missing(&environment),
                blanks: blanks
                    .get(&environment.name)
                    .map_or(0, |count| u32::try_from(*count).unwrap_or(u32::MAX)),
            })
            .collect()
    }

    async fn collect_garbage(&self) -> Result<u64, Error> {
        self.collect().await
    }

    async fn put_code(&self, code: Body) -> Result<(Digest, u64), Error> {
        self.shared.blobs.put(code, self.shared.options.max_code_bytes).await
    }

    async fn code(&self, digest: &Digest) -> Result<Bytes, Error> {
        self.shared.blobs.get(digest).await
    }

    fn environment(&self, name: &str) -> Option<Arc<Environment>> {
        self.shared.environments.environment(name)
    }

    fn stands_in_for(&self, image: &str) -> Option<Arc<Environment>> {
        self.shared.environments.stands_in_for(image)
    }

    async fn backup(&self, directory: &Path) -> Result<(), Error> {
        self.back_up(directory).await
    }
}

impl Engine {
    /// Stores a function whose revisions did not change, and puts it in place.
    async fn change(
        self: Arc<Self>,
        mut function: Function,
        before: Arc<Deployed>,
        _turn: OwnedMutexGuard<()>,
    ) -> Result<FunctionView, Error> {
        function.updated = self.shared.clock.now();
        let key = &function.key;
        let mut document =
            self.store.get(&documents::function_key(key)).await?.ok_or_else(|| no_function(key))?;
        let environment = before.environment.clone();
        documents::set_status(&mut document, &function, &environment)?;
        let version = document.version;
        self.store.put(document, Expect::Version(version)).await?;
        let deployed = self.swap(function, Some(before), &environment).await;
        self.shared.events.tell(&deployed.function.key, Happening::Changed);
        self.keep_warm(&deployed);
        Ok(deployed.view())
    }

    /// Has the pools of a function that is scaled by what waits follow it; opens them where something does.
    fn scale_by_backlog(&self, deployed: Arc<Deployed>, waiting: u64) {
        if deployed.function.policy.scaling.metric != Metric::Queue {
            return;
        }
        let active = deployed.standing.active.load_full();
        let all_open = |active: &Arc<Active>| {
            deployed.function.traffic.shares().iter().all(|share| active.pool(&share.revision).is_some())
        };
        match active {
            Some(active) if waiting == 0 || all_open(&active) => {
                tell_backlog(&self.shared, &deployed.function, &active, waiting);
            }
            _ if waiting == 0 => {}
            _ => {
                let Some(engine) = self.this.upgrade() else { return };
                drop(tokio::spawn(async move {
                    engine.open_pools(&deployed).await;
                    if let Some(active) = deployed.standing.active.load_full() {
                        tell_backlog(&engine.shared, &deployed.function, &active, waiting);
                    }
                }));
            }
        }
    }

    async fn remove_function(
        self: Arc<Self>,
        key: FunctionKey,
        _turn: OwnedMutexGuard<()>,
    ) -> Result<(), Error> {
        let deployed = self.functions.get(&key).ok_or_else(|| no_function(&key))?;
        self.store.delete(documents::function_key(&key), Expect::Any).await?;
        self.functions.remove(&key);
        self.pools_follow(&deployed.standing, None).await;
        self.keep_blanks_if_used(&deployed.environment);
        self.shared.events.tell(&key, Happening::Removed);
        // Its revisions, and what only they point at, are garbage now. Lines are not worth failing for.
        if let Err(error) = self.shared.logs.forget(&key).await {
            tracing::warn!(function = %key, %error, "its lines could not be deleted");
        }
        Ok(())
    }
}

/// Splits what waits over the revisions as calls are.
fn tell_backlog(shared: &Shared, function: &Function, active: &Arc<Active>, waiting: u64) {
    for share in function.traffic.shares() {
        if let Some(pool) = active.pool(&share.revision) {
            pool.note_backlog(waiting.saturating_mul(share.percent.into()).div_ceil(100));
        }
    }
    if waiting > 0 {
        shared.keeper.wake(active);
    }
}
