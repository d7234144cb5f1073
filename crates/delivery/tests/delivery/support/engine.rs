//! An engine in memory: enough of `Control` and `Invoker` to make calls, recording them as the real one does.

use super::stores::MemoryRecords;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http::{HeaderMap, Response};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use tokio::sync::broadcast;
use xebec_core::{
    Answer, Body, Digest, Error, FunctionKey, Invocation, InvocationId, InvokeError, Outcome, Tenant,
    auth::Principal,
    document::{Document, Expect},
    environment::Environment,
    function::{Function, FunctionView, Live, RevisionEntry},
    invocation::Timing,
    limits::Limits,
    log::{LogLine, LogQuery},
    message::Call,
    names::Address,
    outcome::PlatformFault,
    policy::{Policy, Visibility},
    ports::{
        control::{Control, Deployment, EnvironmentInfo, Event, Happening, SecretInfo},
        driver::{DriverReport, Progress},
        instance::InstanceId,
        invoker::Invoker,
    },
    record::{Followed, InvocationRecord, Note, RecordPage, RecordQuery},
    revision::{ContractSpec, RevisionSpec},
    rules::{hops, traffic::Traffic},
    tenant::TenantInfo,
};

/// A call as a function saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub id: InvocationId,
    pub function: FunctionKey,
    pub attempt: u32,
    pub principal: Principal,
    pub method: String,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub note: Option<Arc<Note>>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub type Answered = Result<Response<Body>, Box<InvokeError>>;
type Handler = Arc<dyn Fn(Seen) -> BoxFuture<'static, Answered> + Send + Sync>;

struct Deployed {
    view: FunctionView,
    spec: RevisionSpec,
    handler: Handler,
}

pub struct TestEngine {
    deployed: Mutex<BTreeMap<FunctionKey, Deployed>>,
    pub seen: Mutex<Vec<Seen>>,
    /// Calls that were dropped before they were through.
    pub dropped: AtomicU64,
    pub flushes: AtomicU64,
    /// What it was last told to wait for each function.
    pub backlogs: Mutex<BTreeMap<FunctionKey, u64>>,
    events: broadcast::Sender<Arc<Event>>,
    records: Arc<MemoryRecords>,
}

pub fn key(name: &str) -> FunctionKey {
    FunctionKey::new(&Tenant::default(), "native", name)
}

pub fn answer(status: u16, body: impl Into<Bytes>) -> Answered {
    Ok(Response::builder().status(status).body(Body::full(body.into())).unwrap())
}

pub fn refusal(id: InvocationId, fault: PlatformFault) -> Answered {
    Err(Box::new(InvokeError::platform(id, fault, "not now")))
}

impl TestEngine {
    pub fn new(records: Arc<MemoryRecords>) -> Self {
        Self {
            deployed: Mutex::default(),
            seen: Mutex::default(),
            dropped: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            backlogs: Mutex::default(),
            events: broadcast::Sender::new(64),
            records,
        }
    }

    /// Deploys a function that answers with `handler`.
    pub fn deploy<F, W>(&self, key: &FunctionKey, policy: Policy, handler: F)
    where
        F: Fn(Seen) -> W + Send + Sync + 'static,
        W: Future<Output = Answered> + Send + 'static,
    {
        self.deploy_limited(key, policy, Limits::default(), handler);
    }

    pub fn deploy_limited<F, W>(&self, key: &FunctionKey, policy: Policy, limits: Limits, handler: F)
    where
        F: Fn(Seen) -> W + Send + Sync + 'static,
        W: Future<Output = Answered> + Send + 'static,
    {
        let spec = RevisionSpec {
            workload: xebec_core::workload::Workload::image(key.to_string()),
            environment: "exec".into(),
            contract: ContractSpec::named("http"),
            command: Vec::new(),
            handler: None,
            style: None,
            variables: BTreeMap::new(),
            secrets: Vec::new(),
            limits,
            read_only_root: false,
            as_is: false,
        };
        let digest = spec.digest();
        let created: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let function = Function {
            key: key.clone(),
            addresses: Vec::new(),
            policy,
            revisions: vec![RevisionEntry { digest, number: 1, created }],
            traffic: Traffic::all_to(digest),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created,
            updated: created,
        };
        let view = FunctionView { function, live: Live::default() };
        let handler: Handler = Arc::new(move |seen| Box::pin(handler(seen)));
        self.deployed.lock().unwrap().insert(key.clone(), Deployed { view, spec, handler });
        self.tell(key, Happening::Deployed { revision: digest });
    }

    pub fn undeploy(&self, key: &FunctionKey) {
        self.deployed.lock().unwrap().remove(key);
        self.tell(key, Happening::Removed);
    }

    fn tell(&self, key: &FunctionKey, what: Happening) {
        let event = Event { time: Timestamp::now(), function: key.clone(), what };
        let _ = self.events.send(Arc::new(event));
    }

