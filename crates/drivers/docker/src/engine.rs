//! The engine: found late, talked to over its socket, and away at times.

use crate::options::{DockerOptions, Reach};
use bollard::{API_DEFAULT_VERSION, Docker, errors::Error as DockerError, models::SystemInfo};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{sync::OnceCell, time::timeout};
use xebec_core::{Error, ErrorKind};

/// How long the engine may take to answer one request, in seconds.
const REQUEST_SECONDS: u64 = 90;

/// How long it may take to say who it is: on a busy machine some take seconds.
const HELLO: Duration = Duration::from_secs(20);

/// The engine, and what is known of it once it was talked to.
pub(crate) struct Engine {
    socket: Option<PathBuf>,
    reach: Reach,
    connected: OnceCell<Connected>,
    /// It did not answer the last time.
    away: AtomicBool,
}

/// An engine that has answered.
pub(crate) struct Connected {
    /// Its client. It connects anew for each request, so a restart of the engine does it no harm.
    pub(crate) docker: Docker,
    /// What it said of itself.
    pub(crate) facts: Facts,
}

/// What an engine says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) socket: PathBuf,
    pub(crate) version: String,
    /// As images name it: `amd64`, `arm64`.
    pub(crate) architecture: String,
    pub(crate) cpus: u32,
    /// It runs on this very kernel: its containers' addresses are ours to reach, our files its to bind.
    pub(crate) local: bool,
    /// It runs in a virtual machine that has a way to this machine's loopback.
    pub(crate) desktop: bool,
    /// Containers are reached by ports on our loopback.
    pub(crate) published: bool,
    pub(crate) rootless: bool,
    pub(crate) seccomp: bool,
    pub(crate) memory_limit: bool,
    pub(crate) cpu_limit: bool,
    pub(crate) pids_limit: bool,
}

impl Engine {
    pub(crate) fn new(options: &DockerOptions) -> Self {
        Self {
            socket: options.socket.clone(),
            reach: options.reach,
            connected: OnceCell::new(),
            away: AtomicBool::new(false),
        }
    }

    /// The engine, if it was ever talked to.
    pub(crate) fn known(&self) -> Option<&Connected> {
        self.connected.get()
    }

    /// Whether it did not answer the last time.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Notes whether it answered.
    pub(crate) fn note(&self, error: Option<&DockerError>) {
        self.away.store(error.is_some_and(is_away), Ordering::Relaxed);
    }

    /// It does not answer.
    pub(crate) fn went_away(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    /// It answers.
    pub(crate) fn came_back(&self) {
        self.away.store(false, Ordering::Relaxed);
    }

    /// The engine. `first` is done once, before anything else is asked of it.
    ///
    /// # Errors
    /// `XB3003` where there is none, or none that answers.
    pub(crate) async fn get<F>(&self, first: impl FnOnce(Docker) -> F) -> Result<&Connected, Error>
    where
        F: Future<Output = ()>,
    {
        self.connected
            .get_or_try_init(|| async {
                let connected = self.connect().await?;
                first(connected.docker.clone()).await;
                Ok(connected)
            })
            .await
    }

    async fn connect(&self) -> Result<Connected, Error> {
        let socket = find_socket(self.socket.as_deref(), std::env::var_os("DOCKER_HOST"))?;
        let unreachable = |why: String| none(format!("the engine at {}: {why}", socket.display()));
        let docker =
            Docker::connect_with_unix(&socket.to_string_lossy(), REQUEST_SECONDS, API_DEFAULT_VERSION)
                .map_err(|error| unreachable(error.to_string()))?;
        let hello = async {
            let docker = docker.negotiate_version().await?;
            let info = docker.info().await?;
            Ok::<_, DockerError>((docker, info))
        };
        let (docker, info) = match timeout(HELLO, hello).await {
            Ok(said) => said.map_err(|error| unreachable(deepest(&error)))?,
            Err(_) => return Err(unreachable(format!("it did not answer within {HELLO:?}"))),
        };
        self.note(None);
        let facts = facts(info, socket, self.reach, &rustix::system::uname().release().to_string_lossy())?;
        Ok(Connected { docker, facts })
    }
}

/// Whether the engine is not there, in contrast to one that says no.
pub(crate) fn is_away(error: &DockerError) -> bool {
    matches!(
        error,
        DockerError::HyperLegacyError { .. }
            | DockerError::HyperResponseError { .. }
            | DockerError::IOError { .. }
            | DockerError::SocketNotFoundError(_)
            | DockerError::RequestTimeoutError
    )
}

/// The status of an answer that says no.
pub(crate) fn status(error: &DockerError) -> Option<u16> {
    match error {
        DockerError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What the engine said, without the words around it.
pub(crate) fn said(error: &DockerError) -> String {
    match error {
        DockerError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        DockerError::DockerStreamError { error } => error.trim().to_owned(),
        error if is_away(error) => format!("the container engine does not answer: {}", deepest(error)),
        error => error.to_string(),
    }
}

/// The cause of causes, which is what a person can do something about.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn none(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, "XB3003", message).with_hint(
        "images need a Docker-compatible engine: install or start one (for example apt-get install docker.io) and \
         see that this user may use its socket; or deploy the source with xebec deploy, or let an environment \
         stand in for the image: [[images]] in xebec.toml",
    )
}

/// Where the engine's socket is.
fn find_socket(named: Option<&Path>, docker_host: Option<OsString>) -> Result<PathBuf, Error> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    if let Some(host) = docker_host.filter(|host| !host.is_empty()) {
        let host = host.to_string_lossy().into_owned();
        return match host.strip_prefix("unix://") {
            Some(path) => Ok(PathBuf::from(path)),
            None => Err(none(format!("DOCKER_HOST is {host:?}: only unix:// is spoken here"))),
        };
    }
    let usual = usual_sockets();
    match usual.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => Err(none("there is no container engine on this machine".to_owned())),
    }
}

