//! Preparing: the image is here, fits the engine, and is noted by what its name meant just now.

use crate::{
    driver::Inner,
    engine::{Connected, Facts},
    images::{self, Found},
    options::Pull,
    prepared::Record,
    reference::Reference,
};
use bollard::query_parameters::RemoveImageOptions;
use std::{collections::HashSet, sync::Arc};
use xebec_core::{
    Digest, Error, ErrorKind,
    environment::Environment,
    ports::driver::{Prepare, Progress},
    revision::RevisionSpec,
    workload::Workload,
};

impl Inner {
    /// Has the image here and notes which it is. A revision that was prepared before keeps its image,
    /// whatever its tag means by now.
    pub(crate) async fn prepare(self: &Arc<Self>, request: Prepare<'_>) -> Result<(), Error> {
        let spec = &request.revision.spec;
        let reference = reference(spec, request.environment)?;
        let connected = self.engine().await?;
        check_limits(spec, &connected.facts)?;
        check_secrets(spec, &connected.facts)?;
        let digest = &request.revision.digest;
        let noted = self.prepared.read(digest);
        let found = match &noted {
            Some(record) if images::find(&connected.docker, &record.image).await?.is_some() => return Ok(()),
            Some(record) => match &record.pinned {
                Some(pinned) => self.obtain(connected, &Reference::read(pinned)?, request.progress).await?,
                None => self.obtain(connected, &reference, request.progress).await?,
            },
            None => self.obtain(connected, &reference, request.progress).await?,
        };
        check_platform(&reference, &found, &connected.facts)?;
        check_volumes(spec, &found)?;
        let record = Record {
            reference: reference.to_string(),
            pinned: reference.digest_among(&found.digests).map(|d| format!("{}@{d}", reference.repository)),
            pulled: self.prepared.was_brought(&found.id),
            image: found.id,
            bytes: found.bytes,
            stop_signal: found.stop_signal,
        };
        self.prepared.write(digest, record).map_err(|error| storage(&error))
    }

    /// Replaces a tag by what it means now, so that it is part of the revision's digest. What an environment's
    /// image is called means what it means when its revisions are prepared.
    pub(crate) async fn pin(
        self: &Arc<Self>,
        spec: &mut RevisionSpec,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let Workload::Image { reference: name, .. } = &mut spec.workload else { return Ok(()) };
        let mut reference = Reference::read(name)?;
        if reference.digest.is_some() {
            return Ok(());
        }
        let found = self.obtain(self.engine().await?, &reference, progress).await?;
        // One that never came from a registry has no name that stays; the note of its id does for it.
        if let Some(digest) = reference.digest_among(&found.digests) {
            reference.digest = Some(digest);
            *name = reference.to_string();
        }
        Ok(())
    }

    /// The image, brought here where that is needed.
    async fn obtain(
        self: &Arc<Self>,
        connected: &Connected,
        reference: &Reference,
        progress: &dyn Progress,
    ) -> Result<Found, Error> {
        let docker = &connected.docker;
        let here = images::find(docker, &reference.local()).await?;
        if let Some(found) = &here {
            let built_here = found.digests.is_empty();
            if reference.digest.is_some() || built_here || self.options.pull == Pull::Missing {
                return Ok(found.clone());
            }
        }
        images::pull(docker, &self.options, reference, progress).await?;
        let found = images::find(docker, &reference.local()).await?.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "XB3002", format!("image: {reference} was pulled and is gone"))
        })?;
        if here.is_none_or(|here| here.id != found.id) {
            self.prepared.bring(&found.id);
        }
        Ok(found)
    }

    /// Forgets what no live revision runs; images that were brought here for it go, too.
    pub(crate) async fn collect(
        self: &Arc<Self>,
        live: &(dyn for<'d> Fn(&'d Digest) -> bool + Sync),
    ) -> Result<u64, Error> {
        let after = self.options.collect_after;
        let (dead, kept): (Vec<_>, Vec<_>) = (self.prepared.all().into_iter())
            .partition(|(digest, _)| !live(digest) && self.prepared.is_older(digest, after));
        let mut needed: HashSet<&str> = kept.iter().map(|(_, record)| record.image.as_str()).collect();
        let mut freed = 0;
        for (digest, record) in &dead {
            if record.pulled && !needed.contains(record.image.as_str()) {
                match self.remove_image(&record.image).await? {
                    Some(true) => freed += record.bytes,
                    Some(false) => {}
                    // A container still has it: another time.
                    None => continue,
                }
                needed.insert(&record.image);
            }
            self.prepared.forget(digest).map_err(|error| storage(&error))?;
        }
        Ok(freed)
    }

    /// `None`: it is in use, or the engine is away. Some: whether it was there.
    async fn remove_image(self: &Arc<Self>, image: &str) -> Result<Option<bool>, Error> {
        let Ok(connected) = self.engine().await else { return Ok(None) };
        let removed = connected.docker.remove_image(image, None::<RemoveImageOptions>, None).await;
        match removed {
            Ok(_) => Ok(Some(true)),
            Err(error) if crate::engine::status(&error) == Some(404) => Ok(Some(false)),
            Err(_) => Ok(None),
        }
    }
}

