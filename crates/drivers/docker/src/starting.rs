//! Starting instances.

use crate::{
    driver::Inner,
    engine::{self, Connected},
    files::{self, SecretFiles},
    instance::{Instance, Place},
    output,
    prepared::Record,
    shape::{self, Shape},
    usage::Gauge,
    watching::{Fate, Watched},
};
use bollard::{
    Docker, body_full,
    errors::Error as DockerError,
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, StartContainerOptions,
        UploadToContainerOptionsBuilder,
    },
};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock, atomic::AtomicBool};
use tokio::{sync::oneshot, task::JoinHandle};
use xebec_core::{
    Error, ErrorKind,
    ports::{
        driver::{OpenSecret, Start},
        instance::{InstanceIo as _, Lines},
    },
};

impl Inner {
    /// Starts an instance. Whoever stops waiting for it gets everything given back: a request that the engine
    /// is working on cannot be taken back, so its end is awaited by a task of its own.
    pub(crate) async fn start(self: &Arc<Self>, start: Start) -> Result<Arc<Instance>, Error> {
        let (tell, told) = oneshot::channel();
        let inner = self.clone();
        tokio::spawn(async move {
            let started = match inner.prepared.read(&start.revision.digest) {
                Some(record) => inner.bring_up(&start, &record).await,
                None => Err(unprepared(&start)),
            };
            if let Err(Ok(unwanted)) = tell.send(started) {
                unwanted.destroy().await;
            }
        });
        told.await.unwrap_or_else(|_| Err(not_started("the task that starts it was lost".to_owned())))
    }

    /// Starts a container of the image that was noted.
    pub(crate) async fn bring_up(
        self: &Arc<Self>,
        start: &Start,
        record: &Record,
    ) -> Result<Arc<Instance>, Error> {
        let connected = self.engine().await?;
        let ensured = self.network.ensure(&connected.docker, &self.installation).await;
        self.noted(ensured)?;
        let instance = self.create(connected, start, record).await?;
        if !connected.facts.local {
            self.upload_secrets(&instance, &start.secrets).await?;
        }
        self.run(connected, start, &instance).await?;
        Ok(instance)
    }

    /// Creates the container. From here on, dropping the instance removes it.
    async fn create(
        self: &Arc<Self>,
        connected: &Connected,
        start: &Start,
        record: &Record,
    ) -> Result<Arc<Instance>, Error> {
        let secrets = match connected.facts.local {
            true => self.write_secrets(start).await?,
            false => None,
        };
        let body = Shape {
            start,
            record,
            options: &self.options,
            facts: &connected.facts,
            installation: &self.installation,
            network: &self.network.name,
            binds: secrets.as_ref().map_or(&[], |files| &files.binds),
        }
        .container();
        let name = format!("xebec-{}-{}", self.installation, start.instance);
        let named = CreateContainerOptionsBuilder::default().name(&name).build();
        let created = match connected.docker.create_container(Some(named), body).await {
            Err(error) if engine::status(&error) == Some(404) => return Err(unprepared(start)),
            created => {
                // It may come about though its answer got lost.
                if created.as_ref().is_err_and(engine::is_away) {
                    self.remove_later(name);
                }
                self.noted(created)?
            }
        };
        Ok(Arc::new(Instance {
            id: start.instance.clone(),
            given: OnceLock::new(),
            inner: self.clone(),
            docker: connected.docker.clone(),
            container: created.id,
            stop_signal: record.stop_signal.clone().unwrap_or_else(|| "SIGTERM".to_owned()),
            fate: Fate::open(),
            place: OnceLock::new(),
            gauge: OnceLock::new(),
            proven: AtomicBool::new(false),
            secrets: Mutex::new(secrets),
            removed: AtomicBool::new(false),
        }))
    }

