//! An engine in memory: enough of `Control` and `Invoker` to stand behind the door.

// Each test file uses its own part of this.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod later;

pub use later::Later;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};
use xebec_api_openfaas::{OpenFaas, Options};
use xebec_core::{
    Answer, Body, Digest, Error, FunctionKey, Invocation, InvocationId, InvokeError, Tenant,
    auth::Principal,
    document::{Document, Expect},
    environment::Environment,
    error::ErrorKind,
    function::{Function, FunctionUsage, FunctionView, Live, RevisionEntry},
    invocation::Timing,
    log::{LogLine, LogQuery},
    message::Call,
    names::Address,
    outcome::PlatformFault,
    policy::{Policy, Visibility},
    ports::{
        control::{Control, Deployment, EnvironmentInfo, Event, SecretInfo},
        door::{Door as _, Peer},
        driver::{DriverReport, Progress},
        instance::InstanceId,
        invoker::Invoker,
    },
    record::{Followed, InvocationRecord, RecordPage, RecordQuery},
    revision::{ContractSpec, Revision, RevisionSpec},
    rules::traffic::Traffic,
    tenant::TenantInfo,
};

/// What was deployed.
#[derive(Clone)]
pub struct Deployed {
    pub view: FunctionView,
    pub document: Document,
    pub revision: RevisionSpec,
}

type Answering = dyn Fn(Request<Body>) -> Result<Response<Body>, Box<InvokeError>> + Send + Sync;

/// An engine in memory.
#[derive(Default)]
pub struct Engine {
    pub deployed: Mutex<BTreeMap<FunctionKey, Deployed>>,
    pub secrets: Mutex<BTreeMap<(Tenant, String), Bytes>>,
    pub tenants: Mutex<BTreeMap<Tenant, TenantInfo>>,
    pub usages: Mutex<BTreeMap<FunctionKey, FunctionUsage>>,
    pub lines: Mutex<Vec<LogLine>>,
    pub log_queries: Mutex<Vec<(LogQuery, bool)>>,
    pub scaled: Mutex<Vec<(FunctionKey, u32)>>,
    pub calls: Mutex<Vec<FunctionKey>>,
    pub answering: Mutex<Option<Box<Answering>>>,
}

/// The environment that stands in for OpenFaaS' images here.
pub fn exec() -> Environment {
    Environment {
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
    }
}

impl Engine {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn door(self: &Arc<Self>) -> OpenFaas {
        OpenFaas::new(self.clone(), self.clone(), Options { version: "1.2.3".into(), ..Options::default() })
    }

    /// What the engine would refuse.
    fn refuses(&self, deployment: &Deployment) -> Result<(), Error> {
        let known = self.deployed.lock().unwrap().contains_key(&deployment.key);
        match deployment.expect {
            Expect::Absent if known => {
                return Err(Error::new(ErrorKind::Conflict, "XB2001", "the function exists already"));
            }
            Expect::Present if !known => return Err(missing()),
            _ => {}
        }
        for mount in &deployment.revision.secrets {
            let key = (deployment.key.tenant.clone(), mount.name.clone());
            if !self.secrets.lock().unwrap().contains_key(&key) {
                return Err(Error::not_found("XB2005", format!("there is no secret {:?}", mount.name)));
            }
        }
        Ok(())
    }

    pub fn answer(
        &self,
        with: impl Fn(Request<Body>) -> Result<Response<Body>, Box<InvokeError>> + Send + Sync + 'static,
    ) {
        *self.answering.lock().unwrap() = Some(Box::new(with));
    }

    /// Puts a function at an address, as a door of another name would.
    pub fn put(&self, tenant: &str, door: &str, name: &str) {
        let tenant = Tenant::new(tenant);
        let deployment = Deployment {
            key: FunctionKey::new(&tenant, door, name),
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
            document: serde_json::json!({"service": name, "image": "i"}),
            expect: Expect::Any,
        };
        self.insert(deployment);
    }

    /// Changes what is known of a function.
    pub fn change(&self, tenant: &str, name: &str, with: impl FnOnce(&mut FunctionView)) {
        let key = FunctionKey::new(&Tenant::new(tenant), "openfaas", name);
        with(&mut self.deployed.lock().unwrap().get_mut(&key).expect("it is deployed").view);
    }

    pub fn deployed(&self, tenant: &str, name: &str) -> Deployed {
        let key = FunctionKey::new(&Tenant::new(tenant), "openfaas", name);
        self.deployed.lock().unwrap().get(&key).cloned().expect("it is deployed")
    }