fn usual_sockets() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("/var/run/docker.sock")];
    if let Some(run) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        places.extend([run.join("docker.sock"), run.join("podman/podman.sock")]);
    }
    if let Some(home) = std::env::var_os("HOME").map(PathBuf::from) {
        places.push(home.join(".docker/run/docker.sock"));
    }
    places.push(PathBuf::from("/run/podman/podman.sock"));
    places
}

fn facts(info: SystemInfo, socket: PathBuf, reach: Reach, our_kernel: &str) -> Result<Facts, Error> {
    if info.os_type.as_deref().is_some_and(|os| os != "linux") {
        return Err(none("the engine runs no Linux containers".to_owned()));
    }
    let options = info.security_options.unwrap_or_default();
    let has = |name: &str| options.iter().any(|option| option.split(',').any(|part| part == name));
    let rootless = has("name=rootless");
    let desktop = info.operating_system.is_some_and(|name| name.contains("Docker Desktop"));
    let here = !rootless && !desktop && info.kernel_version.as_deref() == Some(our_kernel);
    let local = here && reach != Reach::Published;
    let unconfined = has("profile=unconfined");
    Ok(Facts {
        socket,
        version: info.server_version.unwrap_or_else(|| "unknown".to_owned()),
        architecture: match info.architecture.as_deref() {
            Some("x86_64") => "amd64".to_owned(),
            Some("aarch64") => "arm64".to_owned(),
            other => other.unwrap_or_default().to_owned(),
        },
        cpus: info.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1).max(1),
        local,
        desktop,
        published: match reach {
            Reach::Auto => !local,
            Reach::Bridge => false,
            Reach::Published => true,
        },
        rootless,
        seccomp: has("name=seccomp") && !unconfined,
        memory_limit: info.memory_limit.unwrap_or(false),
        cpu_limit: info.cpu_cfs_quota.unwrap_or(false),
        pids_limit: info.pids_limit.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(change: impl FnOnce(&mut SystemInfo)) -> Facts {
        let mut info = SystemInfo {
            os_type: Some("linux".into()),
            architecture: Some("x86_64".into()),
            kernel_version: Some("6.1".into()),
            security_options: Some(vec!["name=seccomp,profile=default".into()]),
            ..SystemInfo::default()
        };
        change(&mut info);
        facts(info, PathBuf::from("/s"), Reach::Auto, "6.1").unwrap()
    }

    #[test]
    fn who_is_reached_how() {
        let here = of(|_| {});
        assert!(here.local && !here.published && here.seccomp && here.architecture == "amd64");
        assert!(of(|info| info.kernel_version = Some("5.15".into())).published);
        assert!(of(|info| info.operating_system = Some("Docker Desktop".into())).desktop);
        let rootless = of(|info| info.security_options = Some(vec!["name=rootless".into()]));
        assert!(rootless.published && rootless.rootless && !rootless.seccomp);
    }

    #[test]
    fn where_the_socket_is() {
        let named = find_socket(Some(Path::new("/a")), Some("unix:///b".into())).unwrap();
        assert_eq!(named, Path::new("/a"));
        assert_eq!(find_socket(None, Some("unix:///b".into())).unwrap(), Path::new("/b"));
        let error = find_socket(None, Some("tcp://x:1".into())).unwrap_err();
        assert!(error.code == "XB3003" && error.message.contains("tcp://x:1"), "{error}");
    }
}