    /// What the function was called with so far.
    pub fn calls(&self, key: &FunctionKey) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.function == *key).cloned().collect()
    }

    fn record(&self, seen: &Seen, outcome: Outcome, status: Option<u16>) {
        self.records.put(InvocationRecord {
            id: seen.id,
            function: seen.function.clone(),
            revision: None,
            instance: Some("i".into()),
            received: Timestamp::now(),
            timing: Timing::default(),
            outcome,
            status,
            message: None,
            request_bytes: 0,
            response_bytes: 0,
            attempt: seen.attempt,
            noted: seen.note.as_deref().map(|note| Box::new(note.clone().into())),
        });
    }
}

/// Records that the caller went away, unless the call came to its end.
struct Running<'a> {
    engine: &'a TestEngine,
    seen: Seen,
    over: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.engine.record(&self.seen, Outcome::PlatformError(PlatformFault::Cancelled), None);
            self.engine.dropped.fetch_add(1, SeqCst);
        }
    }
}

#[async_trait]
impl Invoker for TestEngine {
    async fn invoke(&self, invocation: Invocation) -> Result<Answer, Box<InvokeError>> {
        let Invocation { id, function, request, principal, attempt, note, .. } = invocation;
        let (handler, policy) = {
            let deployed = self.deployed.lock().unwrap();
            let Some(found) = deployed.get(&function) else {
                let error = InvokeError::platform(id, PlatformFault::NotFound, "there is no such function");
                return Err(Box::new(error));
            };
            (found.handler.clone(), found.view.function.policy.clone())
        };
        let (head, body) = request.into_parts();
        let seen = Seen {
            id,
            function,
            attempt,
            principal: principal.clone(),
            method: head.method.to_string(),
            uri: head.uri.to_string(),
            headers: head.headers,
            body: body.collect(u64::MAX).await.unwrap(),
            note,
        };
        let fault = if hops::hops(&seen.headers) >= hops::MAX_HOPS {
            Some(PlatformFault::Loop)
        } else if policy.visibility == Visibility::Authenticated && principal == Principal::Anonymous {
            Some(PlatformFault::Forbidden)
        } else {
            None
        };
        if let Some(fault) = fault {
            self.record(&seen, Outcome::PlatformError(fault), None);
            return Err(Box::new(InvokeError::platform(id, fault, "refused")));
        }
        self.seen.lock().unwrap().push(seen.clone());
        let mut running = Running { engine: self, seen: seen.clone(), over: false };
        let answered = handler(seen.clone()).await;
        running.over = true;
        match answered {
            Ok(response) => {
                let failed = response.status().is_server_error();
                let outcome = if failed { Outcome::ApplicationError } else { Outcome::Success };
                self.record(&seen, outcome, Some(response.status().as_u16()));
                Ok(Answer {
                    response,
                    revision: Digest::of("r"),
                    instance: InstanceId("i".into()),
                    timing: Timing::default(),
                })
            }
            Err(error) => {
                self.record(&seen, error.outcome, None);
                Err(error)
            }
        }
    }
}

fn unused<T>() -> Result<T, Error> {
    Err(Error::internal("XB2999", "delivery has no business here"))
}

#[async_trait]
impl Control for TestEngine {
    async fn deploy(&self, _: Deployment, _: &dyn Progress) -> Result<FunctionView, Error> {
        unused()
    }

    async fn check(&self, _: Deployment) -> Result<(), Error> {
        unused()
    }

    async fn remove(&self, _: &FunctionKey) -> Result<(), Error> {
        unused()
    }

    fn function(&self, key: &FunctionKey) -> Option<FunctionView> {
        self.deployed.lock().unwrap().get(key).map(|deployed| deployed.view.clone())
    }

    fn functions(&self, _: Option<&Tenant>, _: Option<&str>) -> Vec<FunctionView> {
        self.deployed.lock().unwrap().values().map(|deployed| deployed.view.clone()).collect()
    }

    fn note_backlog(&self, key: &FunctionKey, waiting: u64) {
        self.backlogs.lock().unwrap().insert(key.clone(), waiting);
    }

    fn at(&self, _: &Address) -> Option<FunctionKey> {
        None
    }

    async fn document(&self, _: &FunctionKey) -> Result<Option<Document>, Error> {
        unused()
    }

    async fn revision(&self, digest: &Digest) -> Result<Option<RevisionSpec>, Error> {
        let deployed = self.deployed.lock().unwrap();
        Ok(deployed
            .values()
            .find(|deployed| deployed.spec.digest() == *digest)
            .map(|found| found.spec.clone()))
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
        self.flushes.fetch_add(1, SeqCst);
        Ok(())
    }

    async fn record(&self, id: &InvocationId) -> Result<Option<InvocationRecord>, Error> {
        Ok(self.records.of(*id))
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
        let listening = self.events.subscribe();
        stream::unfold(listening, |mut events| async move { Some((events.recv().await.ok()?, events)) })
            .boxed()
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
        None
    }

    async fn backup(&self, _: &Path) -> Result<(), Error> {
        unused()
    }
}
