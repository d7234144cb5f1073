//! Sandboxes for untrusted local processes, and the small single-threaded process that makes them.
//!
//! [`Spawner::launch`] re-executes this binary as the *spawner*; [`spawner_main`] is what it runs. The
//! spawner forks every sandbox; a sandbox's first process (its *init*) reaps whatever runs inside, and its
//! second (the *starter*), already confined, starts processes. When the server's end of the spawner's socket
//! closes, all of them die.

#![allow(unsafe_code, reason = "forks, namespaces and raw descriptors; every use has a SAFETY comment")]

mod enforcement;
mod error;
mod exec;
mod spec;

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod channel;
#[cfg(target_os = "linux")]
mod egress;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod inside;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod spawner;
#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(target_os = "linux")]
mod wire;

pub use enforcement::{Enforcement, Protection};
pub use error::SandboxError;
pub use exec::{Exec, ProcessExit, SandboxExit, Stream};
#[cfg(target_os = "linux")]
pub use host::{Process, Sandbox, Spawner, ZYGOTE_PYTHON, Zygote};
#[cfg(target_os = "linux")]
pub use spawner::spawner_main;
pub use spec::{Bind, Network, SandboxLimits, SandboxSpec, SpawnerOptions};
#[cfg(not(target_os = "linux"))]
pub use unsupported::{Process, Sandbox, Spawner, Zygote, spawner_main};

/// The first argument with which the binary re-executes itself as the spawner. `main` must look for it
/// before it does anything else and call [`spawner_main`].
pub const SPAWNER_ARGUMENT: &str = "__spawner";
