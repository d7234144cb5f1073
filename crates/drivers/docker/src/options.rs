//! How the driver is set up.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

/// How a [`crate::DockerDriver`] is set up.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// The server's data directory; what was prepared is noted in `docker` below it.
    pub data_directory: PathBuf,
    /// The engine's socket. `None`: `$DOCKER_HOST`, else the first of the usual places that is there.
    pub socket: Option<PathBuf>,
    /// Where secrets are kept as files while an instance has them: a directory in memory.
    pub secrets_directory: PathBuf,
    /// Credentials of registries, by host (`ghcr.io`, `docker.io`); they go before Docker's own.
    pub credentials: BTreeMap<String, Credentials>,
    /// Docker's own configuration, for the credentials in it. `None`: `$DOCKER_CONFIG/config.json`, else
    /// `~/.docker/config.json`.
    pub config_file: Option<PathBuf>,
    /// When an image is asked of its registry.
    pub pull: Pull,
    /// How long pulling an image may take.
    pub pull_time: Duration,
    /// How instances are reached.
    pub reach: Reach,
    /// Who functions run as, in place of their image's own user, e.g. `1000:1000`.
    pub user: Option<String>,
    /// Capabilities that functions keep; all others are dropped.
    pub capabilities: Vec<String>,
    /// What an instance may use where its revision does not say.
    pub default_limits: DefaultLimits,
    /// What was prepared is not collected before this age: its deploy may not be finished.
    pub collect_after: Duration,
}

impl DockerOptions {
    /// The defaults.
    pub fn new(data_directory: impl Into<PathBuf>) -> Self {
        Self {
            data_directory: data_directory.into(),
            socket: None,
            secrets_directory: PathBuf::from("/dev/shm"),
            credentials: BTreeMap::new(),
            config_file: None,
            pull: Pull::Always,
            pull_time: Duration::from_secs(900),
            reach: Reach::Auto,
            user: None,
            capabilities: Vec::new(),
            default_limits: DefaultLimits::default(),
            collect_after: Duration::from_secs(600),
        }
    }
}

/// What a registry is shown. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password, or a token in its place.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.username)
    }
}

/// When an image is asked of its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// At every deploy, unless it is named by its digest and is here. An image that never came from a
    /// registry (built or loaded here) is taken as it is.
    Always,
    /// Where it is not here.
    Missing,
}

/// How instances are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By their address where the engine runs on this very kernel, else by a published port.
    Auto,
    /// By their address on the engine's bridge.
    Bridge,
    /// By a port that the engine publishes on this machine's loopback. Nothing else is shared with it: files
    /// are sent to it.
    Published,
}

/// What an instance may use where its revision does not say.
#[derive(Clone, Copy, Debug)]
pub struct DefaultLimits {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Bytes of its private `/tmp`.
    pub scratch_bytes: u64,
}

impl Default for DefaultLimits {
    /// 512 MiB of memory, 256 processes and threads, 256 MiB in `/tmp`.
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, processes: 256, scratch_bytes: 256 << 20 }
    }
}
