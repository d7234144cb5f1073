//! The `process` driver: the port's side.

use crate::{
    archive::UnpackLimits,
    layout::DefaultLimits,
    prepared::{Prepared, Work, storage},
    programs::Programs,
    runtimes,
    starting::{self, ProcessBlank},
    zygotes::Zygotes,
};
use async_trait::async_trait;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use xebec_core::{
    Digest, Error, ErrorKind,
    environment::Environment,
    ports::{
        driver::{Blank, Driver, DriverReport, Feature, Prepare, Start},
        instance::InstanceIo,
    },
    revision::Revision,
    workload::{ArchiveFormat, Workload},
};
use xebec_sandbox::{SandboxError, Spawner, SpawnerOptions};

/// How a [`ProcessDriver`] is set up.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// The server's data directory; code and dependencies are kept in `process` below it.
    pub data_directory: PathBuf,
    /// A directory of the spawner's own; emptied at launch.
    pub run_directory: PathBuf,
    /// Functions share the host's network even where they could have their own.
    pub share_host_network: bool,
    /// Sandboxes kept ready.
    pub spare_sandboxes: u32,
    /// The binary that is re-executed as the spawner; `None`: the running one.
    pub spawner: Option<PathBuf>,
    /// What an instance may use where its revision does not say.
    pub default_limits: DefaultLimits,
    /// What a code archive may hold.
    pub unpack_limits: UnpackLimits,
    /// How long installing dependencies may take.
    pub build_time: Duration,
    /// How long a blank may take to start.
    pub blank_time: Duration,
    /// What was prepared is not collected before this age: its deploy may not be finished.
    pub collect_after: Duration,
}

impl ProcessOptions {
    /// The defaults.
    pub fn new(data_directory: impl Into<PathBuf>) -> Self {
        let data_directory = data_directory.into();
        Self {
            run_directory: data_directory.join("process/run"),
            data_directory,
            share_host_network: false,
            spare_sandboxes: 4,
            spawner: None,
            default_limits: DefaultLimits::default(),
            unpack_limits: UnpackLimits::default(),
            build_time: Duration::from_secs(600),
            blank_time: Duration::from_secs(30),
            collect_after: Duration::from_secs(600),
        }
    }
}

/// Runs functions as sandboxed processes of this machine.
pub struct ProcessDriver(Arc<Inner>);

/// What all of the driver's work shares.
pub(crate) struct Inner {
    pub(crate) options: ProcessOptions,
    pub(crate) spawner: Spawner,
    pub(crate) prepared: Prepared,
    pub(crate) programs: Programs,
    pub(crate) zygotes: Zygotes,
    /// The language workers' files.
    pub(crate) runtimes: PathBuf,
    number: AtomicU64,
}

impl Inner {
    /// A name for a sandbox.
    pub(crate) fn next_id(&self, kind: &str) -> String {
        format!("{kind}-{}", self.number.fetch_add(1, Ordering::Relaxed))
    }
}

impl ProcessDriver {
    /// Starts the spawner, and opens what was prepared in earlier runs.
    ///
    /// # Errors
    /// `XB6030` where there can be no sandboxes or no directory.
    pub async fn launch(options: ProcessOptions) -> Result<Self, Error> {
        let unusable = |why: String| Error::new(ErrorKind::Unavailable, "XB6030", why);
        let root = options.data_directory.join("process");
        let failed = |error: std::io::Error| unusable(format!("{} cannot be used: {error}", root.display()));
        let prepared = Prepared::open(root.clone()).map_err(failed)?;
        let runtimes = runtimes::write(&root.join("runtimes")).map_err(failed)?;
        let spawner = Spawner::launch(SpawnerOptions {
            executable: options.spawner.clone(),
            run_directory: options.run_directory.clone(),
            share_host_network: options.share_host_network,
            spare_networks: options.spare_sandboxes,
        });
        let spawner = spawner.await.map_err(|error: SandboxError| unusable(error.to_string()))?;
        let (programs, zygotes, number) = (Programs::default(), Zygotes::default(), AtomicU64::new(0));
        Ok(Self(Arc::new(Inner { options, spawner, prepared, programs, zygotes, runtimes, number })))
    }
}

