//! An engine in a world in memory.

use crate::{
    driver::{FakeDriver, Script, contracts, set_script},
    ports::{MemoryBlobs, MemoryLogs, MemoryRecords, MemoryStore, TwoEnvironments},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use xebec_core::{
    Answer, Body, FunctionKey, Invocation, InvokeError, Tenant,
    auth::Principal,
    document::Expect,
    function::FunctionView,
    limits::Limits,
    names::Address,
    policy::Policy,
    ports::{
        clock::SystemClock,
        control::{Control, Deployment},
        driver::Silent,
        invoker::Invoker,
    },
    record::InvocationRecord,
    revision::{ContractSpec, RevisionSpec},
    workload::{ArchiveFormat, Workload},
};
use xebec_engine::{Engine, EngineOptions, EngineParts};

pub(crate) struct World {
    pub(crate) engine: Arc<Engine>,
    pub(crate) script: Arc<Script>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) blobs: Arc<MemoryBlobs>,
    pub(crate) records: Arc<MemoryRecords>,
    pub(crate) logs: Arc<MemoryLogs>,
    options: EngineOptions,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(EngineOptions::default())
    }

    pub(crate) fn with(options: EngineOptions) -> Self {
        let script = Arc::new(Script::default());
        let (store, blobs) = (Arc::new(MemoryStore::default()), Arc::new(MemoryBlobs::default()));
        let (records, logs) = (Arc::new(MemoryRecords::default()), Arc::new(MemoryLogs::default()));
        let engine = engine(&script, &store, &blobs, &records, &logs, &options);
        Self { engine, script, store, blobs, records, logs, options }
    }

    /// The same stored world under a new engine, as after a restart.
    pub(crate) async fn restarted(self) -> Self {
        self.engine.shutdown(Duration::ZERO).await;
        let old = self.engine.clone();
        let world = self.again().await;
        drop(old);
        world
    }

    /// A new engine over what is stored.
    pub(crate) async fn again(self) -> Self {
        let script = Arc::new(Script::default());
        let engine = engine(&script, &self.store, &self.blobs, &self.records, &self.logs, &self.options);
        engine.resume().await.unwrap();
        Self { engine, script, ..self }
    }

    /// A deployment of `name` in the environment `plain`.
    pub(crate) async fn deployment(&self, name: &str) -> Deployment {
        let (archive, bytes) = self.engine.put_code(Body::full(format!("code of {name}"))).await.unwrap();
        let key = key(name);
        Deployment {
            addresses: vec![Address::new("function", &key.tenant, name)],
            key,
            revision: RevisionSpec {
                workload: Workload::Code { archive, format: ArchiveFormat::Tar, bytes },
                environment: "plain".to_owned(),
                contract: ContractSpec::named("fake"),
                command: Vec::new(),
                handler: None,
                style: None,
                variables: BTreeMap::new(),
                secrets: Vec::new(),
                limits: Limits::default(),
                read_only_root: false,
                as_is: false,
            },
            policy: Policy::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            document: serde_json::json!({ "name": name }),
            expect: Expect::Any,
        }
    }

    /// Deploys `name` as `change` wants it.
    pub(crate) async fn deploy(&self, name: &str, change: impl FnOnce(&mut Deployment)) -> FunctionView {
        let mut deployment = self.deployment(name).await;
        change(&mut deployment);
        self.engine.deploy(deployment, &Silent).await.unwrap()
    }

    pub(crate) async fn call(&self, name: &str, path: &str) -> Result<Answer, Box<InvokeError>> {
        self.send(name, path, Body::empty()).await
    }

    pub(crate) async fn send(&self, name: &str, path: &str, body: Body) -> Result<Answer, Box<InvokeError>> {
        self.engine.invoke(invocation(name, path, body)).await
    }

    /// Calls, and reads the whole answer.
    pub(crate) async fn text(&self, name: &str, path: &str) -> String {
        let answer = self.call(name, path).await.unwrap();
        let bytes = answer.response.into_body().collect(u64::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    pub(crate) fn view(&self, name: &str) -> FunctionView {
        self.engine.function(&key(name)).unwrap()
    }

    /// All records so far, oldest first.
    pub(crate) async fn records(&self) -> Vec<InvocationRecord> {
        let mut records = self.engine.records(Default::default()).await.unwrap().records;
        records.reverse();
        records
    }

    pub(crate) async fn outcomes(&self) -> Vec<&'static str> {
        self.records().await.iter().map(|record| record.outcome.name()).collect()
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        self.engine.metrics(&mut text);
        text
    }
}

fn engine(
    script: &Arc<Script>,
    store: &Arc<MemoryStore>,
    blobs: &Arc<MemoryBlobs>,
    records: &Arc<MemoryRecords>,
    logs: &Arc<MemoryLogs>,
    options: &EngineOptions,
) -> Arc<Engine> {
    set_script(script);
    let parts = EngineParts {
        store: store.clone(),
        blobs: blobs.clone(),
        records: records.clone(),
        logs: logs.clone(),
        drivers: vec![Arc::new(FakeDriver(script.clone()))],
        environments: Arc::new(TwoEnvironments),
        clock: Arc::new(SystemClock),
        secret_key: [7; 32],
        options: options.clone(),
    };
    Engine::with_contracts(parts, contracts)
}

pub(crate) fn key(name: &str) -> FunctionKey {
    FunctionKey::new(&Tenant::default(), "native", name)
}

pub(crate) fn invocation(name: &str, path: &str, body: Body) -> Invocation {
    let request = http::Request::builder().uri(path).body(body).unwrap();
    Invocation::new(key(name), Principal::Anonymous, request)
}

/// Waits until something is so, for twenty minutes of paused time at most.
pub(crate) async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..120_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}
