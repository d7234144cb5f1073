//! Starting instances, with and without a blank.

use crate::{
    driver::Inner,
    instance::{Instance, PortMap},
    layout::{self, CODE, RUNTIMES},
    output::Sink,
    prepared::Record,
    programs::Program,
    running::Running,
    worker::{Control, DESCRIPTOR, StartMessage},
    zygotes::Need,
};
use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
};
use xebec_core::{
    Error, ErrorKind,
    environment::Environment,
    ports::driver::{BlankInner, Start},
    revision::RevisionSpec,
};
use xebec_sandbox::{Bind, Exec, Network, Sandbox, SandboxError, SandboxSpec, Stream};

/// Where a worker listens inside unless its contract says otherwise.
const WORKER_SOCKET: &str = "/run/xebec/http.sock";
/// A secret's file: nothing inside may change it.
const SECRET_MODE: u32 = 0o444;
/// Variables that an interpreter reads when it starts only: a blank comes too late for them.
const READ_AT_START: [&str; 7] = ["PYTHON", "NODE_", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_", "SSL_CERT_"];

/// A worker that waits to be told what it is.
pub(crate) struct ProcessBlank {
    running: Running,
    sink: Arc<Sink>,
    control: Control,
}

impl BlankInner for ProcessBlank {
    fn alive(&self) -> bool {
        self.running.ended().is_none()
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send + Sync> {
        self
    }
}

/// Whether its instances run a language worker, which speaks over a control socket.
pub(crate) fn has_worker(environment: &Environment, spec: &RevisionSpec) -> bool {
    environment.blanks.is_some() && spec.command.is_empty()
}

/// Whether its instances have a main process, or processes come and go as the contract wants them.
pub(crate) fn has_main_process(spec: &RevisionSpec) -> bool {
    let mode = spec.contract.options.get("mode").and_then(|mode| mode.as_str());
    match spec.contract.name.as_str() {
        "stdio" => false,
        "init-run" => !matches!(mode, Some("loop" | "exec")),
        _ => true,
    }
}

/// Whether a blank can become an instance of it.
pub(crate) fn can_specialize(environment: &Environment, spec: &RevisionSpec) -> bool {
    has_worker(environment, spec)
        && !spec.variables.keys().any(|name| READ_AT_START.iter().any(|start| name.starts_with(start)))
}

impl Inner {
    /// Starts an instance from nothing.
    pub(crate) async fn start(&self, start: &Start) -> Result<Arc<Instance>, Error> {
        let spec = &start.revision.spec;
        let record = self.record(start)?;
        let held = self.prepared.hold(&record);
        let argv = if spec.command.is_empty() { &start.environment.command } else { &spec.command };
        let programs = self.programs_of(&start.environment, argv).await?;
        let port = if self.spawner.enforcement().shares_host_network { free_port(spec)? } else { None };
        let mut variables = layout::basic_variables(&programs);
        variables.extend(self.variables(start));
        if let Some(port) = port {
            variables.insert("PORT".to_owned(), port.real.to_string());
        }
        let mut binds = layout::program_binds(&programs);
        binds.extend(self.code_binds(&record));
        let worker = has_worker(&start.environment, spec);
        if worker {
            binds.push(layout::read_only(&self.runtimes, Path::new(RUNTIMES)));
        }
        let sandbox = SandboxSpec {
            id: self.next_id("i"),
            binds,
            limits: self.options.default_limits.fill(&spec.limits),
            network: Network::Outward,
            variables,
            directory: Some(PathBuf::from(CODE)),
        };
        let sandbox = self.spawner.create(sandbox).await.map_err(refused)?;
        write_secrets(&sandbox, start).await?;
        if !has_main_process(spec) {
            let running = Running::idle(sandbox);
            return Ok(Arc::new(Instance::new(start.instance.clone(), running, port, held)));
        }
        let mut exec = main_process(argv, &programs);
        let control = if worker { Some(open_control(&mut exec)?) } else { None };
        let process = if can_specialize(&start.environment, spec) {
            self.run_worker(&start.environment, &programs, &sandbox, exec, Need::Running).await
        } else {
            sandbox.spawn(exec).await
        };
        let process = process.map_err(refused)?;
        let running = Running::main(sandbox, process, &Arc::new(Sink::to(start.lines.clone())));
        let instance = Arc::new(Instance::new(start.instance.clone(), running, port, held));
        if let Some(control) = control {
            // If it ends instead, its contract finds out, and says so with the last lines.
            control.start(&self.message(start, &record)).await;
        }
        Ok(instance)
    }

    /// Starts a blank.
    pub(crate) async fn start_blank(&self, environment: &Environment) -> Result<ProcessBlank, Error> {
        let programs = self.programs_of(environment, &environment.command).await?;
        let mut binds = layout::program_binds(&programs);
        binds.push(layout::read_only(&self.runtimes, Path::new(RUNTIMES)));
        let mut variables = layout::basic_variables(&programs);
        variables.extend(environment.variables.clone());
        let sandbox = SandboxSpec {
            id: self.next_id("blank"),
            binds,
            limits: self.options.default_limits.fill(&xebec_core::limits::Limits::default()),
            network: Network::Outward,
            variables,
            directory: None,
        };
        let sandbox = self.spawner.create(sandbox).await.map_err(refused)?;
        let mut exec = main_process(&environment.command, &programs);
        exec.variables.insert("XEBEC_BLANK".to_owned(), "1".to_owned());
        let mut control = open_control(&mut exec)?;
        let process = self.run_worker(environment, &programs, &sandbox, exec, Need::Start).await;
        let process = process.map_err(refused)?;
        let sink = Arc::new(Sink::default());
        let running = Running::main(sandbox, process, &sink);
        let waiting = tokio::time::timeout(self.options.blank_time, control.blank()).await;
        if matches!(waiting, Ok(true)) {
            return Ok(ProcessBlank { running, sink, control });
        }
        running.sandbox().destroy().await;
        let exit = running.exited().await;
        Err(not_started(format!("a blank of {} {exit}\n{}", environment.name, sink.early())))
    }

    /// Makes a blank an instance.
    pub(crate) async fn specialize(
        &self,
        blank: ProcessBlank,
        start: &Start,
    ) -> Result<Arc<Instance>, Error> {
        let record = self.record(start)?;
        let held = self.prepared.hold(&record);
        let ProcessBlank { running, sink, control } = blank;
        sink.connect(start.lines.clone());
        let sandbox = running.sandbox();
        let limits = self.options.default_limits.fill(&start.revision.spec.limits);
        let bind = async {
            for bind in self.code_binds(&record) {
                sandbox.bind(bind).await?;
            }
            Ok(())
        };
        tokio::try_join!(bind, sandbox.set_limits(limits)).map_err(refused)?;
        write_secrets(sandbox, start).await?;
        let instance = Arc::new(Instance::new(start.instance.clone(), running, None, held));
        control.start(&self.message(start, &record)).await;
        Ok(instance)
    }

    fn record(&self, start: &Start) -> Result<Record, Error> {
        self.prepared.read(&start.revision.digest).ok_or_else(|| {
            let revision = start.revision.digest.short();
            Error::internal("XB3005", format!("the revision {revision} is not prepared here"))
                .with_hint("deploy it again")
        })
    }

    /// The programs that an environment and a command need of the host.
    pub(crate) async fn programs_of(
        &self,
        environment: &Environment,
        argv: &[String],
    ) -> Result<Vec<Arc<Program>>, Error> {
        let mut programs = Vec::new();
        let first = argv.first().filter(|program| layout::is_of_host(program));
        for name in first.into_iter().chain(&environment.needs) {
            let program = self.programs.find(name).await?;
            if !programs.contains(&program) {
                programs.push(program);
            }
        }
        Ok(programs)
    }

    fn code_binds(&self, record: &Record) -> Vec<Bind> {
        let code = self.prepared.code_of(record);
        let mut binds = vec![layout::read_only(&code, Path::new(CODE))];
        for installed in &record.dependencies {
            binds.push(layout::read_only(&self.prepared.dependencies(&installed.key), &installed.mount));
        }
        binds
    }

    /// The environment's variables, the function's above them, and its secrets.
    fn variables(&self, start: &Start) -> BTreeMap<String, String> {
        let mut variables = start.environment.variables.clone();
        variables.extend(start.revision.spec.variables.clone());
        for secret in &start.secrets {
            if let Some(name) = &secret.variable {
                variables.insert(name.clone(), String::from_utf8_lossy(&secret.value).into_owned());
            }
        }
        variables
    }

    fn message(&self, start: &Start, record: &Record) -> StartMessage {
        let spec = &start.revision.spec;
        let socket = spec.contract.options.get("socket").and_then(|socket| socket.as_str());
        StartMessage {
            code: PathBuf::from(CODE),
            dependencies: record.dependencies.iter().map(|installed| installed.mount.clone()).collect(),
            handler: spec.handler.clone(),
            style: spec.style.clone(),
            variables: self.variables(start),
            concurrency: spec.limits.concurrency,
            function: start.function.name.to_string(),
            socket: PathBuf::from(socket.unwrap_or(WORKER_SOCKET)),
        }
    }
}

fn main_process(argv: &[String], programs: &[Arc<Program>]) -> Exec {
    Exec {
        argv: layout::command(argv, layout::program_of(argv, programs), Path::new(RUNTIMES)),
        stdout: Stream::Pipe,
        stderr: Stream::Pipe,
        ..Exec::default()
    }
}

fn open_control(exec: &mut Exec) -> Result<Control, Error> {
    let (control, theirs) =
        Control::pair().map_err(|error| not_started(format!("no control socket: {error}")))?;
    exec.descriptors.push(theirs);
    exec.variables.insert("XEBEC_CONTROL".to_owned(), DESCRIPTOR.to_owned());
    Ok(control)
}

async fn write_secrets(sandbox: &Sandbox, start: &Start) -> Result<(), Error> {
    for secret in &start.secrets {
        if let Some(path) = &secret.path {
            sandbox.write_file(Path::new(path), &secret.value, SECRET_MODE).await.map_err(refused)?;
        }
    }
    Ok(())
}

/// A port of the host for a server inside, where all share the host's network.
fn free_port(spec: &RevisionSpec) -> Result<Option<PortMap>, Error> {
    if !has_main_process(spec) || spec.contract.options.contains_key("socket") {
        return Ok(None);
    }
    let named = spec.contract.options.get("port").and_then(serde_json::Value::as_u64).unwrap_or(8080);
    // Somebody else may take it before the function does; then the start fails, and the next gets another.
    let real = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let real = real.map_err(|error| not_started(format!("there is no free port: {error}")))?.port();
    Ok(Some(PortMap { named: u16::try_from(named).unwrap_or(8080), real }))
}

fn refused(error: SandboxError) -> Error {
    not_started(error.to_string())
}

fn not_started(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, "XB3004", message)
}
