//! A process to start inside a sandbox, and how it ended.

use bytes::Bytes;
use std::{collections::BTreeMap, fmt, os::fd::OwnedFd, path::PathBuf, sync::Arc};

/// A process to start inside a sandbox.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// Program and arguments; a program without a `/` is looked up in `PATH` as it is inside.
    pub argv: Vec<String>,
    /// Variables, over the sandbox's own.
    pub variables: BTreeMap<String, String>,
    /// Its working directory; `None`: the sandbox's.
    pub directory: Option<PathBuf>,
    /// Standard input: a pipe, or nothing to read.
    pub stdin: Stream,
    /// All that comes in by that pipe, where it is known beforehand. If the pipe holds it, it is there before
    /// the program runs, and [`Process::stdin`](crate::Process::stdin) is `None`.
    pub input: Option<Bytes>,
    /// Standard output.
    pub stdout: Stream,
    /// Standard error.
    pub stderr: Stream,
    /// Further descriptors, which it sees as 3, 4, ….
    pub descriptors: Vec<Arc<OwnedFd>>,
}

/// What a standard stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    /// `/dev/null`.
    #[default]
    Null,
    /// A pipe whose other end is in [`Process`](crate::Process).
    Pipe,
    /// For standard error: the same as standard output.
    Combined,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessExit {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It did not end well, and the kernel killed it or one of its tree for memory.
    pub out_of_memory: bool,
}

/// How a sandbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxExit {
    /// The kernel killed something in it for memory.
    pub out_of_memory: bool,
    /// It was asked to end (destroyed, killed or dropped); otherwise its first process died by itself.
    pub requested: bool,
}

impl fmt::Display for SandboxExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.out_of_memory, self.requested) {
            (true, _) => "out of memory",
            (false, true) => "destroyed",
            (false, false) => "its first process ended",
        })
    }
}
