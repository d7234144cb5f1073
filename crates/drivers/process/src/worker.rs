//! Talking to a language worker over its control socket: see `runtimes/README.md`.

use serde::Serialize;
use std::{
    collections::BTreeMap,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::PathBuf,
    sync::Arc,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

/// The descriptor as which the worker sees its end: the first after the standard streams.
pub(crate) const DESCRIPTOR: &str = "3";

/// What a worker is told to run. Never printed: there are secrets in it.
#[derive(Serialize)]
pub(crate) struct StartMessage {
    pub(crate) code: PathBuf,
    pub(crate) dependencies: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) handler: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) style: Option<String>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) concurrency: u32,
    pub(crate) function: String,
    pub(crate) socket: PathBuf,
}

/// The server's end of a control socket.
#[derive(Debug)]
pub(crate) struct Control(UnixStream);

impl Control {
    /// A control socket, and the end that goes to the worker.
    pub(crate) fn pair() -> io::Result<(Self, Arc<OwnedFd>)> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self(UnixStream::from_std(ours)?), Arc::new(theirs.into())))
    }

    /// Completes when a blank has loaded what it loads. False if it ended instead.
    pub(crate) async fn blank(&mut self) -> bool {
        self.says(b"blank\n").await
    }

    /// Tells the worker what to run, and completes when it takes calls. False if it ended instead.
    pub(crate) async fn start(mut self, message: &StartMessage) -> bool {
        let Ok(mut line) = serde_json::to_vec(message) else { return false };
        line.push(b'\n');
        self.0.write_all(&line).await.is_ok() && self.says(b"ready\n").await
    }

    async fn says(&mut self, expected: &[u8]) -> bool {
        let mut said = vec![0; expected.len()];
        self.0.read_exact(&mut said).await.is_ok() && said == expected
    }
}
