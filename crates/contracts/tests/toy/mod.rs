//! An instance of toys: real sockets on the loopback, real processes, an exit on demand.
#![allow(dead_code, missing_docs, unreachable_pub)]

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncRead,
    net::{TcpListener, TcpStream, UnixListener, UnixStream, unix::pipe},
    sync::watch,
};
use xebec_contracts::{Brings, Call, Opening, Session, contract};
use xebec_core::{
    Body, InvocationId,
    limits::Limits,
    log::LogStream,
    ports::instance::{
        Child, ChildStreams, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, LineSink,
        Listener, Signal,
    },
    revision::ContractSpec,
    slot::{Retire, Slot, SlotOwner},
};

/// Long enough for anything that does happen; a test that waits so long has failed.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Toy {
    id: InstanceId,
    exit: watch::Sender<Option<Exit>>,
    /// Absolute paths inside are below it.
    pub root: PathBuf,
    pub signals: Mutex<Vec<Signal>>,
    /// What a stop signal makes of it.
    pub exits_on_stop: bool,
    /// What code in this process answers.
    pub answers: OnceLock<Answers>,
}

type Answers = Box<dyn Fn(http::Request<Body>) -> Result<http::Response<Body>, IoError> + Send + Sync>;

impl Toy {
    pub fn new() -> Arc<Self> {
        Self::rooted(Path::new("/"))
    }

    pub fn rooted(root: &Path) -> Arc<Self> {
        Arc::new(Self {
            id: InstanceId("toy".into()),
            exit: watch::Sender::new(None),
            root: root.to_owned(),
            signals: Mutex::default(),
            exits_on_stop: true,
            answers: OnceLock::new(),
        })
    }

    pub fn exit(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
    }

