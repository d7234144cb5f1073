//! The process behind the mode `http`.

use crate::{
    children::{Children, Process, Streams},
    log,
};
use rustix::process::Signal;
use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::{net::unix::pipe::Receiver, task::JoinSet};
use xebec_contracts::lines::LineReader;
use xebec_core::{log::LogStream, ports::instance::Lines};

/// How long its last lines may take. What it left running may have its streams still open.
const LAST_LINES: Duration = Duration::from_secs(10);

/// The function's server, in the mode `http`.
pub(crate) struct Server {
    pub(crate) process: Process,
    /// Its standard input, which stays open: some servers end with it.
    _stdin: io::PipeWriter,
    /// Those that read its lines.
    readers: JoinSet<()>,
}

impl Server {
    /// Starts it.
    pub(crate) fn start(
        children: &Arc<Children>,
        command: &[String],
        lines: &Lines,
        max_line_bytes: usize,
    ) -> io::Result<Self> {
        let (stdin, to) = io::pipe()?;
        let (output, stdout) = io::pipe()?;
        let (errors, stderr) = io::pipe()?;
        let streams = Streams { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() };
        let process = children.start(command, [], streams)?;
        let mut readers = JoinSet::new();
        for (pipe, stream) in [(output, LogStream::Stdout), (errors, LogStream::Stderr)] {
            let pipe = Receiver::from_owned_fd(OwnedFd::from(pipe))?;
            readers.spawn(LineReader::new(Box::new(pipe), lines.clone(), stream, max_line_bytes).run());
        }
        Ok(Self { process, _stdin: to, readers })
    }

    /// Asks it to end, and ends it when it does not.
    pub(crate) async fn end(self, grace: Duration) {
        self.process.signal(Signal::TERM);
        if tokio::time::timeout(grace, self.process.exited()).await.is_err() {
            log::own(format_args!("the function did not end: killed"));
        }
        // What it left running, too.
        self.process.signal(Signal::KILL);
        self.last_lines().await;
    }

    /// What it still had to say.
    pub(crate) async fn last_lines(mut self) {
        let all = async { while self.readers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_LINES, all).await;
    }
}

impl Drop for Server {
    /// Where the shim is not the first process, nobody else would.
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
    }
}
