//! Sandboxes for untrusted local processes, and the small single-threaded process that makes them.
//!
//! [`Spawner::launch`] re-executes this binary as the *spawner*; [`spawner_main`] is what it runs. The
//! spawner forks every sandbox; a sandbox's first process (its *init*) starts, signals and reaps whatever
//! runs inside. When the server's end of the spawner's socket closes, all of them die.

#![allow(unsafe_code, reason = "forks, namespaces and raw descriptors; every use has a SAFETY comment")]

use std::{collections::BTreeMap, path::PathBuf};

/// The first argument with which the binary re-executes itself as the spawner. `main` must look for it
/// before it does anything else and call [`spawner_main`].
pub const SPAWNER_ARGUMENT: &str = "__spawner";

/// What the spawner is launched with.
#[derive(Clone, Debug)]
pub struct SpawnerOptions {
    /// The binary to re-execute; `None`: the running one (`/proc/self/exe`). Tests name the real one.
    pub executable: Option<PathBuf>,
    /// A directory of the spawner's own, for per-sandbox run directories; emptied at launch.
    pub run_directory: PathBuf,
    /// Sandboxes share the host's network even where they could have their own.
    pub share_host_network: bool,
    /// Network namespaces kept ready.
    pub spare_networks: u32,
}

/// What a sandbox is.
#[derive(Clone, Debug, Default)]
pub struct SandboxSpec {
    /// Its name: letters, digits and `-`; names its run directory and cgroup.
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
#[derive(Clone, Debug)]
pub struct Bind {
    /// On the host.
    pub host: PathBuf,
    /// Inside, absolute; made if missing.
    pub inside: PathBuf,
    /// It may be written.
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
#[derive(Clone, Copy, Debug, Default)]
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
