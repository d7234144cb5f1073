//! Components, deployed and started.

use bytes::Bytes;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use xebec_contracts::{Brings, Call, CallError, Opening, Session, contract};
use xebec_core::{
    Body, Digest, Error, FunctionKey, InvocationId, Tenant,
    environment::Environment,
    limits::Limits,
    log::LogStream,
    ports::{
        driver::{Driver as _, OpenSecret, Prepare, Progress, Start},
        instance::{InstanceId, InstanceIo, LineSink},
    },
    revision::{ContractSpec, Revision, RevisionSpec},
    slot::{Retire, Slot, SlotOwner},
    workload::{ArchiveFormat, Workload},
};
use xebec_driver_wasm::{WasmDriver, WasmOptions};

pub(crate) const HELLO: &str = include_str!("../../../../../examples/wasm-hello/hello.wat");
pub(crate) const COMMAND: &str = include_str!("command.wat");

/// The component that does what its path says.
pub(crate) fn guest() -> String {
    let (imports, _) = HELLO.split_once("  ;; The program.").unwrap();
    imports.to_owned() + include_str!("guest.wat")
}

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("this took too long")
}

/// A driver on a directory of its own.
pub(crate) struct Host {
    pub(crate) driver: WasmDriver,
    pub(crate) directory: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with_calls(16)
    }

    pub(crate) fn with_calls(max_calls: u32) -> Self {
        Self::on(tempfile::tempdir().unwrap(), max_calls)
    }

    pub(crate) fn on(directory: tempfile::TempDir, max_calls: u32) -> Self {
        let driver = WasmDriver::new(WasmOptions { max_calls, ..WasmOptions::new(directory.path()) });
        Self { driver, directory }
    }

    pub(crate) async fn prepare(&self, revision: &Revision, code: &Bytes) -> Result<Vec<String>, Error> {
        self.driver.accepts(revision, &environment())?;
        let steps = Steps::default();
        let request =
            Prepare { revision, environment: &environment(), code: Some(code.clone()), progress: &steps };
        soon(self.driver.prepare(request)).await?;
        Ok(steps.0.into_inner().unwrap())
    }

    pub(crate) async fn start(&self, revision: &Revision) -> Result<Running, Error> {
        let lines = Arc::new(KeptLines::default());
        let start = Start {
            instance: InstanceId("one".into()),
            function: FunctionKey::new(&Tenant::default(), "native", "toy"),
            revision: Arc::new(revision.clone()),
            environment: Arc::new(environment()),
            secrets: vec![OpenSecret {
                name: "password".to_owned(),
                path: Some("/run/secrets/password".to_owned()),
                variable: Some("PASSWORD".to_owned()),
                value: Bytes::from_static(b"swordfish"),
            }],
            lines: lines.clone(),
        };
        Ok(Running { io: self.driver.start(start).await?, lines })
    }

    /// Deploys and starts.
    pub(crate) async fn run(
        &self,
        code: impl Into<Bytes>,
        change: impl FnOnce(&mut RevisionSpec),
    ) -> Running {
        let code = code.into();
        let revision = revision(&code, change);
        self.prepare(&revision, &code).await.unwrap();
        self.start(&revision).await.unwrap()
    }
}

/// What an instance holds.
pub(crate) async fn memory(running: &Running) -> Option<u64> {
    running.io.usage().await.map(|usage| usage.memory_bytes)
}

/// A started instance.
pub(crate) struct Running {
    pub(crate) io: Arc<dyn InstanceIo>,
    pub(crate) lines: Arc<KeptLines>,
}

impl Running {
    /// Speaks `wasi-http` with it.
    pub(crate) async fn open(&self, limits: Limits) -> Conversation {
        let slots = Arc::new(CountedSlots::default());
        let opening = Opening {
            io: self.io.clone(),
            spec: ContractSpec::named("wasi-http"),
            command: Vec::new(),
            limits,
            slots: slots.clone(),
            lines: self.lines.clone(),
            brings: Brings::default(),
        };
        let session = contract("wasi-http").unwrap().open(opening).await.unwrap();
        Conversation { session, slots }
    }
}