    fn insert(&self, deployment: Deployment) -> FunctionView {
        let Deployment { key, addresses, revision, policy, labels, annotations, document, .. } = deployment;
        let digest = Revision::new(revision.clone()).digest;
        let created: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
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
        let view = FunctionView { function, live: Live { ready: 1, invocations: 7, ..Live::default() } };
        let document = Document::new("openfaas.function", key.tenant.as_str(), &key.name, document);
        self.deployed.lock().unwrap().insert(key, Deployed { view: view.clone(), document, revision });
        view
    }
}

fn missing() -> Error {
    Error::not_found("XB2002", "no such function")
}

fn unused<T>() -> Result<T, Error> {
    Err(Error::internal("XB2999", "this door has no business here"))
}

#[async_trait]
impl Control for Engine {
    async fn check(&self, deployment: Deployment) -> Result<(), Error> {
        self.refuses(&deployment)
    }

    async fn deploy(&self, deployment: Deployment, _: &dyn Progress) -> Result<FunctionView, Error> {
        self.refuses(&deployment)?;
        if self.at(&deployment.addresses[0]).is_some_and(|owner| owner != deployment.key) {
            return Err(Error::new(ErrorKind::Conflict, "XB2003", "another door has this address"));
        }
        Ok(self.insert(deployment))
    }

    async fn remove(&self, key: &FunctionKey) -> Result<(), Error> {
        self.deployed.lock().unwrap().remove(key).map(|_| ()).ok_or_else(missing)
    }

    fn function(&self, key: &FunctionKey) -> Option<FunctionView> {
        self.deployed.lock().unwrap().get(key).map(|deployed| deployed.view.clone())
    }

    fn functions(&self, tenant: Option<&Tenant>, door: Option<&str>) -> Vec<FunctionView> {
        let deployed = self.deployed.lock().unwrap();
        let mine = |key: &FunctionKey| {
            tenant.is_none_or(|tenant| *tenant == key.tenant) && door.is_none_or(|door| door == key.door)
        };
        deployed.iter().filter(|(key, _)| mine(key)).map(|(_, deployed)| deployed.view.clone()).collect()
    }

    fn at(&self, address: &Address) -> Option<FunctionKey> {
        let deployed = self.deployed.lock().unwrap();
        let found = deployed.values().find(|deployed| deployed.view.function.addresses.contains(address));
        found.map(|deployed| deployed.view.function.key.clone())
    }

