//! An instance: a linked component and the bounds of its calls. It holds no memory of the guest's: every
//! call gets a fresh one, and gives it back.

use crate::{
    command::WasmChild, loaded::Loaded, outgoing::Outgoing, request, runtime::Runtime, secrets::Mounted,
    state::Bounds, ticker::TickGuard,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};
use xebec_core::{
    Body,
    ports::instance::{
        Child, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, Lines, Listener, Signal,
        Usage,
    },
};

/// Ended because it was told to.
pub(crate) const KILLED: Exit = Exit { code: None, signal: Some(9), out_of_memory: false };
const STOPPED: Exit = Exit { code: Some(0), signal: None, out_of_memory: false };

/// One instance, as the contracts see it.
pub(crate) struct WasmInstance(pub(crate) Arc<Shared>);

/// What an instance's calls share.
pub(crate) struct Shared {
    pub(crate) id: InstanceId,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) loaded: Arc<Loaded>,
    variables: Vec<(String, String)>,
    pub(crate) lines: Lines,
    memory_limit: u64,
    pub(crate) run_clock: Duration,
    network: bool,
    secrets: Option<Mounted>,
    memory: Arc<AtomicU64>,
    /// Nanoseconds that guests ran.
    pub(crate) ran: AtomicU64,
    in_flight: AtomicUsize,
    stopping: AtomicBool,
    /// Set with `exit`; what running guests look at on every tick.
    cancelled: Arc<AtomicBool>,
    exit: watch::Sender<Option<Exit>>,
}

/// What is particular to one instance.
pub(crate) struct Settings {
    pub(crate) id: InstanceId,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) lines: Lines,
    pub(crate) memory_limit: u64,
    pub(crate) run_clock: Duration,
    pub(crate) network: bool,
    pub(crate) secrets: Option<Mounted>,
}

impl Shared {
    pub(crate) fn new(runtime: Arc<Runtime>, loaded: Arc<Loaded>, settings: Settings) -> Self {
        Self {
            id: settings.id,
            runtime,
            loaded,
            variables: settings.variables,
            lines: settings.lines,
            memory_limit: settings.memory_limit,
            run_clock: settings.run_clock,
            network: settings.network,
            secrets: settings.secrets,
            memory: Arc::default(),
            ran: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            cancelled: Arc::default(),
            exit: watch::Sender::new(None),
        }
    }

    /// Room for one more call, or why there is none.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<InFlight, IoError> {
        if let Some(exit) = *self.exit.borrow() {
            return Err(IoError::Exited(exit));
        }
        let running = &self.runtime.running;
        if running.fetch_add(1, Ordering::AcqRel) >= self.runtime.capacity {
            running.fetch_sub(1, Ordering::AcqRel);
            return Err(IoError::Overloaded(format!(
                "{} calls of WebAssembly functions run, and more are not allowed at a time",
                self.runtime.capacity
            )));
        }
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Ok(InFlight { _ticks: self.runtime.ticker.guard(), instance: self.clone() })
    }

    /// The bounds of one call.
    pub(crate) fn bounds(&self, deadline: Option<Instant>) -> Bounds {
        Bounds::new(self.memory_limit, self.memory.clone(), deadline, self.cancelled.clone())
    }

    /// What a guest sees of the host: its variables and secrets, clocks and random numbers; no other files
    /// and no sockets.
    pub(crate) fn wasi(&self, build: impl FnOnce(&mut WasiCtxBuilder)) -> Result<WasiCtx, IoError> {
        let mut builder = WasiCtx::builder();
        builder.envs(&self.variables).allow_tcp(false).allow_udp(false).max_random_size(1 << 20);
        if let Some(secrets) = &self.secrets {
            secrets.show(&mut builder).map_err(|error| IoError::System(io::Error::other(error)))?;
        }
        build(&mut builder);
        Ok(builder.build())
    }

    /// What a guest may send.
    pub(crate) fn outgoing(&self) -> Outgoing {
        Outgoing { allowed: self.network, lines: self.lines.clone() }
    }

    /// Completes when the instance has ended.
    pub(crate) async fn ended(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        // The sender is `self`: it cannot be gone.
        exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit).unwrap_or(KILLED)
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    pub(crate) fn end(&self, how: Exit) {
        self.cancelled.store(true, Ordering::Release);
        self.exit.send_if_modified(|exit| {
            let first = exit.is_none();
            exit.get_or_insert(how);
            first
        });
    }

    fn end_if_idle(&self) {
        if self.stopping.load(Ordering::Acquire) && self.in_flight.load(Ordering::Acquire) == 0 {
            self.end(STOPPED);
        }
    }
}

/// A call in flight: it counts, and it keeps the clock going.
pub(crate) struct InFlight {
    _ticks: TickGuard,
    instance: Arc<Shared>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.instance.runtime.running.fetch_sub(1, Ordering::AcqRel);
        if self.instance.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.instance.end_if_idle();
        }
    }
}

fn unsupported<T>(what: &'static str) -> Result<T, IoError> {
    Err(IoError::Unsupported { driver: "wasm", what })
}

#[async_trait]
impl InstanceIo for WasmInstance {
    fn id(&self) -> &InstanceId {
        &self.0.id
    }

    async fn connect(&self, _endpoint: &Endpoint) -> Result<Connection, IoError> {
        unsupported("connect to a component; its requests are handed to it")
    }

    async fn listen(&self, _endpoint: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        unsupported("listen for a component")
    }

    async fn spawn(&self, command: Command) -> Result<Box<dyn Child>, IoError> {
        if command.result {
            return unsupported("give a program a pipe for its result");
        }
        Ok(Box::new(WasmChild::start(&self.0, command)?))
    }

    fn take_stdio(&self) -> Option<Connection> {
        None
    }

    async fn request(&self, request: http::Request<Body>) -> Result<http::Response<Body>, IoError> {
        request::send(&self.0, request).await
    }

    async fn write_file(&self, _path: &Path, _contents: Bytes) -> Result<(), IoError> {
        unsupported("write files: components have no file system")
    }

    /// There is no process to signal: a stopped instance ends with its last call.
    async fn signal(&self, signal: Signal) -> Result<(), IoError> {
        match signal {
            Signal::Stop => {
                self.0.stopping.store(true, Ordering::Release);
                self.0.end_if_idle();
            }
            Signal::Kill => self.0.end(KILLED),
        }
        Ok(())
    }

    async fn exited(&self) -> Exit {
        self.0.ended().await
    }

    async fn destroy(&self) {
        self.0.end(KILLED);
    }

    async fn usage(&self) -> Option<Usage> {
        Some(Usage {
            cpu: Duration::from_nanos(self.0.ran.load(Ordering::Relaxed)),
            memory_bytes: self.0.memory.load(Ordering::Relaxed),
        })
    }
}

impl Drop for WasmInstance {
    /// Calls of an instance that nobody holds any more have nobody to answer to.
    fn drop(&mut self) {
        self.0.end(KILLED);
    }
}
