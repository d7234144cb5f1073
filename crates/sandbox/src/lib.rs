//! Sandboxes for untrusted local processes, and the small single-threaded process that makes them.
//!
//! ```text
//! server ── Spawner ────────▶ spawner          makes seats, hands them over, cleans up behind them
//!        ├─ Sandbox ────────▶  └─ init         PID 1: attaches mounts, writes files, opens sockets, reaps
//!        └─ Sandbox::spawn ─▶      └─ starter  confined for good: starts the function's processes
//! ```
//!
//! [`Spawner::launch`] re-executes this binary as the *spawner*; [`spawner_main`] is what it runs. It forks
//! *seats*: whole sandboxes made ahead, without binds, limits and variables. [`Spawner::create`] takes one and
//! adds those, which is a few mounts; [`Sandbox::bind`] adds more later by the same way. Each arrow above is a
//! Unix socket of its own, so starting a process concerns nobody but the starter – and since that is confined
//! already, a start is one `vfork` and one `exec`, as it would be for any program inside.
//!
//! # What keeps a function in
//!
//! * User, mount, pid, ipc, uts and network namespaces, and a root of its own: read-only system directories, an
//!   `/etc` and a `/dev` that say no more than is needed, its own `/proc`, `/tmp`, `/dev/shm` and `/run/xebec`.
//! * A user of its own. With the host's root, two ids per sandbox that nothing else uses, mapped to 0 (the init)
//!   and 1000 (the function): a user namespace rather than a mere change of user, since the init must keep rights
//!   over its mounts, and so holds none on the host. Without user namespaces the function runs as its id and
//!   the init is root's. An ordinary user has one id for all sandboxes.
//! * No capabilities, no new privileges, a filter on system calls, landlock, limits; control groups (version 2,
//!   else 1) for memory, processor and processes where they are to be had, else limits per process.
//! * No network but its own loopback; the way out is a tunnel into a TCP stack in the server, which refuses every
//!   address of the host, link-local and cloud metadata addresses. The host's configuration stays as it is.
//!
//! Where no namespace is to be had (an ordinary user on a host that restricts them, most containers), landlock,
//! the filter and, for root, users of their own remain, and the host's network is shared: a directory stands for
//! the root, and [`Sandbox::translate`] says where things are. [`Spawner::enforcement`] tells all of this.
//!
//! # How it ends
//!
//! An init ends with its spawner, its server or its starter, and the kernel ends all that is in its pid namespace.
//! The spawner ends when the server's end of its socket closes, `kill -9` included, and first gives back control
//! groups and directories; what a killed spawner could not give back, the next one does.

#![allow(unsafe_code, reason = "forks, namespaces and raw descriptors; every use has a SAFETY comment")]

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod channel;
#[cfg(target_os = "linux")]
mod egress;
mod enforcement;
mod error;
mod exec;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod inside;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod spawner;
mod spec;
#[cfg(not(target_os = "linux"))]
mod unsupported;
#[cfg(target_os = "linux")]
mod wire;

pub use enforcement::{Enforcement, Protection};
pub use error::SandboxError;
pub use exec::{Exec, ProcessExit, SandboxExit, Stream};
#[cfg(target_os = "linux")]
pub use host::{Process, Sandbox, SandboxUsage, Spawner, Zygote};
#[cfg(target_os = "linux")]
pub use spawner::spawner_main;
pub use spec::{Bind, Network, SandboxLimits, SandboxSpec, SpawnerOptions};
#[cfg(not(target_os = "linux"))]
pub use unsupported::{Process, Sandbox, SandboxUsage, Spawner, Zygote, spawner_main};

/// The first argument with which the binary re-executes itself as the spawner. `main` must look for it
/// before it does anything else and call [`spawner_main`].
pub const SPAWNER_ARGUMENT: &str = "__spawner";

/// The Python half of a [`Zygote`]: a module that a worker imports once it is warm.
pub const ZYGOTE_PYTHON: &str = include_str!("zygote.py");
