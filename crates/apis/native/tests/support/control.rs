//! An engine in memory.

use super::unused;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use http::{HeaderMap, Response};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};
use xebec_core::{
    Answer, Body, Digest, Error, FunctionKey, Invocation, InvocationId, InvokeError, Tenant,
    document::{Document, Expect},
    environment::Environment,
    function::{Function, FunctionView, Live, RevisionEntry},
    invocation::Timing,
    log::{LogLine, LogQuery},
    message::Call,
    names::Address,
    policy::Policy,
    ports::{
        control::{Control, Deployment, EnvironmentInfo, Event, SecretInfo},
        driver::{DriverReport, Progress},
        instance::InstanceId,
        invoker::Invoker,
    },
    record::{Followed, InvocationRecord, RecordPage, RecordQuery},
    revision::{ContractSpec, Revision, RevisionSpec},
    rules::traffic::Traffic,
    tenant::TenantInfo,
};

/// An engine in memory.
#[derive(Default)]
pub struct Engine {
    pub deployed: Mutex<BTreeMap<FunctionKey, (FunctionView, Document)>>,
    /// Headers and URI of each call that was waited for.
    pub calls: Mutex<Vec<(String, HeaderMap)>>,
    /// Records of calls, newest first.
    pub history: Mutex<Vec<InvocationRecord>>,
    /// Requests kept beside them.
    pub kept: Mutex<BTreeMap<InvocationId, Call>>,
    /// What comes to those who follow, once.
    pub coming: Mutex<Vec<Followed>>,
    /// Pages of records that can still be read; `None`: all.
    pub pages: Mutex<Option<u32>>,
}

impl Engine {
    /// Puts a function of a tenant there, as a door would.
    pub fn put(&self, tenant: &str, door: &str, name: &str) -> FunctionKey {
        let tenant = Tenant::new(tenant);
        let key = FunctionKey::new(&tenant, door, name);
        self.insert(Deployment {
            key: key.clone(),
            addresses: vec![Address::new("function", &tenant, name)],
            revision: RevisionSpec {
                workload: xebec_core::workload::Workload::image("i"),
                environment: "exec".into(),
                contract: ContractSpec::named("stdio"),
                command: vec!["cat".into()],
                handler: None,
                style: None,
                variables: BTreeMap::new(),
                secrets: Vec::new(),
                limits: xebec_core::limits::Limits::default(),
                read_only_root: false,
                as_is: false,
            },
            policy: Policy::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            document: serde_json::json!({"name": name, "image": "i"}),
            expect: Expect::Any,
        });
        key
    }

    /// The policy of a function.
    pub fn policy(&self, key: &FunctionKey) -> Policy {
        self.deployed.lock().unwrap()[key].0.function.policy.clone()
    }

    fn insert(&self, deployment: Deployment) -> FunctionView {
        let Deployment { key, addresses, revision, policy, labels, annotations, document, .. } = deployment;
        let digest = Revision::new(revision).digest;
        let created: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let function = Function {
            key: key.clone(),
            addresses,
            policy,
            revisions: vec![RevisionEntry { digest, number: 1, created }],
            traffic: Traffic::all_to(digest),
            labels,
            annotations,
            created,
            updated: created,
        };
        let view = FunctionView { function, live: Live::default() };
        let document = Document::new("native.function", key.tenant.as_str(), &key.name, document);
        self.deployed.lock().unwrap().insert(key, (view.clone(), document));
        view
    }
}

#[async_trait]
impl Control for Engine {
    async fn deploy(&self, deployment: Deployment, _: &dyn Progress) -> Result<FunctionView, Error> {
        Ok(self.insert(deployment))
    }

    async fn check(&self, _: Deployment) -> Result<(), Error> {
        Ok(())
    }

    async fn remove(&self, key: &FunctionKey) -> Result<(), Error> {
        self.deployed.lock().unwrap().remove(key);
        Ok(())
    }

    fn function(&self, key: &FunctionKey) -> Option<FunctionView> {
        self.deployed.lock().unwrap().get(key).map(|(view, _)| view.clone())
    }

