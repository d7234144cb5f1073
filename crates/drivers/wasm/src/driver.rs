//! The `wasm` driver: the port's side.

use crate::{
    artefacts::{Artefacts, Code},
    instance::{Settings, Shared, WasmInstance},
    loaded::Loaded,
    runtime::{LazyRuntime, Runtime, Turn},
    secrets::{self, Mounted, Secrets},
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Instant,
};
use xebec_core::{
    Digest, Error, ErrorKind,
    environment::Environment,
    ports::{
        driver::{Blank, Driver, DriverReport, Feature, Prepare, Progress, Start},
        instance::InstanceIo,
    },
    revision::Revision,
    workload::Workload,
};

/// Memory of one call's guest unless its limits say otherwise.
pub const DEFAULT_MEMORY_BYTES: u64 = 128 << 20;

/// How a [`WasmDriver`] is set up.
#[derive(Clone, Debug)]
pub struct WasmOptions {
    /// The server's data directory; compiled components are kept in `wasm` below it.
    pub data_directory: PathBuf,
    /// Calls that can run at a time, over all functions. Each reserves address space, not memory.
    pub max_calls: u32,
}

impl WasmOptions {
    /// The defaults: 1000 calls at a time.
    pub fn new(data_directory: impl Into<PathBuf>) -> Self {
        Self { data_directory: data_directory.into(), max_calls: 1000 }
    }
}

/// Runs WebAssembly components in this process: every call in a memory of its own that is mapped
/// copy-on-write from the compiled component, and given back afterwards.
pub struct WasmDriver {
    runtime: LazyRuntime,
    artefacts: Arc<Artefacts>,
    secrets: Secrets,
    instances: Mutex<Vec<Weak<Shared>>>,
}

impl WasmDriver {
    /// A driver that keeps what it compiled below the data directory. Nothing is started or written yet.
    pub fn new(options: WasmOptions) -> Self {
        Self {
            runtime: LazyRuntime::new(options.max_calls),
            artefacts: Arc::new(Artefacts::new(options.data_directory.join("wasm"))),
            secrets: Secrets::default(),
            instances: Mutex::default(),
        }
    }

    /// The component, linked: at once where it is mapped.
    async fn load(&self, runtime: &Arc<Runtime>, code: &Arc<Code>) -> Result<Arc<Loaded>, Error> {
        if let Some(loaded) = self.artefacts.mapped(&code.digest) {
            return Ok(loaded);
        }
        let (artefacts, runtime, code) = (self.artefacts.clone(), runtime.clone(), code.clone());
        blocking(move || artefacts.load(&runtime, &code)).await
    }

