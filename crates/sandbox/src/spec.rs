//! What a spawner and a sandbox are asked to be.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// What the spawner is launched with.
#[derive(Clone, Debug)]
pub struct SpawnerOptions {
    /// The binary to re-execute; `None`: the running one (`/proc/self/exe`). Tests name the real one.
    pub executable: Option<PathBuf>,
    /// A directory of the spawner's own, for per-sandbox run directories; emptied at launch.
    pub run_directory: PathBuf,
    /// Sandboxes share the host's network even where they could have their own.
    pub share_host_network: bool,
    /// Sandboxes kept ready: their namespaces, network, cgroup and first processes made ahead, so that
    /// [`Spawner::create`](crate::Spawner::create) only has to specialise one.
    pub spare_networks: u32,
}

/// What a sandbox is.
#[derive(Clone, Debug, Default)]
pub struct SandboxSpec {
    /// Its name, for messages and logs: letters, digits and `-`, at most 128.
    pub id: String,
    /// What it sees of the host, beside the read-only system directories it always sees.
    pub binds: Vec<Bind>,
    /// What it may use.
    pub limits: SandboxLimits,
    /// What it can reach.
    pub network: Network,
    /// Variables of everything that runs inside; nothing of the server's own leaks in.
    pub variables: BTreeMap<String, String>,
    /// The working directory inside; default `/`.
    pub directory: Option<PathBuf>,
}

/// A directory or file of the host, seen inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host, absolute.
    pub host: PathBuf,
    /// Inside, absolute; made if missing.
    pub inside: PathBuf,
    /// It may be written. Where sandboxes have user ids of their own, `host` itself (not what is in it)
    /// is given to the sandbox's user.
    pub writable: bool,
}

/// What a sandbox can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Its own loopback only.
    Loopback,
    /// Its own loopback and the world, but none of the host's own addresses.
    #[default]
    Outward,
}

/// What a sandbox may use; `None`: no limit but the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxLimits {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Thousandths of one core.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// Bytes of its private `/tmp` (a tmpfs).
    pub scratch_bytes: Option<u64>,
}
