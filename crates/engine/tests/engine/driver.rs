//! A driver whose instances live in this process and do as they are told, and a contract that speaks with
//! them. What a request's path says is what becomes of it.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response};
use http_body::Frame;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use xebec_contracts::{Call, CallError, Contract, Opening, Session, StartError};
use xebec_core::{
    Body, BodyError, Digest, Error, Outcome,
    environment::Environment,
    invocation::Called,
    log::LogStream,
    outcome::FunctionFault,
    ports::{
        driver::{Blank, BlankInner, Driver, DriverReport, Prepare, Progress, Start},
        instance::{
            Child, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, Lines, Listener,
            Signal, Usage,
        },
    },
    record::Remarks,
    revision::{Revision, RevisionSpec},
    slot::{Retire, Slot, SlotOwner},
    workload::Workload,
};

/// What the driver is told, and what it saw.
#[derive(Default)]
pub(crate) struct Script {
    /// How long `start` takes, in milliseconds.
    pub(crate) start_ms: AtomicU32,
    /// So many starts fail from now on.
    pub(crate) failing_starts: AtomicU32,
    /// Instances end as soon as they are started, having printed why.
    pub(crate) dies_at_start: AtomicBool,
    /// Instances never take calls.
    pub(crate) never_ready: AtomicBool,
    /// So many calls are turned away, nothing sent, from now on.
    pub(crate) turned_away: AtomicU32,
    /// What an image's name means: how often it was pushed.
    pub(crate) pushed: AtomicU32,
    /// Preparing takes so long, in milliseconds.
    pub(crate) prepare_ms: AtomicU32,
    /// Revisions prepared, in order.
    pub(crate) prepared: Mutex<Vec<Digest>>,
    /// Nothing starts that was not prepared since.
    pub(crate) forgot_prepared: AtomicBool,
    /// What `start` was asked for.
    pub(crate) started: Mutex<Vec<Start>>,
    pub(crate) starting: AtomicUsize,
    pub(crate) alive: AtomicUsize,
    /// The most that were alive or starting at a time.
    pub(crate) most: AtomicUsize,
    pub(crate) destroyed: AtomicUsize,
    pub(crate) blanks: AtomicUsize,
    pub(crate) specialized: AtomicUsize,
    /// Thousandths of a core that all instances together use.
    pub(crate) busy_millis: AtomicU32,
    /// Marks of which contracts were told.
    pub(crate) marks: AtomicU32,
    /// The code that contracts were to hand over, where there was any.
    pub(crate) brought: Mutex<Vec<Option<Bytes>>>,
    /// Calls that each instance got.
    pub(crate) served: Mutex<BTreeMap<String, u32>>,
    /// Revisions that `collect` asked about are these.
    pub(crate) collect_asks: Mutex<Vec<(Digest, bool)>>,
}

impl Script {
    pub(crate) fn starts(&self) -> usize {
        self.started.lock().len()
    }

    fn note_most(&self) {
        self.most.fetch_max(self.alive.load(SeqCst) + self.starting.load(SeqCst), SeqCst);
    }
}

pub(crate) struct FakeDriver(pub(crate) Arc<Script>);

struct FakeBlank(Arc<Script>);

impl BlankInner for FakeBlank {
    fn alive(&self) -> bool {
        true
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl Drop for FakeBlank {
    fn drop(&mut self) {
        self.0.blanks.fetch_sub(1, SeqCst);
    }
}

/// Counts a start that is under way; dropped with its future.
struct Starting<'a>(&'a Script);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.starting.fetch_sub(1, SeqCst);
    }
}

/// Even the shortest sleep takes a millisecond of real time.
async fn pause(ms: &AtomicU32) {
    let ms = ms.load(SeqCst);
    if ms > 0 {
        sleep(Duration::from_millis(ms.into())).await;
    }
}