    fn functions(&self, _: Option<&Tenant>, _: Option<&str>) -> Vec<FunctionView> {
        self.deployed.lock().unwrap().values().map(|(view, _)| view.clone()).collect()
    }

    fn at(&self, address: &Address) -> Option<FunctionKey> {
        let deployed = self.deployed.lock().unwrap();
        let found = deployed.values().find(|(view, _)| view.function.addresses.contains(address));
        found.map(|(view, _)| view.function.key.clone())
    }

    async fn document(&self, key: &FunctionKey) -> Result<Option<Document>, Error> {
        Ok(self.deployed.lock().unwrap().get(key).map(|(_, document)| document.clone()))
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

    async fn logs(&self, query: LogQuery, _: bool) -> Result<BoxStream<'static, LogLine>, Error> {
        let line = query.invocation.map(|id| LogLine {
            time: Timestamp::UNIX_EPOCH,
            function: FunctionKey::new(&Tenant::default(), "native", "hello"),
            instance: "i".into(),
            invocation: Some(id),
            stream: xebec_core::log::LogStream::Stdout,
            text: "a line".into(),
        });
        Ok(stream::iter(line).boxed())
    }

    async fn records(&self, query: RecordQuery) -> Result<RecordPage, Error> {
        if let Some(left) = &mut *self.pages.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(|| Error::internal("XB4003", "the disk is gone"))?;
        }
        let skipped = query.cursor.as_deref().map_or(0, |cursor| cursor.parse().unwrap());
        let limit = query.limit.unwrap_or(100) as usize;
        let history = self.history.lock().unwrap();
        let mut wanted = history.iter().filter(|record| query.matches(record)).skip(skipped);
        let records: Vec<_> = wanted.by_ref().take(limit).cloned().collect();
        let cursor = wanted.next().map(|_| (skipped + records.len()).to_string());
        Ok(RecordPage { records, cursor })
    }

    async fn flush_records(&self) -> Result<(), Error> {
        unused()
    }

    async fn record(&self, id: &InvocationId) -> Result<Option<InvocationRecord>, Error> {
        Ok(self.history.lock().unwrap().iter().find(|record| record.id == *id).cloned())
    }

    async fn follow_records(
        &self,
        query: RecordQuery,
    ) -> Result<(RecordPage, BoxStream<'static, Followed>), Error> {
        let coming = std::mem::take(&mut *self.coming.lock().unwrap());
        Ok((self.records(query).await?, stream::iter(coming).boxed()))
    }

    async fn kept_request(&self, id: &InvocationId) -> Result<Option<Call>, Error> {
        Ok(self.kept.lock().unwrap().get(id).cloned())
    }

    fn events(&self) -> BoxStream<'static, Arc<Event>> {
        stream::empty().boxed()
    }

    fn drivers(&self) -> Vec<DriverReport> {
        Vec::new()
    }

    fn environments(&self) -> Vec<EnvironmentInfo> {
        Vec::new()
    }

    async fn collect_garbage(&self) -> Result<u64, Error> {
        unused()
    }

    async fn put_code(&self, _: Body) -> Result<(Digest, u64), Error> {
        unused()
    }

    fn environment(&self, _: &str) -> Option<Arc<Environment>> {
        None
    }

    fn stands_in_for(&self, _: &str) -> Option<Arc<Environment>> {
        Some(Arc::new(Environment {
            name: "exec".into(),
            image: None,
            description: String::new(),
            driver: "process".into(),
            contract: ContractSpec::named("stdio"),
            command: Vec::new(),
            variables: BTreeMap::new(),
            needs: Vec::new(),
            build: Vec::new(),
            blanks: None,
            concurrency: 1,
        }))
    }

    async fn backup(&self, _: &Path) -> Result<(), Error> {
        unused()
    }
}

#[async_trait]
impl Invoker for Engine {
    async fn invoke(&self, invocation: Invocation) -> Result<Answer, Box<InvokeError>> {
        let (head, _) = invocation.request.into_parts();
        self.calls.lock().unwrap().push((head.uri.to_string(), head.headers));
        Ok(Answer {
            response: Response::new(Body::full("hello")),
            revision: Digest::of("r"),
            instance: InstanceId("i".into()),
            timing: Timing::default(),
        })
    }
}
