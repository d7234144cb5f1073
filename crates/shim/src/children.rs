//! Processes: started here, and reaped here – the orphans, too, that the first process of a container inherits.
//!
//! One place waits for all of them: whoever waited for one alone would race with whoever waits for any.

use rustix::process::{Pid, Signal, WaitOptions};
use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use xebec_core::ports::instance::Exit;

/// The processes that were started and have not ended.
#[derive(Default)]
pub(crate) struct Children(Mutex<Table>);

#[derive(Default)]
struct Table {
    awaited: HashMap<i32, watch::Sender<Option<Exit>>>,
    /// Starts that are under way, numbered: what each of them starts may end before it is in the table.
    starting: BTreeSet<u64>,
    last_start: u64,
    /// Those that ended and were not in the table, each with the last start that it can be of.
    unknown: HashMap<i32, (u64, Exit)>,
}

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
        let number = self.table().begin();
        let started = command.spawn();
        let mut table = self.table();
        table.starting.remove(&number);
        let pid = match started {
            Ok(child) => i32::try_from(child.id()).map_err(io::Error::other)?,
            Err(error) => return Err(error),
        };
        let (ended, exit) = watch::channel(table.unknown.remove(&pid).map(|(_, exit)| exit));
        if ended.borrow().is_none() {
            table.awaited.insert(pid, ended);
        }
        table.forget();
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::Other)?;
        Ok(Process { pid, exit })
    }

    /// Takes in everything that has ended. To be called after each SIGCHLD.
    pub(crate) fn reap(&self) {
        let mut table = self.table();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let exit = Exit {
                code: status.exit_status(),
                signal: status.terminating_signal(),
                out_of_memory: false,
            };
            table.ended(pid.as_raw_nonzero().get(), exit);
        }
        table.forget();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn begin(&mut self) -> u64 {
        self.last_start += 1;
        self.starting.insert(self.last_start);
        self.last_start
    }

    fn ended(&mut self, pid: i32, exit: Exit) {
        match self.awaited.remove(&pid) {
            Some(waiting) => {
                waiting.send_replace(Some(exit));
            }
            None => {
                self.unknown.insert(pid, (self.last_start, exit));
            }
        }
    }

    /// Those that no start under way can be of were orphans, and concern nobody.
    fn forget(&mut self) {
        let first = self.starting.first().copied();
        self.unknown.retain(|_, (last, _)| first.is_some_and(|first| first <= *last));
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

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT: Exit = Exit { code: Some(0), signal: None, out_of_memory: false };

    #[test]
    fn what_ends_early_is_kept_as_long_as_it_can_be_of_a_start() {
        let mut table = Table::default();
        table.ended(1, EXIT);
        table.forget();
        assert!(table.unknown.is_empty(), "an orphan");
        let (first, second) = (table.begin(), table.begin());
        table.ended(2, EXIT);
        table.starting.remove(&second);
        table.forget();
        assert!(table.unknown.contains_key(&2), "it can be the first one's");
        let third = table.begin();
        table.starting.remove(&first);
        table.forget();
        assert!(table.unknown.is_empty(), "it ended before the third began");
        assert_eq!(table.starting, BTreeSet::from([third]));
    }
}
