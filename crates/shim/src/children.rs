//! Processes: started here, and reaped here – the orphans, too, that the first process of a container inherits.
//!
//! One place waits for all of them: whoever waited for one alone would race with whoever waits for any.

use rustix::process::{Pid, Signal, WaitOptions};
use std::{
    collections::HashMap,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use xebec_core::ports::instance::Exit;

/// The processes that were started and have not ended.
#[derive(Default)]
pub(crate) struct Children(Mutex<HashMap<i32, watch::Sender<Option<Exit>>>>);

/// A process and, as far as they stay in it, all that it starts: its process group.
#[derive(Clone)]
pub(crate) struct Process {
    pid: Pid,
    exit: watch::Receiver<Option<Exit>>,
}

/// The streams of a new process.
pub(crate) struct Streams {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl Children {
    /// Starts a program in a process group of its own.
    pub(crate) fn start(
        self: &Arc<Self>,
        argv: &[String],
        variables: impl IntoIterator<Item = (String, String)>,
        streams: Streams,
    ) -> io::Result<Process> {
        let [program, arguments @ ..] = argv else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(variables)
            .process_group(0)
            .stdin(Stdio::from(streams.stdin))
            .stdout(Stdio::from(streams.stdout))
            .stderr(Stdio::from(streams.stderr));
        // Held, so that nobody looks for the process before it is in the table.
        let mut table = self.table();
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let (ended, exit) = watch::channel(None);
        table.insert(pid, ended);
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::Other)?;
        Ok(Process { pid, exit })
    }

    /// Takes in everything that has ended. To be called after each SIGCHLD.
    pub(crate) fn reap(&self) {
        let mut table = self.table();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            // An orphan concerns nobody.
            let Some(waiting) = table.remove(&pid.as_raw_nonzero().get()) else { continue };
            let exit = Exit {
                code: status.exit_status(),
                signal: status.terminating_signal(),
                out_of_memory: false,
            };
            waiting.send_replace(Some(exit));
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<i32, watch::Sender<Option<Exit>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// How it ended. Any number of waiters, also late ones.
    pub(crate) async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        // The other side is only dropped after it has told.
        ended.unwrap_or(Exit { code: None, signal: None, out_of_memory: false })
    }

    /// Signals it and all that it started.
    ///
    /// After its end, this reaches what it left running. Its number could then be another's only if the kernel
    /// had gone through all numbers since.
    pub(crate) fn signal(&self, signal: Signal) {
        // Nobody left: as well.
        let _ = rustix::process::kill_process_group(self.pid, signal);
    }
}
