//! A sandbox with what runs in it, until and after its end.

use crate::output::{self, Sink};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use xebec_core::{log::LogStream, ports::instance::Exit};
use xebec_sandbox::{Process, ProcessExit, Sandbox, SandboxExit};

/// How long what was printed may take to be read after the end. It is in pipes already.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A sandbox with what runs in it. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running {
    sandbox: Sandbox,
    exit: watch::Receiver<Option<Exit>>,
}

impl Running {
    /// A sandbox in which processes come and go: it ends when it is told to.
    pub(crate) fn idle(sandbox: Sandbox) -> Self {
        let (tell, exit) = watch::channel(None);
        let watched = sandbox.clone();
        tokio::spawn(async move {
            tell.send_replace(Some(of_sandbox(watched.exited().await)));
        });
        Self { sandbox, exit }
    }

    /// A sandbox with a main process: when that ends, all ends. Its output goes to `sink`.
    pub(crate) fn main(sandbox: Sandbox, mut process: Process, sink: &Arc<Sink>) -> Self {
        let (tell, exit) = watch::channel(None);
        let out = process.stdout.take().map(|from| output::follow(from, LogStream::Stdout, sink.clone()));
        let err = process.stderr.take().map(|from| output::follow(from, LogStream::Stderr, sink.clone()));
        let watched = sandbox.clone();
        tokio::spawn(async move {
            let ended = process.wait().await;
            drop(process);
            watched.destroy().await;
            let whole = watched.exited().await;
            // Whoever hears of the end wants to know what it said last.
            let read = async {
                for reading in [out, err].into_iter().flatten() {
                    reading.await.ok();
                }
            };
            tokio::time::timeout(LAST_LINES, read).await.ok();
            tell.send_replace(Some(of_process(ended, whole)));
        });
        Self { sandbox, exit }
    }

    /// The sandbox.
    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Completes when all of it is gone and what it printed has been read.
    pub(crate) async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await.map(|exit| *exit) {
            Ok(Some(exit)) => exit,
            // The task that tells was dropped with its runtime.
            _ => KILLED,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.sandbox.kill();
    }
}

const KILLED: Exit = Exit { code: None, signal: Some(9), out_of_memory: false };

fn of_sandbox(exit: SandboxExit) -> Exit {
    Exit { out_of_memory: exit.out_of_memory, ..KILLED }
}

fn of_process(exit: ProcessExit, sandbox: SandboxExit) -> Exit {
    let ended_well = exit.code == Some(0);
    let out_of_memory = exit.out_of_memory || (sandbox.out_of_memory && !ended_well);
    Exit { code: exit.code, signal: exit.signal, out_of_memory }
}

/// How a process ended, in the words of the port.
pub(crate) fn exit(exit: ProcessExit) -> Exit {
    Exit { code: exit.code, signal: exit.signal, out_of_memory: exit.out_of_memory }
}