fn take_one(count: &AtomicU32) -> bool {
    count.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Driver for FakeDriver {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn accepts(&self, revision: &Revision, _environment: &Environment) -> Result<(), Error> {
        if revision.spec.read_only_root {
            return Err(Error::invalid("XB3001", "read_only_root cannot be honoured"));
        }
        Ok(())
    }

    /// A name ends with how often its image was pushed, once that is known.
    async fn pin(&self, spec: &mut RevisionSpec, _: &dyn Progress) -> Result<(), Error> {
        if let Workload::Image { reference, .. } = &mut spec.workload
            && !reference.contains('@')
        {
            *reference = format!("{reference}@{}", self.0.pushed.load(SeqCst));
        }
        Ok(())
    }

    async fn prepare(&self, request: Prepare<'_>) -> Result<(), Error> {
        request.progress.step("preparing");
        pause(&self.0.prepare_ms).await;
        self.0.prepared.lock().push(request.revision.digest);
        self.0.forgot_prepared.store(false, SeqCst);
        Ok(())
    }

    async fn start(&self, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        self.0.starting.fetch_add(1, SeqCst);
        let starting = Starting(&self.0);
        self.0.note_most();
        self.0.started.lock().push(start.clone());
        pause(&self.0.start_ms).await;
        if self.0.forgot_prepared.load(SeqCst) {
            return Err(Error::internal("XB3005", "it was not prepared"));
        }
        if take_one(&self.0.failing_starts) {
            start.lines.line(LogStream::Stderr, "no such module");
            return Err(Error::internal("XB3004", "told to fail"));
        }
        drop(starting);
        Ok(instance(self.0.clone(), start.instance, start.lines))
    }

    async fn start_blank(&self, environment: Arc<Environment>) -> Result<Blank, Error> {
        sleep(Duration::from_millis(5)).await;
        self.0.blanks.fetch_add(1, SeqCst);
        Ok(Blank { environment: environment.name.clone(), inner: Box::new(FakeBlank(self.0.clone())) })
    }

    async fn specialize(&self, blank: Blank, start: Start) -> Result<Arc<dyn InstanceIo>, Error> {
        assert!(blank.inner.into_any().is::<FakeBlank>());
        self.0.specialized.fetch_add(1, SeqCst);
        self.0.started.lock().push(start.clone());
        Ok(instance(self.0.clone(), start.instance, start.lines))
    }

    async fn collect(&self, live: &(dyn for<'d> Fn(&'d Digest) -> bool + Sync)) -> Result<u64, Error> {
        let prepared = self.0.prepared.lock().clone();
        self.0.collect_asks.lock().extend(prepared.into_iter().map(|digest| (digest, live(&digest))));
        Ok(7)
    }

    fn report(&self) -> DriverReport {
        DriverReport { driver: "fake".to_owned(), usable: true, ..DriverReport::default() }
    }

    async fn shutdown(&self) {}
}

struct FakeInstance {
    id: InstanceId,
    script: Arc<Script>,
    lines: Lines,
    exit: watch::Sender<Option<Exit>>,
    destroyed: AtomicBool,
    /// When it was last asked what it used, and what that was.
    used: Mutex<(Instant, Duration)>,
}

fn instance(script: Arc<Script>, id: InstanceId, lines: Lines) -> Arc<dyn InstanceIo> {
    script.alive.fetch_add(1, SeqCst);
    script.note_most();
    let instance = FakeInstance {
        id,
        script: script.clone(),
        lines,
        exit: watch::Sender::new(None),
        destroyed: AtomicBool::new(false),
        used: Mutex::new((Instant::now(), Duration::ZERO)),
    };
    if script.dies_at_start.load(SeqCst) {
        instance.lines.line(LogStream::Stderr, "cannot open config.json");
        instance.end(Some(3), false);
    }
    Arc::new(instance)
}

