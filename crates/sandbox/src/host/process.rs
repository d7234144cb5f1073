//! A process inside a sandbox.

use super::{fate::Fate, starter::Started};
use crate::{Exec, ProcessExit, SandboxError, cgroup, wire::start::Step};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::net::unix::pipe;

/// A process inside a sandbox. Dropping it kills the process and everything it started.
#[derive(Debug)]
pub struct Process {
    /// Its standard input, where that is a pipe and did not get all that it will. Dropping it closes it.
    pub stdin: Option<pipe::Sender>,
    /// Its standard output, where that is a pipe. Ends when the last process that holds it closed it.
    pub stdout: Option<pipe::Receiver>,
    /// Its standard error, where that is a pipe of its own.
    pub stderr: Option<pipe::Receiver>,
    started: Started,
    fate: Arc<Fate>,
    kills: Arc<Kills>,
    exited: Option<ProcessExit>,
}

/// The sandbox's count of kills for memory, and how far it has been looked at.
#[derive(Debug)]
pub(super) struct Kills {
    file: Option<PathBuf>,
    seen: AtomicU64,
}

impl Kills {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, seen: AtomicU64::new(0) }
    }

    /// Whether there were any since this was last asked.
    fn any_new(&self) -> bool {
        let count = self.file.as_deref().map_or(0, cgroup::kills);
        self.seen.fetch_max(count, Ordering::Relaxed) < count
    }
}

impl Process {
    pub(super) fn new(
        started: Started,
        fate: Arc<Fate>,
        kills: Arc<Kills>,
        (stdin, stdout, stderr): (Option<pipe::Sender>, Option<pipe::Receiver>, Option<pipe::Receiver>),
    ) -> Self {
        Self { stdin, stdout, stderr, started, fate, kills, exited: None }
    }

    /// Its process id inside.
    pub fn pid(&self) -> i32 {
        self.started.pid
    }

    /// Completes when it has ended; what it started may still run. May be cancelled and called again.
    pub async fn wait(&mut self) -> ProcessExit {
        if let Some(exited) = self.exited {
            return exited;
        }
        let exit = match self.started.exit().await {
            Some(status) => self.read_status(status),
            None => {
                let end = self.fate.wait().await;
                ProcessExit { code: None, signal: Some(libc::SIGKILL), out_of_memory: end.out_of_memory }
            }
        };
        self.exited = Some(exit);
        exit
    }

    fn read_status(&self, status: i32) -> ProcessExit {
        let (code, signal) = if libc::WIFSIGNALED(status) {
            (None, Some(libc::WTERMSIG(status)))
        } else {
            (Some(libc::WEXITSTATUS(status)), None)
        };
        // A process that ended well did not miss whatever was killed.
        let out_of_memory = code != Some(0) && self.kills.any_new();
        ProcessExit { code, signal, out_of_memory }
    }

    /// Kills it and everything it started. [`wait`](Self::wait) tells when it is gone.
    pub fn kill(&self) {
        self.started.kill();
    }
}

/// Why a process did not come to run.
pub(super) fn not_started(step: Step, errno: i32, exec: &Exec, directory: &Path) -> SandboxError {
    let program = exec.argv.first().cloned().unwrap_or_default();
    let error = io::Error::from_raw_os_error(errno);
    match (step, errno) {
        (Step::Program, libc::ENOENT) if !program.contains('/') => {
            SandboxError::NoProgram { program, why: "there is no such program in PATH".to_owned() }
        }
        (Step::Program, libc::ENOENT) => SandboxError::NoProgram {
            program,
            why: "there is no such file inside, or the interpreter or loader that it names".to_owned(),
        },
        (Step::Program, libc::EACCES) => {
            SandboxError::NoProgram { program, why: "it is not executable".to_owned() }
        }
        (Step::Program, libc::ENOEXEC) => SandboxError::NoProgram {
            program,
            why: "it is neither a program nor a script with #!".to_owned(),
        },
        (Step::Program, _) => SandboxError::NoProgram { program, why: error.to_string() },
        (Step::Directory, _) => {
            let directory = exec.directory.as_deref().unwrap_or(directory);
            SandboxError::Failed { what: format!("enter {}", directory.display()), why: error.to_string() }
        }
        (Step::Fork, libc::EAGAIN) => SandboxError::Failed {
            what: format!("start {program:?}"),
            why: "its limit on processes is reached".to_owned(),
        },
        (Step::Fork, _) => {
            SandboxError::Failed { what: format!("start {program:?}"), why: error.to_string() }
        }
    }
}
