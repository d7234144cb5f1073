//! A driver with its real spawner, and functions deployed on it.
#![allow(dead_code, reason = "each test file uses its share")]

use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use xebec_contracts::{Brings, Call, CallError, Opening, Session};
use xebec_core::{
    Body, Digest, Error, FunctionKey, InvocationId, Tenant,
    environment::{Environment, Environments as _},
    limits::Limits,
    log::LogStream,
    ports::{
        driver::{Blank, Driver as _, OpenSecret, Prepare, Progress, Start},
        instance::{InstanceId, InstanceIo, LineSink},
    },
    revision::{Revision, RevisionSpec},
    slot::{Retire, Slot, SlotOwner},
    workload::{ArchiveFormat, Workload},
};
use xebec_driver_process::{ProcessDriver, ProcessOptions};
use xebec_environments::Table;

/// How long anything may take here. The machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A driver in a directory of its own.
pub(crate) struct Place {
    pub(crate) driver: ProcessDriver,
    pub(crate) table: Table,
    pub(crate) folder: tempfile::TempDir,
    number: AtomicU32,
}

impl Place {
    /// `None`, with a sentence, where there can be no sandboxes.
    pub(crate) async fn launch() -> Option<Self> {
        Self::launch_with(|_| {}).await
    }

    pub(crate) async fn launch_with(change: impl FnOnce(&mut ProcessOptions)) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut options = ProcessOptions::new(folder.path());
        options.spawner = Some(env!("CARGO_BIN_EXE_process-spawner-for-tests").into());
        options.collect_after = Duration::ZERO;
        options.spare_sandboxes = 2;
        change(&mut options);
        match ProcessDriver::launch(options).await {
            Ok(driver) => Some(Self { driver, table: Table::builtin(), folder, number: AtomicU32::new(0) }),
            Err(error) => {
                xebec_skipped::skipped!("{error}");
                None
            }
        }
    }

    /// `None`, with a sentence, where the machine lacks what an environment needs.
    pub(crate) fn environment(&self, name: &str) -> Option<Arc<Environment>> {
        let environment = self.table.environment(name).unwrap();
        let missing = self.table.missing(&environment);
        if missing.is_empty() {
            return Some(environment);
        }
        xebec_skipped::skipped!("this machine has no {}", missing.join(", "));
        None
    }

    /// Prepares a function.
    pub(crate) async fn deploy(&self, function: &Function) -> Result<Deployed, Error> {
        self.deploy_telling(function, &Told::default()).await
    }

    pub(crate) async fn deploy_telling(&self, function: &Function, told: &Told) -> Result<Deployed, Error> {
        let (revision, environment, code) = self.revision(function);
        let request =
            Prepare { revision: &revision, environment: &environment, code: Some(code), progress: told };
        self.driver.prepare(request).await?;
        Ok(Deployed { revision, environment, secrets: function.secrets.clone() })
    }

    /// What a function is to the driver: its revision, environment and code.
    pub(crate) fn revision(&self, function: &Function) -> (Arc<Revision>, Arc<Environment>, Bytes) {
        let environment = self.table.environment(&function.environment).unwrap();
        let (format, archive) = function.packed();
        let mut limits = Limits { concurrency: environment.concurrency, ..Limits::default() };
        (function.limits)(&mut limits);
        let mut contract = environment.contract.clone();
        contract.options.extend(function.contract.clone());
        if function.style.is_some() {
            contract.name = "init-run".to_owned();
        }
        let spec = RevisionSpec {
            workload: Workload::Code { archive: Digest::of(&archive), format, bytes: archive.len() as u64 },
            environment: environment.name.clone(),
            contract,
            command: function.command.clone(),
            handler: function.handler.clone(),
            style: function.style.clone(),
            variables: function.variables.clone(),
            secrets: Vec::new(),
            limits,
            read_only_root: false,
            as_is: function.as_is,
        };
        (Arc::new(Revision::new(spec)), environment, archive.into())
    }

    /// What starts an instance of it.
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
        let (start, lines) = self.start(deployed);
        let started = Instant::now();
        match self.driver.start(start).await {
            Ok(io) => open(io, deployed, lines, started).await,
            Err(error) => Err((error.to_string(), lines)),
        }
    }

    /// Makes a blank an instance and opens it.
    pub(crate) async fn open_blank(&self, blank: Blank, deployed: &Deployed) -> Open {
        let (start, lines) = self.start(deployed);
        let started = Instant::now();
        let io = self.driver.specialize(blank, start).await.unwrap();
        open(io, deployed, lines, started)
            .await
            .unwrap_or_else(|(error, lines)| panic!("{error}\n{}", lines.text()))
    }

    /// Deploys, starts and opens.
    pub(crate) async fn run(&self, function: &Function) -> Open {
        let deployed = self.deploy(function).await.unwrap();
        self.open(&deployed).await
    }
}

