//! Functions that are only names and policies.

use super::HandClock;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};
use tokio::sync::broadcast;
use xebec_core::{
    Body, Digest, Error, FunctionKey, InvocationId, Tenant,
    document::{Document, Expect},
    environment::Environment,
    function::{Function, FunctionView, Live, RevisionEntry},
    log::{LogLine, LogQuery},
    message::Call,
    names::Address,
    policy::Policy,
    ports::{
        clock::Clock,
        control::{Control, Deployment, EnvironmentInfo, Event, Happening, SecretInfo},
        driver::{DriverReport, Progress},
    },
    record::{Followed, InvocationRecord, RecordPage, RecordQuery},
    revision::RevisionSpec,
    rules::traffic::Traffic,
    schedule::Schedule,
    tenant::TenantInfo,
};

/// Functions that are only names and policies.
pub struct Functions {
    clock: Arc<HandClock>,
    there: Mutex<BTreeMap<FunctionKey, FunctionView>>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Functions {
    pub fn new(clock: Arc<HandClock>) -> Self {
        Self { clock, there: Mutex::default(), events: broadcast::Sender::new(1024) }
    }

    pub fn key(name: &str) -> FunctionKey {
        FunctionKey::new(&Tenant::default(), "native", name)
    }

    pub fn deploy(&self, name: &str, schedules: Vec<Schedule>) {
        let (key, now) = (Self::key(name), self.clock.now());
        let digest = Digest::of(name);
        let mut there = self.there.lock().unwrap();
        let created = there.get(&key).map_or(now, |view| view.function.created);
        let function = Function {
            key: key.clone(),
            addresses: Vec::new(),
            policy: Policy { schedules, ..Policy::default() },
            revisions: vec![RevisionEntry { digest, number: 1, created }],
            traffic: Traffic::all_to(digest),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created,
            updated: now,
        };
        there.insert(key.clone(), FunctionView { function, live: Live::default() });
        drop(there);
        self.tell(key, Happening::Deployed { revision: digest });
    }

    pub fn remove(&self, name: &str) {
        let key = Self::key(name);
        self.there.lock().unwrap().remove(&key);
        self.tell(key, Happening::Removed);
    }

    fn tell(&self, function: FunctionKey, what: Happening) {
        // Fails where nobody listens.
        let _ = self.events.send(Arc::new(Event { time: self.clock.now(), function, what }));
    }
}

#[async_trait]
impl Control for Functions {
    fn function(&self, key: &FunctionKey) -> Option<FunctionView> {
        self.there.lock().unwrap().get(key).cloned()
    }

    fn functions(&self, _: Option<&Tenant>, _: Option<&str>) -> Vec<FunctionView> {
        self.there.lock().unwrap().values().cloned().collect()
    }

    fn events(&self) -> BoxStream<'static, Arc<Event>> {
        let events = self.events.subscribe();
        stream::unfold(events, |mut events| async move {
            let event = events.recv().await.ok()?;
            Some((event, events))
        })
        .boxed()
    }

    async fn deploy(&self, _: Deployment, _: &dyn Progress) -> Result<FunctionView, Error> {
        unused()
    }

    async fn check(&self, _: Deployment) -> Result<(), Error> {
        unused()
    }

    async fn remove(&self, _: &FunctionKey) -> Result<(), Error> {
        unused()
    }

    fn at(&self, _: &Address) -> Option<FunctionKey> {
        unused()
    }

    async fn document(&self, _: &FunctionKey) -> Result<Option<Document>, Error> {
        unused()
    }

    async fn revision(&self, _: &Digest) -> Result<Option<RevisionSpec>, Error> {
        unused()
    }

    async fn set_traffic(&self, _: &FunctionKey, _: Traffic) -> Result<FunctionView, Error> {
        unused()
    }

    async fn set_policy(&self, _: &FunctionKey, _: Policy) -> Result<FunctionView, Error> {
        unused()
    }

    async fn scale(&self, _: &FunctionKey, _: u32) -> Result<(), Error> {
        unused()
    }

    async fn put_secret(&self, _: &Tenant, _: &str, _: Bytes, _: Expect) -> Result<SecretInfo, Error> {
        unused()
    }

    async fn secrets(&self, _: &Tenant) -> Result<Vec<SecretInfo>, Error> {
        unused()
    }

    async fn delete_secret(&self, _: &Tenant, _: &str) -> Result<(), Error> {
        unused()
    }

    async fn put_tenant(
        &self,
        _: &Tenant,
        _: BTreeMap<String, String>,
        _: BTreeMap<String, String>,
        _: Expect,
    ) -> Result<TenantInfo, Error> {
        unused()
    }

    async fn tenant(&self, _: &Tenant) -> Result<Option<TenantInfo>, Error> {
        unused()
    }

    async fn tenants(&self) -> Result<Vec<TenantInfo>, Error> {
        unused()
    }

    async fn delete_tenant(&self, _: &Tenant) -> Result<(), Error> {
        unused()
    }

    async fn logs(&self, _: LogQuery, _: bool) -> Result<BoxStream<'static, LogLine>, Error> {
        unused()
    }

    async fn records(&self, _: RecordQuery) -> Result<RecordPage, Error> {
        unused()
    }

    async fn flush_records(&self) -> Result<(), Error> {
        unused()
    }

    async fn record(&self, _: &InvocationId) -> Result<Option<InvocationRecord>, Error> {
        unused()
    }

    async fn follow_records(
        &self,
        _: RecordQuery,
    ) -> Result<(RecordPage, BoxStream<'static, Followed>), Error> {
        unused()
    }

    async fn kept_request(&self, _: &InvocationId) -> Result<Option<Call>, Error> {
        unused()
    }

    fn drivers(&self) -> Vec<DriverReport> {
        unused()
    }

    fn environments(&self) -> Vec<EnvironmentInfo> {
        unused()
    }

    async fn collect_garbage(&self) -> Result<u64, Error> {
        unused()
    }

    async fn put_code(&self, _: Body) -> Result<(Digest, u64), Error> {
        unused()
    }

    fn environment(&self, _: &str) -> Option<Arc<Environment>> {
        unused()
    }

    fn stands_in_for(&self, _: &str) -> Option<Arc<Environment>> {
        unused()
    }

    async fn backup(&self, _: &Path) -> Result<(), Error> {
        unused()
    }
}

fn unused() -> ! {
    unreachable!("schedules ask for functions and events only")
}
