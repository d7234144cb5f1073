//! A driver on an engine of the tests' own, and functions to run on it.

#![allow(dead_code, reason = "each file of tests uses its own part")]

pub(crate) mod engine;
pub(crate) mod image;
pub(crate) mod registry;

use bytes::Bytes;
use engine::TestEngine;
use image::Image;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use xebec_contracts::{Brings, Call, CallError, Opening, Session};
use xebec_core::{
    Body, Error, FunctionKey, InvocationId, Tenant,
    environment::Environment,
    limits::Limits,
    log::LogStream,
    ports::{
        driver::{Driver as _, OpenSecret, Prepare, Progress, Start},
        instance::{InstanceId, InstanceIo, LineSink},
    },
    revision::{ContractSpec, Revision, RevisionSpec, SecretMount},
    slot::{Retire, Slot, SlotOwner},
    workload::Workload,
};
use xebec_driver_docker::{DockerDriver, DockerOptions};

/// The image that most tests run.
pub(crate) const GUEST: &str = "xebec-tests/guest:1";

/// How long anything may take on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A driver on an engine.
pub(crate) struct Place {
    pub(crate) driver: DockerDriver,
    pub(crate) data: TempDir,
    pub(crate) secrets: TempDir,
    pub(crate) socket: PathBuf,
    number: AtomicU64,
}

impl Place {
    /// On the shared engine, with its image; `None`, with a sentence, where there can be none.
    pub(crate) async fn launch() -> Option<Self> {
        Self::launch_with(|_| {}).await
    }

    pub(crate) async fn launch_with(change: impl FnOnce(&mut DockerOptions)) -> Option<Self> {
        static LOADED: OnceCell<()> = OnceCell::const_new();
        let engine = TestEngine::shared().await?;
        LOADED.get_or_init(|| async { Image::named(GUEST).load(&engine.docker().await).await }).await;
        Some(Self::on(engine, change).await)
    }

    pub(crate) async fn on(engine: &TestEngine, change: impl FnOnce(&mut DockerOptions)) -> Self {
        Self::at(engine.socket.clone(), tempfile::tempdir().unwrap(), change).await
    }

    pub(crate) async fn at(socket: PathBuf, data: TempDir, change: impl FnOnce(&mut DockerOptions)) -> Self {
        let secrets = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut options = DockerOptions::new(data.path());
        options.socket = Some(socket.clone());
        options.secrets_directory = secrets.path().to_owned();
        options.config_file = Some(data.path().join("config.json"));
        options.collect_after = Duration::ZERO;
        change(&mut options);
        let driver = DockerDriver::connect(options).await.unwrap();
        Self { driver, data, secrets, socket, number: AtomicU64::new(0) }
    }

    /// What containers of this place are labelled with.
    pub(crate) fn installation(&self) -> String {
        std::fs::read_to_string(self.data.path().join("docker/installation")).unwrap()
    }

    pub(crate) async fn deploy(&self, function: &Function) -> Result<Deployed, Error> {
        self.deploy_telling(function, &Told::default()).await
    }

    /// What a function is to the driver, accepted and pinned.
    pub(crate) async fn revision(
        &self,
        function: &Function,
        told: &Told,
    ) -> Result<(Arc<Revision>, Arc<Environment>), Error> {
        let environment = Arc::new(function.environment.clone());
        let mut spec = function.spec();
        self.driver.accepts(&Revision::new(spec.clone()), &environment)?;
        if function.pinned {
            self.driver.pin(&mut spec, told).await?;
        }
        Ok((Arc::new(Revision::new(spec)), environment))
    }

    /// As the engine does: accept, pin, prepare.
    pub(crate) async fn deploy_telling(&self, function: &Function, told: &Told) -> Result<Deployed, Error> {
        let (revision, environment) = self.revision(function, told).await?;
        let request = Prepare { revision: &revision, environment: &environment, code: None, progress: told };
        self.driver.prepare(request).await?;
        let (secrets, brings) = (function.secrets.clone(), function.brings.clone());
        Ok(Deployed { revision, environment, secrets, brings })
    }

