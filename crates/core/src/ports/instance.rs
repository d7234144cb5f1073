//! What a driver offers of an instance: the ground that contracts stand on.

use crate::{body::Body, log::LogStream};
use async_trait::async_trait;
use bytes::Bytes;
use compact_str::CompactString;
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

/// The id of an instance, unique within the installation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub CompactString);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection into or out of an instance.
pub type Connection = Box<dyn Duplex>;

/// A place inside an instance that can be connected to or listened on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP port on the instance's loopback.
    Port(u16),
    /// A Unix socket, by its absolute path inside the instance.
    Socket(PathBuf),
}

/// One running copy of a revision, as its driver offers it. What a driver cannot do answers
/// [`IoError::Unsupported`]; contracts name what they need, and a deploy is refused where it is not there.
#[async_trait]
pub trait InstanceIo: Send + Sync {
    /// Its id.
    fn id(&self) -> &InstanceId;

    /// Connects to a place inside. Refused while nothing listens there.
    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, IoError>;

    /// Listens at a place that the instance can dial (`runtime-api` and kin).
    async fn listen(&self, endpoint: &Endpoint) -> Result<Box<dyn Listener>, IoError>;

    /// Starts one more process inside, with its standard streams (`stdio`).
    async fn spawn(&self, command: Command) -> Result<Box<dyn Child>, IoError>;

    /// The main process's standard streams, once (`hot-http`). Afterwards they are no longer read as logs.
    fn take_stdio(&self) -> Option<Connection>;

    /// Sends a request to code that runs in this process (`wasi-http`).
    async fn request(&self, request: http::Request<Body>) -> Result<http::Response<Body>, IoError>;

    /// Writes a file inside, by its absolute path.
    async fn write_file(&self, path: &std::path::Path, contents: Bytes) -> Result<(), IoError>;

    /// Signals every process of it (stop: asks it to end; kill: ends it).
    async fn signal(&self, signal: Signal) -> Result<(), IoError>;

    /// Completes when the instance's main process has ended and all of its tree is gone. Any number of
    /// waiters, also late ones.
    async fn exited(&self) -> Exit;

    /// How long after its end [`exited`](InstanceIo::exited) may tell of it: so long a broken connection may
    /// still turn out to be a crash.
    fn exit_lag(&self) -> Duration {
        Duration::from_millis(100)
    }

    /// Ends it now: kills and reaps the whole tree, gives back everything it held.
    async fn destroy(&self);

    /// What it uses, all of its processes together, where that can be told. Quick: a driver that must ask
    /// elsewhere bounds how often and how long.
    async fn usage(&self) -> Option<Usage> {
        None
    }
}

/// What an instance uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time that it has used since it started. Never falls.
    pub cpu: Duration,
    /// Memory that it holds now.
    pub memory_bytes: u64,
}

/// Accepts what the instance dials.
#[async_trait]
pub trait Listener: Send {
    /// The next connection.
    async fn accept(&mut self) -> Result<Connection, IoError>;
}

/// A process to start inside an instance.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Program and arguments; the program is looked up in the instance's `PATH`.
    pub argv: Vec<String>,
    /// Variables, added to the instance's own.
    pub variables: BTreeMap<String, String>,
    /// Its working directory; `None`: the instance's.
    pub directory: Option<PathBuf>,
    /// Standard error goes into the same pipe as standard output.
    pub combine_output: bool,
    /// All of its standard input, where that is known beforehand. A driver that can has it wait there before
    /// the program runs; [`Child::input_taken`] tells.
    pub input: Option<Bytes>,
    /// It gets one more pipe to write to, as descriptor 3; [`ChildStreams::result`] is its other end. A driver
    /// that cannot answers [`IoError::Unsupported`].
    pub result: bool,
}

/// A process inside an instance. Dropping it kills the process and everything it started.
#[async_trait]
pub trait Child: Send {
    /// Standard input, output and error, once. Error is `None` where it was combined with output.
    fn take_streams(&mut self) -> Option<ChildStreams>;

    /// [`Command::input`] was delivered and standard input closed behind it; what is written to it now goes
    /// nowhere. Otherwise that is still to be done.
    fn input_taken(&self) -> bool {
        false
    }

    /// How it ended.
    async fn wait(&mut self) -> Exit;

    /// Kills it and everything it started.
    fn kill(&mut self);
}

/// A child's standard streams.
pub struct ChildStreams {
    /// Closed by dropping it.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Ends when the last process that holds it closed it.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// `None` where it was combined with output.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// What is written to descriptor 3; there where [`Command::result`] asked for it.
    pub result: Option<Box<dyn AsyncRead + Send + Unpin>>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed it, or one of its tree, for memory.
    pub out_of_memory: bool,
}

impl Exit {
    /// Ended by itself, saying that all is well.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.out_of_memory, self.code, self.signal) {
            (true, _, _) => f.write_str("was killed: out of memory"),
            (_, Some(code), _) => write!(f, "exited with code {code}"),
            (_, None, Some(signal)) => write!(f, "was killed by signal {signal}"),
            (_, None, None) => f.write_str("ended"),
        }
    }
}

/// What to tell an instance's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Stop,
    /// SIGKILL.
    Kill,
}

/// Why something could not be done with an instance.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// This driver has no such thing.
    #[error("the {driver} driver cannot {what}")]
    Unsupported {
        /// The driver.
        driver: &'static str,
        /// What was asked.
        what: &'static str,
    },
    /// Nothing listens there yet.
    #[error("nothing listens at {0:?}")]
    Refused(Endpoint),
    /// The instance has ended.
    #[error("the instance {0}")]
    Exited(Exit),
    /// It passed its memory limit in the middle (in-process code).
    #[error("out of memory")]
    OutOfMemory,
    /// Its time was up in the middle (in-process code).
    #[error("interrupted: its time was up")]
    Interrupted,
    /// It trapped in the middle (in-process code); the trace.
    #[error("trapped: {0}")]
    Trapped(String),
    /// It gave no answer that its contract allows (in-process code); what it did instead.
    #[error("bad answer: {0}")]
    BadAnswer(String),
    /// There is no room for one more call just now (in-process code); what is used up.
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// The program to start does not exist inside, or cannot be started; why.
    #[error("cannot start {program:?}: {why}")]
    NoProgram {
        /// What was to be started.
        program: String,
        /// Why not.
        why: String,
    },
    /// The operating system said no.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// Where an instance's lines go. Must not block: what does not fit is counted and dropped.
pub trait LineSink: Send + Sync {
    /// One line without its end.
    fn line(&self, stream: LogStream, text: &str);

    /// From now on a line ends where `mark` does: `told` is called for it, in its turn among the lines of its
    /// stream, and what stands before the mark, if anything, is kept as a line. What is printed before the instance's first call belongs to that call, and
    /// what is printed between two calls to the one before. Set once; a sink without calls ignores it.
    fn watch_for(&self, _mark: &'static str, _told: Box<dyn Fn(LogStream) + Send + Sync>) {}
}

/// Where an instance's lines go, shared.
pub type Lines = Arc<dyn LineSink>;

/// How long `destroy` and kin may take before it is a defect of the driver.
pub const DESTROY_DEADLINE: Duration = Duration::from_secs(10);