async fn open(
    io: Arc<dyn InstanceIo>,
    deployed: &Deployed,
    lines: Arc<Lines>,
    started: Instant,
) -> Result<Open, (String, Arc<Lines>)> {
    let spec = &deployed.revision.spec;
    let contract = xebec_contracts::contract(&spec.contract.name).unwrap();
    contract.check(spec).unwrap();
    let command = if spec.command.is_empty() { &deployed.environment.command } else { &spec.command };
    let opening = Opening {
        io: io.clone(),
        spec: spec.contract.clone(),
        command: command.clone(),
        limits: spec.limits.clone(),
        slots: Arc::new(Slots),
        lines: lines.clone(),
        brings: Brings {
            handler: spec.handler.clone(),
            variables: spec.variables.clone(),
            ..Brings::default()
        },
    };
    match tokio::time::timeout(PATIENCE, contract.open(opening)).await {
        Ok(Ok(session)) => Ok(Open { io, session, lines, started }),
        Ok(Err(error)) => {
            io.destroy().await;
            Err((format!("{} {}", error.message, String::from_utf8_lossy(&error.output)), lines))
        }
        Err(_) => Err(("it did not open in time".to_owned(), lines)),
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
}

/// An instance that takes calls.
pub(crate) struct Open {
    pub(crate) io: Arc<dyn InstanceIo>,
    pub(crate) session: Arc<dyn Session>,
    pub(crate) lines: Arc<Lines>,
    pub(crate) started: Instant,
}

impl Open {
    pub(crate) async fn call(&self, body: &str) -> (u16, String) {
        self.try_call(body).await.unwrap()
    }

    pub(crate) async fn try_call(&self, body: &str) -> Result<(u16, String), CallError> {
        let mut request = http::Request::post("/").header("host", "localhost");
        if !body.is_empty() {
            request = request.header("content-length", body.len());
        }
        let request = request.body(Body::full(body.to_owned())).unwrap();
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
pub(crate) struct Lines(Mutex<Vec<(LogStream, String)>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        let lines = self.0.lock();
        lines.iter().map(|(_, text)| format!("{text}\n")).collect()
    }

    /// What came on one stream.
    pub(crate) fn of(&self, wanted: LogStream) -> Vec<String> {
        let lines = self.0.lock();
        lines.iter().filter(|(stream, _)| *stream == wanted).map(|(_, text)| text.clone()).collect()
    }

    /// Waits for a line that has this in it.
    pub(crate) async fn wait_for(&self, text: &str) {
        until(&format!("the line {text:?}"), || self.text().contains(text)).await;
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
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A function to deploy.
pub(crate) struct Function {
    environment: String,
    files: Vec<(String, Vec<u8>)>,
    command: Vec<String>,
    handler: Option<String>,
    style: Option<String>,
    variables: BTreeMap<String, String>,
    contract: BTreeMap<String, serde_json::Value>,
    secrets: Vec<OpenSecret>,
    format: ArchiveFormat,
    as_is: bool,
    limits: Box<dyn Fn(&mut Limits) + Send + Sync>,
}

impl Function {
    pub(crate) fn new(environment: &str) -> Self {
        Self {
            environment: environment.to_owned(),
            files: Vec::new(),
            command: Vec::new(),
            handler: None,
            style: None,
            variables: BTreeMap::new(),
            contract: BTreeMap::new(),
            secrets: Vec::new(),
            format: ArchiveFormat::Tar,
            as_is: false,
            limits: Box::new(|_| {}),
        }
    }

    /// Code that is one file.
    pub(crate) fn single(self, contents: &[u8]) -> Self {
        Self { format: ArchiveFormat::Single, ..self }.bytes("exec", contents)
    }

    /// Code that is a zip of its files.
    pub(crate) fn zipped(self) -> Self {
        Self { format: ArchiveFormat::Zip, ..self }
    }

    /// Code that needs no build steps.
    pub(crate) fn without_steps(self) -> Self {
        Self { as_is: true, ..self }
    }

    /// An action of OpenWhisk's, run by a language worker.
    pub(crate) fn action(self) -> Self {
        Self { style: Some("openwhisk".to_owned()), as_is: true, ..self }
    }

    pub(crate) fn handler(self, name: &str) -> Self {
        Self { handler: Some(name.to_owned()), ..self }
    }

    fn packed(&self) -> (ArchiveFormat, Vec<u8>) {
        let archive = match self.format {
            ArchiveFormat::Zip => zip(&self.files),
            ArchiveFormat::Single => self.files[0].1.clone(),
            _ => tar(&self.files),
        };
        (self.format, archive)
    }

    pub(crate) fn python(source: &str) -> Self {
        Self::new("python").file("handler.py", source)
    }

    pub(crate) fn node(source: &str) -> Self {
        Self::new("node").file("handler.js", source)
    }

    pub(crate) fn exec(command: &[&str]) -> Self {
        Self { command: command.iter().map(|&part| part.to_owned()).collect(), ..Self::new("exec") }
    }

    pub(crate) fn http(command: &[&str]) -> Self {
        Self { environment: "http".to_owned(), ..Self::exec(command) }
    }

    /// A file of the code; scripts are executable.
    pub(crate) fn file(self, name: &str, contents: &str) -> Self {
        self.bytes(name, contents.as_bytes())
    }

    pub(crate) fn bytes(mut self, name: &str, contents: &[u8]) -> Self {
        self.files.push((name.to_owned(), contents.to_owned()));
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn contract(mut self, name: &str, value: serde_json::Value) -> Self {
        self.contract.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn secret(mut self, secret: OpenSecret) -> Self {
        self.secrets.push(secret);
        self
    }

    pub(crate) fn limits(mut self, change: impl Fn(&mut Limits) + Send + Sync + 'static) -> Self {
        self.limits = Box::new(change);
        self
    }
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(if contents.starts_with(b"#!") { 0o755 } else { 0o644 });
        builder.append_data(&mut header, name, &contents[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, contents) in files {
        let mode = if contents.starts_with(b"#!") { 0o755 } else { 0o644 };
        let options = zip::write::SimpleFileOptions::default().unix_permissions(mode);
        writer.start_file(name.as_str(), options).unwrap();
        std::io::Write::write_all(&mut writer, contents).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The interpreter of an environment, past any shim.
pub(crate) async fn resolved(place: &Place, environment: &str) -> String {
    let (source, program) = match environment {
        "python" => ("import sys; print(sys.executable)", "python3"),
        _ => ("console.log(process.execPath)", "node"),
    };
    let _ = place;
    let flag = if environment == "python" { "-c" } else { "-e" };
    let output = std::process::Command::new(program).args([flag, source]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