    pub(crate) fn start(&self, deployed: &Deployed) -> (Start, Arc<Lines>) {
        let lines = Arc::new(Lines::default());
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let start = Start {
            instance: InstanceId(format!("test-{number}").into()),
            function: FunctionKey::new(&Tenant::default(), "native", "test"),
            revision: deployed.revision.clone(),
            environment: deployed.environment.clone(),
            secrets: deployed.secrets.clone(),
            lines: lines.clone(),
        };
        (start, lines)
    }

    /// Starts an instance and opens it.
    pub(crate) async fn open(&self, deployed: &Deployed) -> Open {
        self.try_open(deployed).await.unwrap_or_else(|(error, lines)| panic!("{error}\n{}", lines.text()))
    }

    pub(crate) async fn try_open(&self, deployed: &Deployed) -> Result<Open, (String, Arc<Lines>)> {
        self.try_open_within(deployed, PATIENCE).await
    }

    pub(crate) async fn try_open_within(
        &self,
        deployed: &Deployed,
        patience: Duration,
    ) -> Result<Open, (String, Arc<Lines>)> {
        let (start, lines) = self.start(deployed);
        let started = Instant::now();
        let io = match self.driver.start(start).await {
            Ok(io) => io,
            Err(error) => return Err((error.to_string(), lines)),
        };
        self.talk(deployed, io, lines, started, patience).await
    }

    /// Opens an instance that was started.
    pub(crate) async fn talk(
        &self,
        deployed: &Deployed,
        io: Arc<dyn InstanceIo>,
        lines: Arc<Lines>,
        started: Instant,
        patience: Duration,
    ) -> Result<Open, (String, Arc<Lines>)> {
        let spec = &deployed.revision.spec;
        let contract = xebec_contracts::contract(&spec.contract.name).unwrap();
        contract.check(spec).unwrap();
        let opening = Opening {
            io: io.clone(),
            spec: spec.contract.clone(),
            command: spec.command.clone(),
            limits: spec.limits.clone(),
            slots: Arc::new(Slots),
            lines: lines.clone(),
            brings: deployed.brings.clone(),
        };
        let error = match tokio::time::timeout(patience, contract.open(opening)).await {
            Ok(Ok(session)) => return Ok(Open { io, session, lines, took: started.elapsed() }),
            Ok(Err(error)) => format!("{} {}", error.message, String::from_utf8_lossy(&error.output)),
            Err(_) => "it did not open in time".to_owned(),
        };
        io.destroy().await;
        Err((error, lines))
    }

    /// Deploys, starts and opens.
    pub(crate) async fn run(&self, function: &Function) -> Open {
        let deployed = self.deploy(function).await.unwrap();
        self.open(&deployed).await
    }

    /// Ends everything, and checks that nothing is left.
    pub(crate) async fn end(self) {
        self.driver.shutdown().await;
        let left: Vec<_> = std::fs::read_dir(self.secrets.path()).unwrap().collect();
        assert!(left.is_empty(), "secrets were left behind: {left:?}");
    }
}

/// The environment of images.
pub(crate) fn environment() -> Environment {
    Environment {
        name: "image".to_owned(),
        image: None,
        description: String::new(),
        driver: "docker".to_owned(),
        contract: ContractSpec::named("http"),
        command: Vec::new(),
        variables: BTreeMap::new(),
        needs: Vec::new(),
        build: Vec::new(),
        blanks: None,
        concurrency: 10,
    }
}

struct Slots;

impl SlotOwner for Slots {
    fn announce(&self, _: u32) {}
    fn free(&self) {}
    fn retire(&self, _: Retire) {}
}

/// A prepared revision.
pub(crate) struct Deployed {
    pub(crate) revision: Arc<Revision>,
    pub(crate) environment: Arc<Environment>,
    secrets: Vec<OpenSecret>,
    brings: Brings,
}