    pub fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

pub const CRASHED: Exit = Exit { code: Some(7), signal: None, out_of_memory: false };

#[async_trait]
impl InstanceIo for Toy {
    fn id(&self) -> &InstanceId {
        &self.id
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, IoError> {
        if let Some(exit) = *self.exit.borrow() {
            return Err(IoError::Exited(exit));
        }
        let refused = |_| IoError::Refused(endpoint.clone());
        Ok(match endpoint {
            Endpoint::Port(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).await.map_err(refused)?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Endpoint::Socket(path) => {
                Box::new(UnixStream::connect(self.inside(path)).await.map_err(refused)?)
            }
        })
    }

    async fn listen(&self, endpoint: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        Ok(match endpoint {
            Endpoint::Port(port) => Box::new(Tcp(TcpListener::bind(("127.0.0.1", *port)).await?)),
            Endpoint::Socket(path) => Box::new(Unix(UnixListener::bind(self.inside(path))?)),
        })
    }

    async fn spawn(&self, command: Command) -> Result<Box<dyn Child>, IoError> {
        if let Some(exit) = *self.exit.borrow() {
            return Err(IoError::Exited(exit));
        }
        let program = command.argv[0].clone();
        if program.starts_with('/') && !Path::new(&program).exists() {
            return Err(IoError::NoProgram { program, why: "there is no such file".to_owned() });
        }
        // Its standard error becomes descriptor 3, and what it says there comes on standard output.
        let third = ["sh", "-c", "exec 3>&2 2>&1; exec \"$0\" \"$@\""].map(str::to_owned);
        let argv = if command.result { [&third[..], &command.argv[..]].concat() } else { command.argv };
        let mut process = tokio::process::Command::new(&argv[0]);
        process.args(&argv[1..]).envs(&command.variables).stdin(Stdio::piped()).process_group(0);
        let small = command.input.filter(|input| input.len() <= 4096);
        let input_taken = small.is_some();
        if let Some(input) = small {
            let (read, mut write) = std::io::pipe()?;
            std::io::Write::write_all(&mut write, &input)?;
            process.stdin(read);
        }
        if let Some(directory) = &command.directory {
            process.current_dir(directory);
        }
        let mut combined = None;
        if command.combine_output {
            let (read, write) = std::io::pipe()?;
            process.stdout(write.try_clone()?).stderr(write);
            combined = Some(pipe::Receiver::from_owned_fd(read.into())?);
        } else {
            process.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child =
            process.spawn().map_err(|error| IoError::NoProgram { program, why: error.to_string() })?;
        let mut streams = ChildStreams {
            stdin: match child.stdin.take() {
                Some(stdin) => Box::new(stdin),
                None => Box::new(tokio::io::sink()),
            },
            stdout: match combined {
                Some(combined) => Box::new(combined),
                None => Box::new(child.stdout.take().unwrap()),
            },
            stderr: None,
            result: None,
        };
        let stderr = child.stderr.take().map(|stderr| Box::new(stderr) as Box<dyn AsyncRead + Send + Unpin>);
        if command.result {
            streams.result = stderr
        } else {
            streams.stderr = stderr
        }
        let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        Ok(Box::new(Process { child, streams: Some(streams), group, input_taken }))
    }

    fn take_stdio(&self) -> Option<Connection> {
        None
    }

    async fn request(&self, request: http::Request<Body>) -> Result<http::Response<Body>, IoError> {
        match self.answers.get() {
            Some(answers) => answers(request),
            None => Err(IoError::Unsupported { driver: "toy", what: "take requests in process" }),
        }
    }

    async fn write_file(&self, path: &Path, contents: Bytes) -> Result<(), IoError> {
        Ok(tokio::fs::write(self.inside(path), contents).await?)
    }

    async fn signal(&self, signal: Signal) -> Result<(), IoError> {
        self.signals.lock().push(signal);
        if self.exits_on_stop {
            self.exit(Exit { code: Some(0), signal: None, out_of_memory: false });
        }
        Ok(())
    }

    async fn exited(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        let exit = exit.wait_for(Option::is_some).await.unwrap();
        exit.unwrap()
    }

    async fn destroy(&self) {}
}

struct Tcp(TcpListener);
#[async_trait]
impl Listener for Tcp {
    async fn accept(&mut self) -> Result<Connection, IoError> {
        Ok(Box::new(self.0.accept().await?.0))
    }
}

struct Unix(UnixListener);
#[async_trait]
impl Listener for Unix {
    async fn accept(&mut self) -> Result<Connection, IoError> {
        Ok(Box::new(self.0.accept().await?.0))
    }
}

struct Process {
    child: tokio::process::Child,
    streams: Option<ChildStreams>,
    group: Option<rustix::process::Pid>,
    input_taken: bool,
}

#[async_trait]
impl Child for Process {
    fn take_streams(&mut self) -> Option<ChildStreams> {
        self.streams.take()
    }

    fn input_taken(&self) -> bool {
        self.input_taken
    }

    async fn wait(&mut self) -> Exit {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.child.wait().await.unwrap();
        Exit { code: status.code(), signal: status.signal(), out_of_memory: false }
    }

    fn kill(&mut self) {
        if let Some(group) = self.group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Counts slots and lines.
#[derive(Default)]
pub struct Owner {
    pub announced: AtomicU32,
    pub freed: AtomicU32,
    pub retired: Mutex<Vec<Retire>>,
    pub lines: Mutex<Vec<(LogStream, String)>>,
    pub watched: Mutex<Option<(&'static str, Told)>>,
}

type Told = Box<dyn Fn(LogStream) + Send + Sync>;

impl SlotOwner for Owner {
    fn announce(&self, count: u32) {
        self.announced.fetch_add(count, Ordering::SeqCst);
    }
    fn free(&self) {
        self.freed.fetch_add(1, Ordering::SeqCst);
    }
    fn retire(&self, why: Retire) {
        self.retired.lock().push(why);
    }
}

impl LineSink for Owner {
    fn line(&self, stream: LogStream, text: &str) {
        let watched = self.watched.lock();
        match &*watched {
            Some((mark, told)) if text == *mark => told(stream),
            _ => self.lines.lock().push((stream, text.to_owned())),
        }
    }

    fn watch_for(&self, mark: &'static str, told: Told) {
        *self.watched.lock() = Some((mark, told));
    }
}

impl Owner {
    pub fn freed(&self) -> u32 {
        self.freed.load(Ordering::SeqCst)
    }

    pub fn retired(&self) -> Vec<Retire> {
        self.retired.lock().clone()
    }
}

pub fn spec(name: &str, options: serde_json::Value) -> ContractSpec {
    serde_json::from_value(serde_json::json!({"name": name, "options": options})).unwrap()
}

pub fn opening(io: Arc<Toy>, owner: Arc<Owner>, spec: ContractSpec, command: &[&str]) -> Opening {
    Opening {
        io,
        spec,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        limits: Limits { concurrency: 4, ..Limits::default() },
        slots: owner.clone(),
        lines: owner,
        brings: Brings::default(),
    }
}

/// A session and what it stands on.
pub struct Opened {
    pub io: Arc<Toy>,
    pub owner: Arc<Owner>,
    pub session: Arc<dyn Session>,
}

pub async fn open(io: Arc<Toy>, spec: ContractSpec, command: &[&str]) -> Opened {
    let owner = Arc::new(Owner::default());
    let contract = contract(&spec.name).unwrap();
    let opening = opening(io.clone(), owner.clone(), spec, command);
    let session = contract.open(opening).await.unwrap();
    assert_eq!(owner.announced.load(Ordering::SeqCst), 4);
    Opened { io, owner, session }
}

impl Opened {
    pub fn call(&self, request: http::Request<Body>) -> Call {
        Call { id: InvocationId::new(), slot: Slot::new(self.owner.clone()), request }
    }

    pub async fn send(
        &self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, xebec_contracts::CallError> {
        self.session.call(self.call(request)).await
    }

    /// A call that is answered; its answer, whole.
    pub async fn answer(&self, request: http::Request<Body>) -> (http::response::Parts, String) {
        let (parts, body) = self.send(request).await.unwrap().into_parts();
        (parts, text(body).await)
    }
}

pub async fn text(body: Body) -> String {
    String::from_utf8(body.collect(1 << 30).await.unwrap().to_vec()).unwrap()
}

pub fn get(path: &str) -> http::Request<Body> {
    http::Request::get(path).body(Body::empty()).unwrap()
}

pub fn post(body: impl Into<Bytes>) -> http::Request<Body> {
    http::Request::post("/").body(Body::full(body)).unwrap()
}

/// A body that is fed by hand.
pub fn fed() -> (tokio::sync::mpsc::Sender<Result<http_body::Frame<Bytes>, std::io::Error>>, Body) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let frames = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, Body::stream(http_body_util::StreamBody::new(frames)))
}

/// Waits until it holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "did not come: {what}");
}
