//! Images: finding them at the engine, having it pull them.

use crate::{credentials, engine, options::DockerOptions, reference::Reference};
use bollard::{Docker, errors::Error as DockerError, models::CreateImageInfo, query_parameters};
use futures_util::StreamExt as _;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::time::timeout;
use xebec_core::{Error, ErrorKind, ports::driver::Progress};

/// How often people are told how far a pull is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// An image that the engine has.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: String,
    /// Where registries have it, `name@sha256:…` each.
    pub(crate) digests: Vec<String>,
    pub(crate) architecture: String,
    pub(crate) os: String,
    pub(crate) bytes: u64,
    pub(crate) stop_signal: Option<String>,
    /// Folders that it wants to write to in any case.
    pub(crate) volumes: Vec<String>,
}

/// Looks for an image among those that the engine has, by name or id.
pub(crate) async fn find(docker: &Docker, name: &str) -> Result<Option<Found>, Error> {
    let image = match docker.inspect_image(name).await {
        Ok(image) => image,
        Err(error) if engine::status(&error) == Some(404) => return Ok(None),
        Err(error) => return Err(unavailable(format!("image: {}", engine::said(&error)))),
    };
    let config = image.config.unwrap_or_default();
    Ok(Some(Found {
        id: image.id.unwrap_or_default(),
        digests: image.repo_digests.unwrap_or_default(),
        architecture: image.architecture.unwrap_or_default(),
        os: image.os.unwrap_or_default(),
        bytes: image.size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        stop_signal: config.stop_signal.filter(|signal| !signal.is_empty()),
        volumes: config.volumes.unwrap_or_default(),
    }))
}

/// Has the engine pull an image.
///
/// # Errors
/// `XB3002`, with what the registry said.
pub(crate) async fn pull(
    docker: &Docker,
    options: &DockerOptions,
    reference: &Reference,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let credentials = credentials::of(options, reference.registry()).await?;
    let shown = credentials.is_some();
    progress.step(&format!("pulling {reference}"));
    let what = query_parameters::CreateImageOptionsBuilder::default()
        .from_image(&reference.repository)
        .tag(reference.wanted())
        .build();
    let mut told = Told::new(progress);
    let pulling = async {
        let mut lines = docker.create_image(Some(what), None, credentials);
        while let Some(line) = lines.next().await {
            told.hear(line?);
        }
        Ok(())
    };
    match timeout(options.pull_time, pulling).await {
        Ok(pulled) => pulled.map_err(|error| refused(reference, shown, &error)),
        Err(_) => Err(unavailable(format!(
            "image: {reference} was not pulled within {} s",
            options.pull_time.as_secs()
        ))),
    }
}

/// Says how far a pull is, not too often.
struct Told<'a> {
    progress: &'a dyn Progress,
    /// Bytes fetched and to fetch, of each layer.
    layers: HashMap<String, (i64, i64)>,
    last: Instant,
}

impl<'a> Told<'a> {
    fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, layers: HashMap::new(), last: Instant::now() }
    }

    fn hear(&mut self, line: CreateImageInfo) {
        let status = line.status.unwrap_or_default();
        let Some(layer) = line.id.filter(|_| status == "Downloading") else {
            if status.starts_with("Digest: ") || status.starts_with("Status: ") {
                self.progress.step(&status);
            }
            return;
        };
        let detail = line.progress_detail.unwrap_or_default();
        if let (Some(current), Some(total)) = (detail.current, detail.total) {
            self.layers.insert(layer, (current, total));
        }
        if self.last.elapsed() >= TELL_EVERY {
            self.last = Instant::now();
            let sum = |part: fn(&(i64, i64)) -> i64| self.layers.values().map(part).sum::<i64>() >> 20;
            self.progress.step(&format!("{} of {} MiB", sum(|layer| layer.0), sum(|layer| layer.1)));
        }
    }
}

/// Why an image was not pulled, by what the engine says of its registry. It has no codes for this.
fn refused(reference: &Reference, shown_credentials: bool, error: &DockerError) -> Error {
    if engine::is_away(error) {
        return unavailable(format!("image: {}", engine::said(error)));
    }
    let said = engine::said(error);
    let lower = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let registry = reference.registry();
    let fault = |kind, what: &str| Error::new(kind, "XB3002", format!("image: {what}: {said}"));
    if has(&[
        "unauthorized",
        "denied",
        "no basic auth",
        "authentication required",
        "forbidden",
        "incorrect username",
    ]) {
        let hint = if shown_credentials {
            format!("the credentials for {registry} are not good enough; check them, or the image's name")
        } else {
            format!(
                "there are no credentials for {registry}: docker login {registry}, or check the image's name"
            )
        };
        return fault(ErrorKind::Refused, &format!("{registry} will not give out {reference}"))
            .with_hint(hint);
    }
    if has(&["not found", "manifest unknown", "name unknown", "does not exist"]) {
        let hint = "check its name and tag; one that was built here must be named as the engine lists it";
        return fault(ErrorKind::Invalid, &format!("{registry} has no {reference}")).with_hint(hint);
    }
    if has(&["no matching manifest", "no match for platform"]) {
        let hint = "build it for this machine's processor too";
        return fault(ErrorKind::Refused, &format!("{reference} is not for this machine")).with_hint(hint);
    }
    if has(&["no space left"]) {
        let full = format!("image: there is no room for {reference}: {said}");
        return Error::new(ErrorKind::Unavailable, "XB4002", full).with_hint("make room: docker image prune");
    }
    fault(ErrorKind::Unavailable, &format!("{reference} cannot be pulled"))
}

fn unavailable(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, "XB3002", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_say() {
        let reference = Reference::read("ghcr.io/a/b:1").unwrap();
        let of = |said: &str, shown| {
            let error = DockerError::DockerResponseServerError { status_code: 500, message: said.to_owned() };
            refused(&reference, shown, &error)
        };
        let error = of("Get https://ghcr.io/v2/: no basic auth credentials", false);
        assert_eq!(error.kind, ErrorKind::Refused);
        assert!(error.hint.unwrap().contains("docker login ghcr.io"));
        assert!(of("unauthorized: bad", true).hint.unwrap().contains("not good enough"));
        let unknown = of("manifest for ghcr.io/a/b:1 not found: manifest unknown", false);
        assert!(
            unknown.kind == ErrorKind::Invalid && unknown.message.contains("ghcr.io has no ghcr.io/a/b:1")
        );
        assert_eq!(of("write /x: no space left on device", false).code, "XB4002");
        assert_eq!(of("connection reset by peer", false).kind, ErrorKind::Unavailable);
    }
}