impl FakeInstance {
    fn end(&self, code: Option<i32>, out_of_memory: bool) {
        let signal = code.is_none().then_some(9);
        self.exit.send_if_modified(|exit| {
            let first = exit.is_none();
            exit.get_or_insert(Exit { code, signal, out_of_memory });
            first
        });
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, IoError> {
        *self.script.served.lock().entry(self.id.to_string()).or_default() += 1;
        let uri = request.uri().clone();
        let number = uri.query().and_then(|query| query.parse::<u64>().ok()).unwrap_or(0);
        match uri.path() {
            "/echo" => {
                let traceparent = request.headers().get("traceparent").cloned();
                let body = request.into_body().collect(u64::MAX).await;
                let body = body.map_err(|error| IoError::Trapped(error.to_string()))?;
                let mut response = Response::new(Body::full(body));
                if let Some(traceparent) = traceparent {
                    response.headers_mut().insert("traceparent", traceparent);
                }
                Ok(response)
            }
            "/header" => {
                let value = uri.query().and_then(|name| request.headers().get(name)).cloned();
                Ok(Response::new(Body::full(
                    value.map(|value| value.as_bytes().to_vec()).unwrap_or_default(),
                )))
            }
            "/status" => {
                let mut response = Response::new(Body::full("status"));
                *response.status_mut() = http::StatusCode::from_u16(number as u16).unwrap();
                Ok(response)
            }
            "/sleep" => {
                sleep(Duration::from_millis(number)).await;
                Ok(Response::new(Body::full("slept")))
            }
            "/log" => {
                (0..number).for_each(|n| self.lines.line(LogStream::Stdout, &format!("line {n}")));
                Ok(Response::new(Body::full("logged")))
            }
            "/marked" => {
                (0..number).for_each(|n| self.lines.line(LogStream::Stdout, &format!("line {n}")));
                self.lines.line(LogStream::Stdout, &format!("unended{MARK}"));
                self.lines.line(LogStream::Stderr, MARK);
                Ok(Response::new(Body::full("marked")))
            }
            "/remarked" => {
                let details = serde_json::json!({ "parts": [number] });
                let outcome = Some(Outcome::ApplicationError);
                let mut response = Response::new(Body::full("remarked"));
                response.extensions_mut().insert(Remarks { outcome, details });
                Ok(response)
            }
            "/called" => {
                let called = request.extensions().get::<Called>();
                Ok(Response::new(Body::full(called.map_or_else(String::new, |called| {
                    format!("{} {} {:?}", called.id, called.function, called.note)
                }))))
            }
            "/stream" => Ok(Response::new(stream(number, false))),
            "/break" => Ok(Response::new(stream(number, true))),
            "/crash" => {
                self.lines.line(LogStream::Stderr, "panicked");
                self.end(Some(101), false);
                std::future::pending().await
            }
            "/oom" => {
                self.end(None, true);
                Err(IoError::Trapped("connection lost".to_owned()))
            }
            _ => std::future::pending().await,
        }
    }
}

/// A body of pieces, 10 ms apart.
fn stream(pieces: u64, breaks: bool) -> Body {
    let pieces = futures_util::stream::iter(0..pieces).then(move |_| async move {
        sleep(Duration::from_millis(10)).await;
        Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"piece")))
    });
    let end = futures_util::stream::iter(breaks.then(|| Err::<_, BodyError>("broken".into())));
    Body::stream(http_body_util::StreamBody::new(Box::pin(pieces.chain(end))))
}

fn unsupported<T>(what: &'static str) -> Result<T, IoError> {
    Err(IoError::Unsupported { driver: "fake", what })
}

#[async_trait]
impl InstanceIo for FakeInstance {
    fn id(&self) -> &InstanceId {
        &self.id
    }

    /// Here: becomes ready.
    async fn connect(&self, _endpoint: &Endpoint) -> Result<Connection, IoError> {
        if self.script.never_ready.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let exit = *self.exit.borrow();
        match exit {
            Some(exit) => Err(IoError::Exited(exit)),
            None => Ok(Box::new(tokio::io::empty())),
        }
    }

    async fn listen(&self, _endpoint: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        unsupported("listen")
    }

    async fn spawn(&self, _command: Command) -> Result<Box<dyn Child>, IoError> {
        unsupported("spawn")
    }

    fn take_stdio(&self) -> Option<Connection> {
        None
    }

    async fn request(&self, request: Request<Body>) -> Result<Response<Body>, IoError> {
        self.answer(request).await
    }

    async fn write_file(&self, _path: &Path, _contents: Bytes) -> Result<(), IoError> {
        unsupported("write files")
    }

    async fn signal(&self, _signal: Signal) -> Result<(), IoError> {
        self.end(None, false);
        Ok(())
    }

    async fn exited(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        let found = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        found.unwrap_or(Exit { code: None, signal: None, out_of_memory: false })
    }

    async fn usage(&self) -> Option<Usage> {
        let mut used = self.used.lock();
        let share = self.script.busy_millis.load(SeqCst) / self.script.alive.load(SeqCst).max(1) as u32;
        let (at, cpu) = *used;
        *used = (Instant::now(), cpu + at.elapsed() * share / 1000);
        Some(Usage { cpu: used.1, memory_bytes: 1 << 20 })
    }

