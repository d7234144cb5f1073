//! What contracts stand on: the container that the shim is in.

use crate::{
    calls::Calls,
    children::{Children, Process, Streams},
};
use async_trait::async_trait;
use bytes::Bytes;
use rustix::process::Signal as Number;
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
};
use tokio::net::{
    TcpStream,
    unix::pipe::{Receiver, Sender},
};
use xebec_core::{
    Body,
    ports::instance::{
        Child, ChildStreams, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, Listener,
        Signal,
    },
};

/// The container as an instance.
pub(crate) struct Local {
    id: InstanceId,
    children: Arc<Children>,
    calls: Arc<Calls>,
    /// The server, and where it listens.
    server: Option<(Process, String)>,
}

impl Local {
    pub(crate) fn new(children: Arc<Children>, calls: Arc<Calls>, server: Option<(Process, String)>) -> Self {
        Self { id: InstanceId("local".into()), children, calls, server }
    }
}

impl Local {
    /// Starts a call's process. That stops the thread until the program runs, so where there are other calls, it is
    /// done on another; alone, the way there and back would cost more.
    async fn start(
        &self,
        argv: Vec<String>,
        variables: BTreeMap<String, String>,
        streams: Streams,
    ) -> Result<LocalChild, IoError> {
        let children = self.children.clone();
        let start = move || match children.start(&argv, variables, streams) {
            Ok(process) => Ok(LocalChild { process, streams: None, input_taken: false }),
            Err(error) => Err(no_program(&argv, &error)),
        };
        if self.calls.in_flight() <= 1 {
            return start();
        }
        match tokio::task::spawn_blocking(start).await {
            Ok(started) => started,
            Err(error) => Err(IoError::System(io::Error::other(error))),
        }
    }
}

#[async_trait]
impl InstanceIo for Local {
    fn id(&self) -> &InstanceId {
        &self.id
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, IoError> {
        let (Endpoint::Port(port), Some((_, host))) = (endpoint, &self.server) else {
            return Err(unsupported("connect to sockets"));
        };
        let connected = match host.trim_matches(['[', ']']) {
            // No lookup for what every host calls itself, and a server may be on either.
            "localhost" | "0.0.0.0" => match TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    TcpStream::connect(("::1", *port)).await
                }
                connected => connected,
            },
            // A name that is not known yet may be known soon, as a server that does not listen yet may.
            host => TcpStream::connect((host, *port)).await.map_err(|error| match host.parse::<IpAddr>() {
                Ok(_) => error,
                Err(_) => io::ErrorKind::ConnectionRefused.into(),
            }),
        };
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Err(error) if refused(&error) => Err(IoError::Refused(endpoint.clone())),
            Err(error) => Err(error.into()),
        }
    }

    async fn listen(&self, _: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        Err(unsupported("listen"))
    }

    async fn spawn(&self, command: Command) -> Result<Box<dyn Child>, IoError> {
        if command.result {
            return Err(unsupported("give a process a pipe for its result"));
        }
        let (stdin, mut to) = io::pipe()?;
        let (from, stdout) = io::pipe()?;
        let (errors, stderr) = if command.combine_output {
            (None, OwnedFd::from(stdout.try_clone()?))
        } else {
            let (errors, stderr) = io::pipe()?;
            (Some(errors), stderr.into())
        };
        let input_taken = match &command.input {
            // What fits waits in the pipe.
            Some(input) if rustix::pipe::fcntl_getpipe_size(&to).is_ok_and(|size| input.len() <= size) => {
                to.write_all(input)?;
                true
            }
            _ => false,
        };
        let streams = Streams { stdin: stdin.into(), stdout: stdout.into(), stderr };
        let mut child = self.start(command.argv, command.variables, streams).await?;
        let stdin: Box<dyn tokio::io::AsyncWrite + Send + Unpin> = if input_taken {
            drop(to);
            Box::new(tokio::io::sink())
        } else {
            Box::new(Sender::from_owned_fd(to.into())?)
        };
        child.input_taken = input_taken;
        child.streams = Some(ChildStreams {
            result: None,
            stdin,
            stdout: Box::new(Receiver::from_owned_fd(from.into())?),
            stderr: match errors {
                Some(errors) => Some(Box::new(Receiver::from_owned_fd(errors.into())?)),
                None => None,
            },
        });
        Ok(Box::new(child))
    }

    fn take_stdio(&self) -> Option<Connection> {
        None
    }

    async fn request(&self, _: http::Request<Body>) -> Result<http::Response<Body>, IoError> {
        Err(unsupported("run components"))
    }

    async fn write_file(&self, _: &Path, _: Bytes) -> Result<(), IoError> {
        Err(unsupported("write files"))
    }

    async fn signal(&self, signal: Signal) -> Result<(), IoError> {
        let Some((server, _)) = &self.server else { return Err(unsupported("signal processes of calls")) };
        server.signal(match signal {
            Signal::Stop => Number::TERM,
            Signal::Kill => Number::KILL,
        });
        Ok(())
    }

    async fn exited(&self) -> Exit {
        match &self.server {
            Some((server, _)) => server.exited().await,
            // Without a server it is there as long as the shim is.
            None => std::future::pending().await,
        }
    }

    async fn destroy(&self) {
        if let Some((server, _)) = &self.server {
            server.signal(Number::KILL);
            server.exited().await;
        }
    }
}

/// A call's process.
struct LocalChild {
    process: Process,
    streams: Option<ChildStreams>,
    input_taken: bool,
}

#[async_trait]
impl Child for LocalChild {
    fn take_streams(&mut self) -> Option<ChildStreams> {
        self.streams.take()
    }

    fn input_taken(&self) -> bool {
        self.input_taken
    }

    async fn wait(&mut self) -> Exit {
        self.process.exited().await
    }

    fn kill(&mut self) {
        self.process.signal(Number::KILL);
    }
}

impl Drop for LocalChild {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a program that cannot be started is called.
pub(crate) fn no_program(argv: &[String], error: &io::Error) -> IoError {
    IoError::NoProgram { program: argv.first().cloned().unwrap_or_default(), why: error.to_string() }
}

/// A server that is not there yet, or whose address is not.
fn refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::AddrNotAvailable)
}

fn unsupported(what: &'static str) -> IoError {
    IoError::Unsupported { driver: "shim's", what }
}