    /// Starts it and finds out where it is.
    async fn run(&self, connected: &Connected, start: &Start, instance: &Arc<Instance>) -> Result<(), Error> {
        let (docker, container) = (&connected.docker, &instance.container);
        let output = self.start_followed(docker, container, &start.lines).await?;
        let watched = Watched {
            docker: docker.clone(),
            engine: self.engine.clone(),
            container: container.clone(),
            lines: start.lines.clone(),
            output,
            fate: instance.fate.clone(),
        };
        tokio::spawn(watched.watch());
        let found = self.noted(docker.inspect_container(container, None::<InspectContainerOptions>).await)?;
        let published = connected.facts.published.then(|| shape::port(&start.revision.spec));
        if let Some(place) = Place::of(&found, &self.network.name, published) {
            // Set once, here.
            let _ = instance.place.set(place);
        }
        let process = found.state.and_then(|state| state.pid).filter(|pid| *pid > 0 && connected.facts.local);
        let _ = instance.gauge.set(Gauge::of(process));
        Ok(())
    }

    /// Starts a container, what it prints being read from before that. What is not the container's fault is
    /// tried once more: a network that was removed behind our back, and what the engine itself stumbled over.
    async fn start_followed(
        &self,
        docker: &Docker,
        container: &str,
        lines: &Lines,
    ) -> Result<JoinHandle<()>, Error> {
        let mut once_more = true;
        loop {
            let attached = self.noted(output::attach(docker, container).await)?;
            let output = tokio::spawn(output::follow(attached, lines.clone()));
            let started = docker.start_container(container, None::<StartContainerOptions>).await;
            let Err(error) = started else { return Ok(output) };
            output.abort();
            let no_network = engine::said(&error).contains(&self.network.name);
            let stumbled = engine::status(&error).is_some_and(|status| status >= 500);
            if !(no_network || stumbled) || !std::mem::take(&mut once_more) {
                return self.noted(Err(error));
            }
            if no_network {
                self.network.missed().await;
                self.noted(self.network.ensure(docker, &self.installation).await)?;
            }
        }
    }

    async fn write_secrets(&self, start: &Start) -> Result<Option<SecretFiles>, Error> {
        if start.secrets.iter().all(|secret| secret.path.is_none()) {
            return Ok(None);
        }
        let (root, secrets) = (self.secrets.clone(), start.secrets.clone());
        let folder = root.join(start.instance.0.as_str());
        let written = tokio::task::spawn_blocking(move || {
            files::make_private(&root)?;
            SecretFiles::write(folder, &secrets)
        });
        let written = written.await.unwrap_or_else(|_| Err(std::io::Error::other("the task was lost")));
        written.map_err(|error| {
            not_started(format!("its secrets cannot be kept in {}: {error}", self.secrets.display()))
        })
    }

    /// Where the engine runs elsewhere: into the container's own files, before it starts.
    async fn upload_secrets(&self, instance: &Instance, secrets: &[OpenSecret]) -> Result<(), Error> {
        let archive = files::secrets_archive(secrets);
        let Some(archive) =
            archive.map_err(|error| not_started(format!("its secrets cannot be packed: {error}")))?
        else {
            return Ok(());
        };
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let uploaded =
            instance.docker.upload_to_container(&instance.container, Some(options), body_full(archive)).await;
        uploaded.map_err(|error| {
            not_started(format!("its secrets cannot be brought in: {}", engine::said(&error)))
        })
    }

    /// A result of the engine, noted as a sign of its life.
    pub(crate) fn noted<T>(&self, result: Result<T, DockerError>) -> Result<T, Error> {
        self.engine.note(result.as_ref().err());
        result.map_err(|error| not_started(engine::said(&error)))
    }
}

fn unprepared(start: &Start) -> Error {
    let revision = start.revision.digest.short();
    Error::internal("XB3005", format!("the image of the revision {revision} is not here"))
        .with_hint("deploy it again")
}

pub(crate) fn not_started(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, "XB3004", message)
}