/// The image that a revision runs: its own, or, for code, its environment's.
pub(crate) fn reference(spec: &RevisionSpec, environment: &Environment) -> Result<Reference, Error> {
    match (&spec.workload, &environment.image) {
        (Workload::Image { reference, .. }, _) => Reference::read(reference),
        (Workload::Code { .. }, Some(image)) => Reference::read(image),
        (Workload::Code { .. }, None) => Err(Error::new(
            ErrorKind::Refused,
            "XB3001",
            format!("workload: the environment {} has no image that runs code", environment.name),
        )
        .with_hint("name an image, or an environment that runs code")),
        _ => {
            Err(Error::new(ErrorKind::Refused, "XB3001", "workload: the docker driver runs images, not pods")
                .with_hint("name an image, or an environment that runs code"))
        }
    }
}

fn check_platform(reference: &Reference, found: &Found, facts: &Facts) -> Result<(), Error> {
    let fits = |is: &str, must: &str| is.is_empty() || must.is_empty() || is == must;
    if fits(&found.os, "linux") && fits(&found.architecture, &facts.architecture) {
        return Ok(());
    }
    let message = format!(
        "image: {reference} is for {}/{}, and the engine runs linux/{}",
        found.os, found.architecture, facts.architecture
    );
    Err(Error::new(ErrorKind::Refused, "XB3002", message)
        .with_hint("build it for this machine's processor, or for both (docker buildx build --platform)"))
}

/// Where the engine runs elsewhere, secrets go into the container's own files.
fn check_secrets(spec: &RevisionSpec, facts: &Facts) -> Result<(), Error> {
    let are_files = spec.secrets.iter().any(|mount| mount.path.is_some());
    if facts.local || !spec.read_only_root || !are_files {
        return Ok(());
    }
    let message = "secrets: they cannot be brought into a read-only root, since the engine runs elsewhere";
    Err(Error::new(ErrorKind::Refused, "XB3001", message)
        .with_hint("leave read_only_root away, or use an engine on this machine's own kernel"))
}

/// A container's volumes stay writable, whatever its root is.
fn check_volumes(spec: &RevisionSpec, found: &Found) -> Result<(), Error> {
    match found.volumes.first().filter(|_| spec.read_only_root) {
        None => Ok(()),
        Some(volume) => {
            let message = format!("read_only_root: the image has a volume at {volume}, which stays writable");
            Err(Error::new(ErrorKind::Refused, "XB3001", message)
                .with_hint("build the image without VOLUME, or leave read_only_root away"))
        }
    }
}

/// What a revision asks for by name must be enforced; what is a default only is reported.
fn check_limits(spec: &RevisionSpec, facts: &Facts) -> Result<(), Error> {
    let limits = &spec.limits;
    let unmet = [
        ("limits.memory_bytes", limits.memory_bytes.is_some(), facts.memory_limit),
        ("limits.cpu_millis", limits.cpu_millis.is_some(), facts.cpu_limit),
        ("limits.processes", limits.processes.is_some(), facts.pids_limit),
    ];
    match unmet.iter().find(|(_, asked, enforced)| *asked && !enforced) {
        None => Ok(()),
        Some((field, ..)) => {
            let message = format!("{field}: the container engine cannot enforce it here");
            Err(Error::new(ErrorKind::Refused, "XB3001", message)
                .with_hint("docker info says which cgroup controller is missing; or leave it away"))
        }
    }
}

fn storage(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "XB4002", format!("what was prepared cannot be noted: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named() {
        let reference = Reference::read("a:1").unwrap();
        let facts = Facts { architecture: "amd64".into(), ..Facts::default() };
        let mut found = Found {
            id: String::new(),
            digests: Vec::new(),
            architecture: "arm64".into(),
            os: "linux".into(),
            bytes: 0,
            stop_signal: None,
            volumes: Vec::new(),
        };
        let error = check_platform(&reference, &found, &facts).unwrap_err();
        assert!(error.message.contains("linux/arm64") && error.message.contains("linux/amd64"), "{error}");
        found.architecture = "amd64".into();
        check_platform(&reference, &found, &facts).unwrap();
    }
}
