//! An instance: code, what it is told, and whether it has ended.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use serde_json::Value;
use std::{
    any::Any,
    io,
    panic::AssertUnwindSafe,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;
use xebec_core::{
    Body, Error, ErrorKind,
    invocation::Called,
    ports::{
        builtin::Builtin,
        instance::{
            Child, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, Listener, Signal,
        },
    },
    revision::Revision,
    workload::Workload,
};

/// Ended because it was told to.
pub(crate) const KILLED: Exit = Exit { code: None, signal: Some(9), out_of_memory: false };
const STOPPED: Exit = Exit { code: Some(0), signal: None, out_of_memory: false };

/// One instance, as the contract sees it.
pub(crate) struct Instance(pub(crate) Arc<Shared>);

/// What an instance's calls share.
pub(crate) struct Shared {
    id: InstanceId,
    builtin: Arc<dyn Builtin>,
    revision: Arc<Revision>,
    in_flight: AtomicUsize,
    stopping: AtomicBool,
    exit: watch::Sender<Option<Exit>>,
}

impl Shared {
    pub(crate) fn new(id: InstanceId, builtin: Arc<dyn Builtin>, revision: Arc<Revision>) -> Self {
        let exit = watch::Sender::new(None);
        Self { id, builtin, revision, in_flight: AtomicUsize::new(0), stopping: AtomicBool::new(false), exit }
    }

    /// What it was told when it was deployed.
    fn settings(&self) -> &Value {
        match &self.revision.spec.workload {
            Workload::Builtin { settings, .. } => settings,
            // The driver starts no others.
            _ => &Value::Null,
        }
    }

    pub(crate) fn end(&self, how: Exit) {
        self.exit.send_if_modified(|exit| {
            let first = exit.is_none();
            exit.get_or_insert(how);
            first
        });
    }

    async fn ended(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        // The sender is `self`: it cannot be gone.
        exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit).unwrap_or(KILLED)
    }

    fn end_if_idle(&self) {
        if self.stopping.load(Ordering::Acquire) && self.in_flight.load(Ordering::Acquire) == 0 {
            self.end(STOPPED);
        }
    }

    async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, IoError> {
        let Some(called) = request.extensions_mut().remove::<Called>() else {
            return Err(broken("a part of the server was called without being told by whom".to_owned()));
        };
        if let Some(exit) = *self.exit.borrow() {
            return Err(IoError::Exited(exit));
        }
        let _in_flight = InFlight::enter(self);
        let answer = AssertUnwindSafe(self.builtin.call(called, self.settings(), request)).catch_unwind();
        // What has ended answers nobody: dropping the call gives it up. It has run, so it is not one that another
        // instance could take.
        tokio::select! {
            biased;
            exit = self.ended() => Err(broken(format!("a part of the server {exit} in the middle of the call"))),
            answer = answer => match answer {
                Ok(answer) => answer.map_err(failed),
                Err(panic) => Err(broken(format!("a part of the server panicked: {}", words(&*panic)))),
            },
        }
    }
}

/// A call in flight: it counts.
struct InFlight<'a>(&'a Shared);

impl<'a> InFlight<'a> {
    fn enter(instance: &'a Shared) -> Self {
        instance.in_flight.fetch_add(1, Ordering::AcqRel);
        Self(instance)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.end_if_idle();
        }
    }
}

/// What ends a call as a platform error: with no room for it just now, it may be made again.
fn failed(error: Error) -> IoError {
    match error.kind {
        ErrorKind::Unavailable => IoError::Overloaded(error.to_string()),
        _ => IoError::System(io::Error::other(error)),
    }
}

fn broken(why: String) -> IoError {
    IoError::System(io::Error::other(why))
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it did not say why")
}

fn unsupported<T>(what: &'static str) -> Result<T, IoError> {
    Err(IoError::Unsupported { driver: "builtin", what })
}

#[async_trait]
impl InstanceIo for Instance {
    fn id(&self) -> &InstanceId {
        &self.0.id
    }

    async fn connect(&self, _endpoint: &Endpoint) -> Result<Connection, IoError> {
        unsupported("connect to a part of the server; its requests are handed to it")
    }

    async fn listen(&self, _endpoint: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        unsupported("listen for a part of the server")
    }

    async fn spawn(&self, _command: Command) -> Result<Box<dyn Child>, IoError> {
        unsupported("start programs")
    }

    fn take_stdio(&self) -> Option<Connection> {
        None
    }

    async fn request(&self, request: Request<Body>) -> Result<Response<Body>, IoError> {
        self.0.call(request).await
    }

    async fn write_file(&self, _path: &Path, _contents: Bytes) -> Result<(), IoError> {
        unsupported("write files")
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
}

impl Drop for Instance {
    /// Calls of an instance that nobody holds any more have nobody to answer to.
    fn drop(&mut self) {
        self.0.end(KILLED);
    }
}