pub(crate) struct Conversation {
    pub(crate) session: Arc<dyn Session>,
    pub(crate) slots: Arc<CountedSlots>,
}

impl Conversation {
    pub(crate) async fn call(
        &self,
        request: ::http::Request<Body>,
    ) -> Result<::http::Response<Body>, CallError> {
        let slot = Slot::new(self.slots.clone());
        soon(self.session.call(Call { id: InvocationId::new(), slot, request })).await
    }
}

pub(crate) fn environment() -> Environment {
    Environment {
        name: "wasm".to_owned(),
        image: None,
        description: String::new(),
        driver: "wasm".to_owned(),
        contract: ContractSpec::named("wasi-http"),
        command: Vec::new(),
        variables: BTreeMap::from([
            ("FROM".to_owned(), "environment".to_owned()),
            ("SHARED".to_owned(), "environment".to_owned()),
        ]),
        needs: Vec::new(),
        build: Vec::new(),
        blanks: None,
        concurrency: 1000,
    }
}

pub(crate) fn revision(code: &Bytes, change: impl FnOnce(&mut RevisionSpec)) -> Revision {
    let mut spec = RevisionSpec {
        workload: Workload::Code {
            archive: Digest::of(code),
            format: ArchiveFormat::Wasm,
            bytes: code.len() as u64,
        },
        environment: "wasm".to_owned(),
        contract: ContractSpec::named("wasi-http"),
        command: Vec::new(),
        handler: None,
        style: None,
        variables: BTreeMap::from([("SHARED".to_owned(), "function".to_owned())]),
        secrets: Vec::new(),
        limits: Limits::default(),
        read_only_root: false,
        as_is: false,
    };
    change(&mut spec);
    Revision::new(spec)
}

pub(crate) fn post(path: &str, body: impl Into<Body>) -> ::http::Request<Body> {
    ::http::Request::post(path).body(body.into()).unwrap()
}

pub(crate) async fn text(answer: ::http::Response<Body>) -> String {
    let bytes = soon(answer.into_body().collect(1 << 20)).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[derive(Default)]
pub(crate) struct Steps(Mutex<Vec<String>>);

impl Progress for Steps {
    fn step(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

/// Keeps the first lines, counts all.
#[derive(Default)]
pub(crate) struct KeptLines(Mutex<(Vec<(LogStream, String)>, usize)>);

impl LineSink for KeptLines {
    fn line(&self, stream: LogStream, text: &str) {
        let mut kept = self.0.lock().unwrap();
        kept.1 += 1;
        if kept.0.len() < 100 {
            kept.0.push((stream, text.to_owned()));
        }
    }
}

impl KeptLines {
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().1
    }

    pub(crate) fn on(&self, stream: LogStream) -> Vec<String> {
        let kept = self.0.lock().unwrap();
        kept.0.iter().filter(|line| line.0 == stream).map(|line| line.1.clone()).collect()
    }

    /// Waits until it holds a line.
    pub(crate) async fn has(&self, stream: LogStream, text: &str) {
        soon(async {
            while !self.on(stream).iter().any(|line| line == text) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

/// Counts what happens to slots.
#[derive(Default)]
pub(crate) struct CountedSlots(Mutex<Slots>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Slots {
    pub(crate) announced: u32,
    pub(crate) freed: u32,
    pub(crate) retired: Option<Retire>,
}

impl CountedSlots {
    pub(crate) fn seen(&self) -> Slots {
        *self.0.lock().unwrap()
    }
}

impl SlotOwner for CountedSlots {
    fn announce(&self, count: u32) {
        self.0.lock().unwrap().announced += count;
    }

    fn free(&self) {
        self.0.lock().unwrap().freed += 1;
    }

    fn retire(&self, why: Retire) {
        self.0.lock().unwrap().retired = Some(why);
    }
}
