//! An instance: the port's side of a sandbox.

use crate::{
    prepared::Held,
    running::{self, Running},
};
use async_trait::async_trait;
use bytes::Bytes;
use rustix::pipe::PipeFlags;
use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::net::{UnixListener, unix::pipe};
use xebec_core::{
    Body,
    ports::instance::{
        Child, ChildStreams, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, Listener,
        Signal, Usage,
    },
};
use xebec_sandbox::{Exec, Process, SandboxError, Stream};

/// Where sockets that the server listens on appear inside.
const RUN: &str = "/run/xebec";

/// What a function's files may be read by: whatever it runs.
const FILE_MODE: u32 = 0o644;

/// A port inside that is another one in truth: where the host's network is shared, every instance needs its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortMap {
    pub(crate) named: u16,
    pub(crate) real: u16,
}

/// An instance.
pub(crate) struct Instance {
    id: InstanceId,
    running: Running,
    port: Option<PortMap>,
    /// What it runs stays on disk as long as it does.
    _held: Held,
}

impl Instance {
    pub(crate) fn new(id: InstanceId, running: Running, port: Option<PortMap>, held: Held) -> Self {
        Self { id, running, port, _held: held }
    }

    fn fault(&self, error: SandboxError, endpoint: Option<&Endpoint>) -> IoError {
        match error {
            SandboxError::Ended(_) | SandboxError::SpawnerGone => {
                let killed = Exit { code: None, signal: Some(9), out_of_memory: false };
                IoError::Exited(self.running.ended().unwrap_or(killed))
            }
            SandboxError::NoProgram { program, why } => IoError::NoProgram { program, why },
            SandboxError::System(error) => match (error.kind(), endpoint) {
                (io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound, Some(endpoint)) => {
                    IoError::Refused(endpoint.clone())
                }
                _ => IoError::System(error),
            },
            other => IoError::System(io::Error::other(other.to_string())),
        }
    }
}

#[async_trait]
impl InstanceIo for Instance {
    fn id(&self) -> &InstanceId {
        &self.id
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, IoError> {
        let sandbox = self.running.sandbox();
        let connected: Result<Connection, _> = match endpoint {
            Endpoint::Port(port) => {
                let port = self.port.filter(|map| map.named == *port).map_or(*port, |map| map.real);
                sandbox.connect(port).await.map(|stream| Box::new(stream) as Connection)
            }
            Endpoint::Socket(path) => {
                sandbox.connect_socket(path).await.map(|stream| Box::new(stream) as Connection)
            }
        };
        connected.map_err(|error| self.fault(error, Some(endpoint)))
    }

    async fn listen(&self, endpoint: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        let name = match endpoint {
            Endpoint::Socket(path) => path.strip_prefix(RUN).ok().and_then(plain_name),
            Endpoint::Port(_) => None,
        };
        let unsupported = IoError::Unsupported { driver: "process", what: "listen outside of /run/xebec" };
        let path = self.running.sandbox().run_directory().join(name.ok_or(unsupported)?);
        let listener = UnixListener::bind(&path)?;
        // The function runs as another user.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        Ok(Box::new(Socket(listener)))
    }

    async fn spawn(&self, command: Command) -> Result<Box<dyn Child>, IoError> {
        let (result, theirs) = if command.result { result_pipe().map(Some)? } else { None }.unzip();
        let exec = Exec {
            argv: command.argv,
            variables: command.variables,
            directory: command.directory,
            stdin: Stream::Pipe,
            input: command.input,
            stdout: Stream::Pipe,
            stderr: if command.combine_output { Stream::Combined } else { Stream::Pipe },
            descriptors: theirs.into_iter().collect(),
        };
        let process = self.running.sandbox().spawn(exec).await.map_err(|error| self.fault(error, None))?;
        let input_taken = process.stdin.is_none();
        Ok(Box::new(Spawned { process, input_taken, result }))
    }

    /// `None`: a main process's output is always read as its log.
    fn take_stdio(&self) -> Option<Connection> {
        None
    }

    async fn request(&self, _: http::Request<Body>) -> Result<http::Response<Body>, IoError> {
        Err(IoError::Unsupported { driver: "process", what: "hand a request to code in this process" })
    }

    async fn write_file(&self, path: &Path, contents: Bytes) -> Result<(), IoError> {
        let written = self.running.sandbox().write_file(path, &contents, FILE_MODE).await;
        written.map_err(|error| self.fault(error, None))
    }

    async fn signal(&self, signal: Signal) -> Result<(), IoError> {
        match signal {
            Signal::Kill => {
                self.running.sandbox().kill();
                Ok(())
            }
            Signal::Stop => {
                const SIGTERM: i32 = 15;
                self.running.sandbox().signal_all(SIGTERM).await.map_err(|error| self.fault(error, None))
            }
        }
    }

    async fn exited(&self) -> Exit {
        self.running.exited().await
    }

    async fn destroy(&self) {
        self.running.sandbox().destroy().await;
        self.running.exited().await;
    }

    async fn usage(&self) -> Option<Usage> {
        let used = self.running.sandbox().usage()?;
        Some(Usage { cpu: used.cpu, memory_bytes: used.memory_bytes })
    }
}

/// The pipe that a process sees as descriptor 3, the first after its standard streams: our end and its own.
fn result_pipe() -> io::Result<(pipe::Receiver, Arc<OwnedFd>)> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok((pipe::Receiver::from_owned_fd(ours)?, Arc::new(theirs)))
}

/// The name of something directly in a directory.
fn plain_name(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(std::path::Component::Normal(name)), None) => Some(PathBuf::from(name)),
        _ => None,
    }
}

/// A socket that the instance can dial.
struct Socket(UnixListener);

#[async_trait]
impl Listener for Socket {
    async fn accept(&mut self) -> Result<Connection, IoError> {
        let (stream, _) = self.0.accept().await?;
        Ok(Box::new(stream))
    }
}

/// A process inside.
struct Spawned {
    process: Process,
    input_taken: bool,
    result: Option<pipe::Receiver>,
}

#[async_trait]
impl Child for Spawned {
    fn take_streams(&mut self) -> Option<ChildStreams> {
        let stdout = self.process.stdout.take()?;
        Some(ChildStreams {
            result: self.result.take().map(|result| Box::new(result) as _),
            stdin: match self.process.stdin.take() {
                Some(stdin) => Box::new(stdin),
                None => Box::new(tokio::io::sink()),
            },
            stdout: Box::new(stdout),
            stderr: self.process.stderr.take().map(|stderr| Box::new(stderr) as _),
        })
    }

    fn input_taken(&self) -> bool {
        self.input_taken
    }

    async fn wait(&mut self) -> Exit {
        running::exit(self.process.wait().await)
    }

    fn kill(&mut self) {
        self.process.kill();
    }
}