#[async_trait]
impl Driver for ProcessDriver {
    fn name(&self) -> &'static str {
        "process"
    }

    fn accepts(&self, revision: &Revision, environment: &Environment) -> Result<(), Error> {
        let spec = &revision.spec;
        let refuse = |message: String, hint: &str| {
            Err(Error::new(ErrorKind::Refused, "XB3001", message).with_hint(hint))
        };
        match &spec.workload {
            Workload::Code { format: ArchiveFormat::Wasm, .. } => {
                return refuse(
                    format!(
                        "workload: the environment {} runs files, not a WebAssembly module",
                        environment.name
                    ),
                    "use the environment wasm or wasi-command",
                );
            }
            Workload::Image { code: Some(_), .. } => {
                return refuse(
                    "workload.code: the process driver hands no code to images".to_owned(),
                    "leave the image away, and name an environment that runs the code",
                );
            }
            Workload::Code { .. } | Workload::Image { code: None, .. } => {}
            Workload::Builtin { .. } => {
                return refuse(
                    "workload: the process driver runs no parts of the server".to_owned(),
                    "use the environment builtin",
                );
            }
            Workload::Pod { .. } => {
                return refuse(
                    "workload: the process driver runs no pods".to_owned(),
                    "use Kubernetes for it",
                );
            }
        }
        if !matches!(spec.contract.name.as_str(), "http" | "stdio" | "init-run") {
            return refuse(
                format!("contract: processes do not speak {}", spec.contract.name),
                "use http, stdio or init-run",
            );
        }
        if spec.contract.name == "init-run" && !starting::has_main_process(spec) {
            // The contract knows what runs, and what its entry points are.
            return Ok(());
        }
        if spec.command.is_empty() && environment.command.is_empty() {
            return refuse(
                format!("command: the environment {} leaves it to the function", environment.name),
                "say what to run, e.g. command = [\"./handler\"]",
            );
        }
        if starting::has_main_process(spec) || spec.handler.is_none() {
            return Ok(());
        }
        refuse(
            "handler: a program that is started for each call has no entry points".to_owned(),
            "leave it away; the command says what runs",
        )
    }

    async fn prepare(&self, request: Prepare<'_>) -> Result<(), Error> {
        self.accepts(request.revision, request.environment)?;
        self.0.prepare(request).await
    }

    async fn start(&self, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        Ok(self.0.start(&start).await?)
    }

    async fn start_blank(&self, environment: Arc<Environment>) -> Result<Blank, Error> {
        let blank = self.0.start_blank(&environment).await?;
        Ok(Blank { environment: environment.name.clone(), inner: Box::new(blank) })
    }

    async fn specialize(&self, blank: Blank, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        match blank.inner.into_any().downcast::<ProcessBlank>() {
            Ok(inner)
                if blank.environment == start.environment.name
                    && starting::can_specialize(&start.environment, &start.revision.spec) =>
            {
                Ok(self.0.specialize(*inner, &start).await?)
            }
            // What this revision needs, a blank cannot become any more.
            _ => Ok(self.0.start(&start).await?),
        }
    }

    async fn collect(&self, live: &(dyn for<'d> Fn(&'d Digest) -> bool + Sync)) -> Result<u64, Error> {
        let aside = self.0.prepared.put_aside(live, self.0.options.collect_after);
        let aside = aside.map_err(|error| storage("delete what is not needed any more", &error))?;
        // Many small files take a while.
        let deleted = tokio::task::spawn_blocking(move || aside.iter().map(Work::size).sum());
        deleted.await.map_err(|_| Error::internal("XB4003", "the task that deletes was lost"))
    }

    fn report(&self) -> DriverReport {
        let enforcement = self.0.spawner.enforcement();
        let features = enforcement.protections.iter().map(|protection| Feature {
            name: protection.name.clone(),
            enforced: protection.enforced,
            detail: protection.detail.clone(),
        });
        DriverReport {
            driver: "process".to_owned(),
            usable: self.0.spawner.alive(),
            features: features.collect(),
            shares_host_network: enforcement.shares_host_network,
        }
    }

    async fn shutdown(&self) {
        self.0.spawner.shutdown().await;
    }
}