    async fn destroy(&self) {
        assert!(!self.destroyed.swap(true, SeqCst), "destroyed twice");
        self.end(None, false);
        self.script.alive.fetch_sub(1, SeqCst);
        self.script.destroyed.fetch_add(1, SeqCst);
    }
}

/// What ends the lines of calls of functions whose handler is `marked`.
pub(crate) const MARK: &str = "<end>";

/// The contract `fake`. Of its functions some say by their handler how they start: `marked` ends the lines of
/// each call with [`MARK`], `refused` and `late` fail, having said so.
pub(crate) struct FakeContract;

pub(crate) fn contracts(name: &str) -> Option<Arc<dyn Contract>> {
    (name == "fake").then(|| Arc::new(FakeContract) as Arc<dyn Contract>)
}

#[async_trait]
impl Contract for FakeContract {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn check(&self, revision: &RevisionSpec) -> Result<(), Error> {
        match revision.contract.options.keys().next() {
            Some(option) => Err(Error::invalid("XB1003", format!("there is no setting {option:?}"))),
            None => Ok(()),
        }
    }

    async fn open(&self, opening: Opening) -> Result<Arc<dyn Session>, StartError> {
        let ready = opening.io.connect(&Endpoint::Port(1)).await;
        ready.map_err(|error| StartError::new(error.to_string()))?;
        let code = opening.brings.code.as_ref().map(|(_, code)| code.clone());
        SCRIPT.with_borrow(|script| script.as_ref().map(|script| script.brought.lock().push(code)));
        if let Some(handler @ ("marked" | "refused" | "late")) = opening.brings.handler.as_deref() {
            let script = SCRIPT.with_borrow(|script| script.clone());
            let told = move |_| {
                script.as_ref().map(|script| script.marks.fetch_add(1, SeqCst));
            };
            opening.lines.watch_for(MARK, Box::new(told));
            opening.lines.line(LogStream::Stdout, "imported");
            if handler != "marked" {
                let output = Bytes::from_static(b"no main");
                let message = format!("told to be {handler}");
                return Err(StartError { message, output, late: handler == "late" });
            }
        }
        opening.slots.announce(opening.limits.concurrency);
        Ok(Arc::new(FakeSession { io: opening.io, _slots: opening.slots }))
    }
}

struct FakeSession {
    io: Arc<dyn InstanceIo>,
    _slots: Arc<dyn SlotOwner>,
}

thread_local! {
    static SCRIPT: std::cell::RefCell<Option<Arc<Script>>> = const { std::cell::RefCell::new(None) };
}

/// Lets sessions see the script: contracts do not know their driver.
pub(crate) fn set_script(script: &Arc<Script>) {
    SCRIPT.with_borrow_mut(|set| *set = Some(script.clone()));
}

#[async_trait]
impl Session for FakeSession {
    async fn call(&self, call: Call) -> Result<Response<Body>, CallError> {
        let turned_away =
            SCRIPT.with_borrow(|script| script.as_ref().is_some_and(|script| take_one(&script.turned_away)));
        if turned_away {
            call.slot.retire(Retire::Broken);
            let mut error = CallError::new(Outcome::FunctionError(FunctionFault::Crash), "turned away");
            error.unsent = Some(Box::new(call.request));
            return Err(error);
        }
        if call.request.uri().path() == "/half" {
            call.slot.retire(Retire::Broken);
            let mut error = CallError::new(Outcome::FunctionError(FunctionFault::BadResponse), "half");
            error.output = Bytes::from_static(b"half an answer");
            return Err(error);
        }
        match self.io.request(call.request).await {
            Ok(response) => {
                if response.body().replay().is_some() {
                    call.slot.free();
                    return Ok(response);
                }
                Ok(response.map(|body| Body::stream(Slotted { body, slot: Some(call.slot) })))
            }
            Err(error) => {
                call.slot.retire(Retire::Broken);
                Err(CallError::new(Outcome::FunctionError(FunctionFault::Crash), error.to_string()))
            }
        }
    }

    async fn close(&self, _grace: Duration) {}
}

/// An answer's body that gives its slot back when it ends.
struct Slotted {
    body: Body,
    slot: Option<Slot>,
}

impl http_body::Body for Slotted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(None) = &polled
            && let Some(slot) = self.slot.take()
        {
            slot.free();
        }
        polled
    }
}