/// An instance that takes calls.
pub(crate) struct Open {
    pub(crate) io: Arc<dyn InstanceIo>,
    pub(crate) session: Arc<dyn Session>,
    pub(crate) lines: Arc<Lines>,
    pub(crate) took: Duration,
}

impl Open {
    pub(crate) async fn call(&self, path: &str, body: &str) -> (u16, String) {
        self.try_call(path, body).await.unwrap()
    }

    pub(crate) async fn try_call(&self, path: &str, body: &str) -> Result<(u16, String), CallError> {
        let request = http::Request::post(path)
            .header("host", "localhost")
            .header("content-length", body.len())
            .body(Body::full(body.to_owned()))
            .unwrap();
        let call = Call { id: InvocationId::new(), slot: Slot::new(Arc::new(Slots)), request };
        let answer =
            tokio::time::timeout(PATIENCE, self.session.call(call)).await.expect("no answer in time")?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect(64 << 20).await.unwrap();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Lines that an instance printed.
#[derive(Default)]
pub(crate) struct Lines(pub(crate) Mutex<Vec<(LogStream, String)>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        self.0.lock().iter().map(|(_, text)| format!("{text}\n")).collect()
    }

    /// Waits for a line.
    pub(crate) async fn wait_for(&self, stream: LogStream, text: &str) {
        let is_there = || self.0.lock().iter().any(|line| *line == (stream, text.to_owned()));
        until(&format!("the line {text:?}"), async || is_there()).await;
    }
}

impl LineSink for Lines {
    fn line(&self, stream: LogStream, text: &str) {
        let mut lines = self.0.lock();
        if lines.len() < 10_000 {
            lines.push((stream, text.to_owned()));
        }
    }
}

/// What was told during a deploy.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<String>>);

impl Progress for Told {
    fn step(&self, line: &str) {
        self.0.lock().push(line.to_owned());
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A function to deploy.
pub(crate) struct Function {
    pub(crate) image: String,
    pub(crate) change: Box<dyn Fn(&mut RevisionSpec) + Send + Sync>,
    pub(crate) secrets: Vec<OpenSecret>,
    /// Its tag is part of the revision by what it means at the deploy.
    pub(crate) pinned: bool,
    pub(crate) environment: Environment,
    /// What its contract hands over.
    pub(crate) brings: Brings,
}

impl Function {
    pub(crate) fn guest() -> Self {
        Self::of(GUEST)
    }

    pub(crate) fn of(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            change: Box::new(|_| {}),
            secrets: Vec::new(),
            pinned: true,
            environment: environment(),
            brings: Brings::default(),
        }
    }

    pub(crate) fn change(mut self, change: impl Fn(&mut RevisionSpec) + Send + Sync + 'static) -> Self {
        self.change = Box::new(change);
        self
    }

    pub(crate) fn command(self, argv: &[&str]) -> Self {
        let argv: Vec<_> = argv.iter().map(|&part| part.to_owned()).collect();
        self.change(move |spec| spec.command.clone_from(&argv))
    }

    pub(crate) fn secret(mut self, path: &str, value: &'static [u8]) -> Self {
        self.secrets.push(OpenSecret {
            name: format!("s{}", self.secrets.len()),
            path: Some(path.to_owned()),
            variable: None,
            value: Bytes::from_static(value),
        });
        self
    }

    fn spec(&self) -> RevisionSpec {
        let mount = |secret: &OpenSecret| SecretMount {
            name: secret.name.clone(),
            version: 1,
            path: secret.path.clone(),
            variable: None,
        };
        let mut spec = RevisionSpec {
            workload: Workload::image(self.image.clone()),
            environment: "image".to_owned(),
            contract: ContractSpec::named("http"),
            command: Vec::new(),
            handler: None,
            style: None,
            variables: BTreeMap::new(),
            secrets: self.secrets.iter().map(mount).collect(),
            limits: Limits { concurrency: 10, ..Limits::default() },
            read_only_root: false,
            as_is: false,
        };
        (self.change)(&mut spec);
        spec
    }
}