    async fn document(&self, key: &FunctionKey) -> Result<Option<Document>, Error> {
        Ok(self.deployed.lock().unwrap().get(key).map(|deployed| deployed.document.clone()))
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

    async fn scale(&self, key: &FunctionKey, instances: u32) -> Result<(), Error> {
        self.function(key).ok_or_else(missing)?;
        self.scaled.lock().unwrap().push((key.clone(), instances));
        Ok(())
    }

    async fn put_secret(
        &self,
        tenant: &Tenant,
        name: &str,
        value: Bytes,
        expect: Expect,
    ) -> Result<SecretInfo, Error> {
        let mut secrets = self.secrets.lock().unwrap();
        let key = (tenant.clone(), name.to_owned());
        match (expect, secrets.contains_key(&key)) {
            (Expect::Absent, true) => return Err(Error::new(ErrorKind::Conflict, "XB4001", "it exists")),
            (Expect::Present, false) => return Err(Error::not_found("XB2005", "no such secret")),
            _ => {}
        }
        secrets.insert(key, value);
        Ok(SecretInfo { name: name.to_owned(), version: 1, updated: Timestamp::now() })
    }

    async fn secrets(&self, tenant: &Tenant) -> Result<Vec<SecretInfo>, Error> {
        let secrets = self.secrets.lock().unwrap();
        let names = secrets.keys().filter(|(owner, _)| owner == tenant);
        Ok(names
            .map(|(_, name)| SecretInfo { name: name.clone(), version: 1, updated: Timestamp::now() })
            .collect())
    }

    async fn delete_secret(&self, tenant: &Tenant, name: &str) -> Result<(), Error> {
        let used = |deployed: &Deployed| deployed.revision.secrets.iter().any(|mount| mount.name == name);
        if self.deployed.lock().unwrap().values().any(used) {
            return Err(Error::new(ErrorKind::Conflict, "XB2008", "a function uses it"));
        }
        let removed = self.secrets.lock().unwrap().remove(&(tenant.clone(), name.to_owned()));
        removed.map(|_| ()).ok_or_else(|| Error::not_found("XB2005", "no such secret"))
    }

    async fn usage(&self, key: &FunctionKey) -> Option<FunctionUsage> {
        self.usages.lock().unwrap().get(key).copied()
    }

    fn usages(&self) -> Vec<(FunctionKey, FunctionUsage)> {
        self.usages.lock().unwrap().iter().map(|(key, usage)| (key.clone(), *usage)).collect()
    }

    async fn put_tenant(
        &self,
        tenant: &Tenant,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
        expect: Expect,
    ) -> Result<TenantInfo, Error> {
        let mut tenants = self.tenants.lock().unwrap();
        if expect == Expect::Absent && tenants.contains_key(tenant) {
            return Err(Error::new(ErrorKind::Conflict, "XB2001", "it exists"));
        }
        let info = TenantInfo { name: tenant.clone(), labels, annotations, created: Timestamp::now() };
        tenants.insert(tenant.clone(), info.clone());
        Ok(info)
    }

    async fn tenant(&self, tenant: &Tenant) -> Result<Option<TenantInfo>, Error> {
        Ok(self.tenants.lock().unwrap().get(tenant).cloned())
    }

    async fn tenants(&self) -> Result<Vec<TenantInfo>, Error> {
        Ok(self.tenants.lock().unwrap().values().cloned().collect())
    }

    async fn delete_tenant(&self, tenant: &Tenant) -> Result<(), Error> {
        if !self.functions(Some(tenant), None).is_empty() {
            let message = "the tenant is not empty: functions: 1, secrets: 0";
            return Err(Error::new(ErrorKind::Conflict, "XB2019", message));
        }
        self.tenants.lock().unwrap().remove(tenant).map(drop).ok_or_else(missing)
    }

    async fn logs(&self, query: LogQuery, follow: bool) -> Result<BoxStream<'static, LogLine>, Error> {
        let lines = self.lines.lock().unwrap().clone();
        self.log_queries.lock().unwrap().push((query, follow));
        Ok(stream::iter(lines).boxed())
    }

    async fn records(&self, _: RecordQuery) -> Result<RecordPage, Error> {
        unused()
    }

    async fn flush_records(&self) -> Result<(), Error> {
        Ok(())
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

    fn environment(&self, name: &str) -> Option<Arc<Environment>> {
        (name == "exec").then(|| Arc::new(exec()))
    }

    fn stands_in_for(&self, image: &str) -> Option<Arc<Environment>> {
        image.starts_with("ghcr.io/openfaas/alpine").then(|| Arc::new(exec()))
    }

    async fn backup(&self, _: &Path) -> Result<(), Error> {
        unused()
    }
}

#[async_trait]
impl Invoker for Engine {
    async fn invoke(&self, invocation: Invocation) -> Result<Answer, Box<InvokeError>> {
        self.calls.lock().unwrap().push(invocation.function.clone());
        let key = &invocation.function;
        let closed = self
            .function(key)
            .is_some_and(|view| view.function.policy.visibility == Visibility::Authenticated);
        if closed && !invocation.principal.may_invoke(&key.tenant) {
            let fault = PlatformFault::Forbidden;
            return Err(Box::new(InvokeError::platform(invocation.id, fault, "not with these credentials")));
        }
        let answering = self.answering.lock().unwrap();
        let response = match answering.as_ref() {
            Some(with) => with(invocation.request)?,
            None => Response::new(Body::full("hello")),
        };
        Ok(Answer {
            response,
            revision: Digest::of("r"),
            instance: InstanceId("i".into()),
            timing: Timing::default(),
        })
    }
}

/// What came back.
pub struct Back {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Back {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends a request as the local principal, as the gateway would pass it on.
pub async fn send(door: &OpenFaas, method: Method, path: &str, body: &str) -> Back {
    let request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
    send_as(door, Principal::Local, request.body(Body::full(body.to_owned())).unwrap()).await
}

pub async fn send_as(door: &OpenFaas, principal: Principal, mut request: Request<Body>) -> Back {
    request.extensions_mut().insert(principal);
    request.extensions_mut().insert(Peer("192.0.2.7:4711".parse().unwrap()));
    let (head, body) = door.handle(request).await.into_parts();
    let body = body.collect(1 << 20).await.unwrap();
    Back { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
}
