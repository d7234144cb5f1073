//! The `docker` driver: the port's side.

use crate::{
    accepting,
    blank::DockerBlank,
    engine::{Connected, Engine},
    network::Network,
    options::DockerOptions,
    prepared::Prepared,
    removing::Leftovers,
    report,
};
use async_trait::async_trait;
use std::{fs, io, path::Path, path::PathBuf, sync::Arc};
use xebec_core::{
    Digest, Error, ErrorKind,
    environment::Environment,
    ports::{
        driver::{Blank, Driver, DriverReport, Prepare, Progress, Start},
        instance::InstanceIo,
    },
    revision::{Revision, RevisionSpec},
};

/// Runs functions as containers of a Docker-compatible engine.
pub struct DockerDriver(Arc<Inner>);

/// What all of the driver's work shares.
pub(crate) struct Inner {
    pub(crate) options: DockerOptions,
    pub(crate) engine: Arc<Engine>,
    pub(crate) prepared: Prepared,
    pub(crate) network: Network,
    pub(crate) leftovers: Leftovers,
    /// Tells this server's containers from those of others on the same engine.
    pub(crate) installation: String,
    /// Where instances' secrets are.
    pub(crate) secrets: PathBuf,
}

impl Inner {
    /// The engine; the first time it answers, what an earlier run left behind is found and removed.
    pub(crate) async fn engine(self: &Arc<Self>) -> Result<&Connected, Error> {
        let inner = self.clone();
        let connected = self.engine.get(|docker| async move { inner.sweep(docker).await }).await?;
        self.remove_leftovers();
        Ok(connected)
    }
}

impl DockerDriver {
    /// Opens what was prepared in earlier runs and looks for the engine. That there is none is no error:
    /// whoever asks for an image to be run is told.
    ///
    /// # Errors
    /// `XB6031` where the data directory cannot be used.
    pub async fn connect(options: DockerOptions) -> Result<Self, Error> {
        let folder = options.data_directory.join("docker");
        let failed = |error: io::Error| {
            let message = format!("{} cannot be used: {error}", folder.display());
            Error::new(ErrorKind::Unavailable, "XB6031", message)
        };
        let prepared = Prepared::open(folder.join("prepared")).map_err(failed)?;
        let installation = installation(&folder).map_err(failed)?;
        let secrets = options.secrets_directory.join(format!("xebec-{installation}"));
        // Those of an earlier run.
        match fs::remove_dir_all(&secrets) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %secrets.display(), "secrets of an earlier run cannot be deleted");
            }
            _ => {}
        }
        let inner = Arc::new(Inner {
            engine: Arc::new(Engine::new(&options)),
            prepared,
            network: Network::new(&installation),
            leftovers: Leftovers::default(),
            installation,
            secrets,
            options,
        });
        match inner.engine().await {
            Ok(connected) => tracing::debug!(engine = ?connected.facts, "images run as containers"),
            Err(error) => tracing::debug!(%error, "no images are run"),
        }
        Ok(Self(inner))
    }
}

#[async_trait]
impl Driver for DockerDriver {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn accepts(&self, revision: &Revision, environment: &Environment) -> Result<(), Error> {
        accepting::check(&revision.spec, environment)
    }

    async fn pin(&self, spec: &mut RevisionSpec, progress: &dyn Progress) -> Result<(), Error> {
        self.0.pin(spec, progress).await
    }

    async fn prepare(&self, request: Prepare<'_>) -> Result<(), Error> {
        self.accepts(request.revision, request.environment)?;
        self.0.prepare(request).await
    }

    async fn start(&self, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        Ok(self.0.start(start).await?)
    }

    async fn start_blank(&self, environment: Arc<Environment>) -> Result<Blank, Error> {
        let name = environment.name.clone();
        let blank = self.0.start_blank(environment).await?;
        Ok(Blank { environment: name, inner: Box::new(blank) })
    }

    async fn specialize(&self, blank: Blank, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        match blank.inner.into_any().downcast::<DockerBlank>() {
            Ok(inner) if blank.environment == start.environment.name && self.0.fits(&inner, &start) => {
                Ok(self.0.specialize(*inner, &start).await?)
            }
            // What this revision needs, a blank cannot become any more.
            _ => self.start(start).await,
        }
    }

    async fn collect(&self, live: &(dyn for<'d> Fn(&'d Digest) -> bool + Sync)) -> Result<u64, Error> {
        self.0.collect(live).await
    }

    fn report(&self) -> DriverReport {
        let facts = self.0.engine.known().map(|connected| &connected.facts);
        report::report(facts, self.0.engine.is_away(), &self.0.options)
    }

    async fn shutdown(&self) {
        self.0.remove_all().await;
        // Files of instances that nobody destroyed.
        let _ = fs::remove_dir_all(&self.0.secrets);
    }
}

/// The installation's name: made once, kept with its data.
fn installation(folder: &Path) -> io::Result<String> {
    let path = folder.join("installation");
    match fs::read_to_string(&path) {
        Ok(name) if name.len() == 8 && name.bytes().all(|b| b.is_ascii_hexdigit()) => return Ok(name),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let name = format!("{:08x}", rand::random::<u32>());
    fs::write(&path, &name)?;
    Ok(name)
}
