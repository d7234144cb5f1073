//! What the server, the spawner, inits and starters say to each other.
//!
//! Rare calls are JSON; what a starter hears and says, being on the path of every `stdio` call, is packed
//! ([`start`]).

use crate::{
    enforcement::Enforcement,
    spec::{Bind, SandboxLimits},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{io, path::PathBuf};

pub(crate) mod start;

/// A call, and the number that its answer will carry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call<T> {
    pub(crate) serial: u64,
    pub(crate) call: T,
}

/// The first message to a spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) run_directory: PathBuf,
    pub(crate) share_host_network: bool,
    pub(crate) spares: u32,
}

/// What the spawner is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SpawnerCall {
    /// Hand over a sandbox. The answer brings its init's socket, its starter's, its run directory, its tunnel
    /// where there is one, and a mount for each bind.
    Take { limits: SandboxLimits, binds: Vec<Bind> },
    /// Make mounts of the host's paths.
    Mounts { seat: u32, binds: Vec<Bind> },
    /// Set what a control group can limit.
    Limit { seat: u32, limits: SandboxLimits },
    /// End a sandbox.
    End { seat: u32 },
    /// Open what puts a process into a sandbox's control groups. The answer brings a descriptor for each.
    Groups { seat: u32 },
    /// Start a zygote; the message brings its control socket.
    Zygote { argv: Vec<String>, variables: Vec<String>, directory: Option<PathBuf> },
    /// End everything.
    Shutdown,
}

/// What the spawner says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SpawnerWord {
    /// It is ready; this is what it enforces.
    Ready(Enforcement, Abilities),
    /// It cannot work here.
    Unable(String),
    /// An answer.
    Answer { serial: u64, result: Result<Answer, String> },
    /// A sandbox has ended, and all of it is gone.
    Ended { seat: u32, out_of_memory: bool },
    /// A process that was nobody else's child has ended: one that a zygote brought into a sandbox.
    Orphan { pid: i32, status: i32 },
}

/// What the server must know of how sandboxes are made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Abilities {
    /// Sandboxes have roots (and process ids) of their own.
    pub(crate) own_root: bool,
    /// They have user ids of their own.
    pub(crate) own_ids: bool,
    pub(crate) user_namespaces: bool,
    pub(crate) own_network: bool,
    pub(crate) memory_group: bool,
    pub(crate) pids_group: bool,
    pub(crate) landlock: bool,
}

impl Abilities {
    /// What of a sandbox's limits each process must be held to, because no control group does: bytes of data,
    /// and processes (those of an init and a starter included).
    pub(crate) fn without_groups(&self, limits: &SandboxLimits) -> (Option<u64>, Option<u64>) {
        let data = limits.memory_bytes.filter(|_| !self.memory_group);
        // Where a user's processes are counted all over the host, such a limit would hit others.
        let counted = self.own_root || self.own_ids;
        let processes = limits.processes.filter(|_| counted && !self.pids_group);
        (data, processes.map(|most| u64::from(most) + 2))
    }
}

/// A spawner's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Taken(Taken),
    Done,
    Zygote,
}

/// A sandbox, handed over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) seat: u32,
    pub(crate) tunnel: bool,
    /// The directory that stands for its root, where it has none of its own.
    pub(crate) bare_root: Option<PathBuf>,
    /// Its init's process id, as the spawner (and the server) see it.
    pub(crate) init: i32,
    pub(crate) user: u32,
    /// Files of its control groups: processor time used, memory held, processes in it, and its count of kills
    /// for memory.
    pub(crate) cpu_file: Option<PathBuf>,
    pub(crate) memory_file: Option<PathBuf>,
    pub(crate) processes_file: Option<PathBuf>,
    pub(crate) kills_file: Option<PathBuf>,
}

/// What an init is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum InitCall {
    /// Attach the mounts that come with it.
    Attach { places: Vec<Place> },
    /// Size `/tmp`; limit what no control group limits.
    Limit { scratch_bytes: Option<u64>, data_bytes: Option<u64>, processes: Option<u64> },
    /// Write the file that comes with it.
    Write { path: PathBuf, mode: u32 },
    /// Make a TCP socket of the sandbox's network.
    Socket,
    /// Connect to a Unix socket.
    Connect { path: PathBuf },
    /// Signal every process inside.
    Signal { signal: i32 },
    /// Hand over descriptors of its namespaces, and of landlock's rules where there are any.
    Namespaces,
}

/// Where a mount goes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) inside: PathBuf,
    pub(crate) directory: bool,
}

/// An init's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InitAnswer {
    pub(crate) serial: u64,
    pub(crate) result: Result<(), Fault>,
}

/// Why an init could not.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) what: String,
    pub(crate) errno: Option<i32>,
}

pub(crate) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