    /// Compiles the code, telling how it goes.
    async fn compile(
        &self,
        runtime: &Arc<Runtime>,
        code: &Arc<Code>,
        blob: Bytes,
        turn: Turn,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let unpacking = code.clone();
        let component = blocking(move || unpacking.component(&blob)).await?;
        progress.step(&format!("compiling {} of WebAssembly", size(component.len() as u64)));
        let began = Instant::now();
        let (artefacts, runtime, code) = (self.artefacts.clone(), runtime.clone(), code.clone());
        blocking(move || {
            // Held to the end, even if the deploy is given up meanwhile.
            let _turn = turn;
            artefacts.compile(&runtime, &code, &component)
        })
        .await?;
        progress.step(&format!("compiled in {:.1} s", began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Remembers an instance, so that a shutdown finds it.
    fn track(&self, instance: &Arc<Shared>) {
        let mut instances = self.instances.lock();
        if instances.len() == instances.capacity() {
            instances.retain(|instance| instance.strong_count() > 0);
        }
        instances.push(Arc::downgrade(instance));
    }
}

#[async_trait]
impl Driver for WasmDriver {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn accepts(&self, revision: &Revision, environment: &Environment) -> Result<(), Error> {
        let spec = &revision.spec;
        let refuse = |message: &str, hint: &str| {
            Err(Error::new(ErrorKind::Refused, "XB3001", message).with_hint(hint))
        };
        match &spec.workload {
            Workload::Code { .. } => {}
            Workload::Image { .. } => {
                return refuse(
                    "workload: the wasm driver runs components, not container images",
                    "deploy the .wasm file itself",
                );
            }
            Workload::Builtin { .. } => {
                return refuse(
                    "workload: the wasm driver runs components, not parts of the server",
                    "use the environment builtin",
                );
            }
            Workload::Pod { .. } => {
                return refuse(
                    "workload: the wasm driver runs components, not pods",
                    "use Kubernetes for it",
                );
            }
        }
        if !matches!(spec.contract.name.as_str(), "wasi-http" | "init-run" | "stdio") {
            return refuse(
                &format!("contract: components do not speak {}", spec.contract.name),
                "use wasi-http, or stdio for a program with a main function",
            );
        }
        if spec.limits.cpu_millis.is_some() {
            return refuse(
                "limits.cpu_millis: a component's processor time has no limit of its own",
                "leave it away, and set limits.clocks.run_ms",
            );
        }
        let mut paths = spec.secrets.iter().filter_map(|secret| secret.path.as_ref());
        if let Some(path) = paths.find(|path| secrets::split(path).is_none()) {
            return refuse(
                &format!("secrets: {path:?} is not a file's absolute path"),
                "name a path like /run/secrets/name",
            );
        }
        if network(&spec.contract.options) && !network(&environment.contract.options) {
            return refuse(
                "contract.options.network: this environment does not let functions send requests",
                "have its contract's option `network` set to true in the server's configuration",
            );
        }
        Ok(())
    }

    async fn prepare(&self, request: Prepare<'_>) -> Result<(), Error> {
        let Prepare { revision, code: blob, progress, .. } = request;
        let Some(code) = Code::of(revision) else {
            return Err(Error::new(ErrorKind::Refused, "XB3001", "workload: there is no code to run"));
        };
        let code = Arc::new(code);
        let runtime = self.runtime.get()?.clone();
        let loaded = match self.load(&runtime, &code).await {
            Err(error) if error.code == "XB3005" => {
                let blob =
                    blob.ok_or_else(|| Error::internal("XB3002", "the code of the function is missing"))?;
                // Others may compile the same code just now: then nothing is left to do afterwards.
                let turn = runtime.compiling.clone().acquire_owned().await;
                match self.load(&runtime, &code).await {
                    Err(error) if error.code == "XB3005" => {
                        self.compile(&runtime, &code, blob, turn, progress).await?;
                        self.load(&runtime, &code).await?
                    }
                    other => other?,
                }
            }
            other => other?,
        };
        check(&loaded, revision)?;
        let (artefacts, revision) = (self.artefacts.clone(), revision.digest);
        blocking(move || artefacts.note(&revision, &code)).await
    }

    async fn start(&self, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        let runtime = self.runtime.get()?;
        let Some(code) = Code::of(&start.revision) else {
            return Err(Error::internal("XB3004", "there is no code to run"));
        };
        let loaded = self.load(runtime, &Arc::new(code)).await?;
        let mounted = self
            .secrets
            .mount(&start.secrets)
            .map_err(|error| Error::internal("XB3004", format!("cannot mount the secrets: {error}")))?;
        let instance = Arc::new(Shared::new(runtime.clone(), loaded, settings(start, mounted)));
        self.track(&instance);
        Ok(Arc::new(WasmInstance(instance)))
    }

    async fn start_blank(&self, _environment: Arc<Environment>) -> Result<Blank, Error> {
        Err(Error::new(ErrorKind::Refused, "XB3004", "the wasm driver has no blanks")
            .with_hint("components start without: leave `blanks` out of the environment"))
    }

    async fn specialize(&self, _blank: Blank, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        self.start(start).await
    }

    async fn collect(&self, live: &(dyn for<'d> Fn(&'d Digest) -> bool + Sync)) -> Result<u64, Error> {
        let artefacts = self.artefacts.clone();
        let mut dead = blocking(move || artefacts.collectable()).await?;
        dead.retain(|revision| !live(revision));
        let artefacts = self.artefacts.clone();
        blocking(move || artefacts.forget(&dead)).await
    }

    fn report(&self) -> DriverReport {
        let feature = |name: &str, enforced, detail: &str| Feature {
            name: name.to_owned(),
            enforced,
            detail: detail.to_owned(),
        };
        let (usable, engine) = match self.runtime.made() {
            None => (true, "wasmtime, started with the first component".to_owned()),
            Some(Ok(runtime)) => (true, format!("wasmtime, {} calls at a time", runtime.capacity)),
            Some(Err(error)) => (false, error.to_string()),
        };
        DriverReport {
            driver: "wasm".to_owned(),
            usable,
            features: vec![
                feature("engine", usable, &engine),
                feature("memory limit", true, "per call, by the engine"),
                feature("time limit", true, "guests are interrupted every 2 ms"),
                feature("files", true, "components see none but their secrets"),
                feature("network", true, "no sockets; requests only where the environment allows them"),
                feature("processor share", false, "not limited; limits.cpu_millis is refused"),
            ],
            shares_host_network: false,
        }
    }

    async fn shutdown(&self) {
        let instances = std::mem::take(&mut *self.instances.lock());
        for instance in instances.iter().filter_map(Weak::upgrade) {
            instance.end(crate::instance::KILLED);
        }
    }
}

/// Whether a contract's options let components send requests.
fn network(options: &BTreeMap<String, serde_json::Value>) -> bool {
    options.get("network").and_then(serde_json::Value::as_bool).unwrap_or(false)
}

fn memory_limit(revision: &Revision) -> u64 {
    revision.spec.limits.memory_bytes.unwrap_or(DEFAULT_MEMORY_BYTES)
}

/// Whether the component is what the revision says.
fn check(loaded: &Loaded, revision: &Revision) -> Result<(), Error> {
    loaded.speaks(&revision.spec.contract.name)?;
    let limit = memory_limit(revision);
    if loaded.initial_memory > limit {
        return Err(Error::invalid(
            "XB3002",
            format!(
                "the component starts with {} of memory and is allowed {}",
                size(loaded.initial_memory),
                size(limit)
            ),
        )
        .with_hint("raise limits.memory_bytes"));
    }
    Ok(())
}

/// What is particular to the instance. Of variables with one name, the function's win over the
/// environment's, and secrets over both.
fn settings(start: Start, secrets: Option<Mounted>) -> Settings {
    let spec = &start.revision.spec;
    let mut variables = start.environment.variables.clone();
    variables.extend(spec.variables.clone());
    for secret in &start.secrets {
        if let Some(name) = &secret.variable {
            variables.insert(name.clone(), String::from_utf8_lossy(&secret.value).into_owned());
        }
    }
    Settings {
        variables: variables.into_iter().collect(),
        memory_limit: memory_limit(&start.revision),
        run_clock: spec.limits.clocks.run,
        network: network(&start.environment.contract.options),
        secrets,
        id: start.instance,
        lines: start.lines,
    }
}

/// Runs what blocks on the disk or the processor beside the tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("XB3004", format!("the wasm driver failed: {error}"))),
    }
}

fn size(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{} KiB", bytes.div_ceil(1 << 10))
    } else {
        format!("{} MiB", bytes.div_ceil(1 << 20))
    }
}
