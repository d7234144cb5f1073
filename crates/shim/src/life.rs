//! From the start to the last exit code.

use crate::{
    calls::Calls,
    children::{Children, Process, Streams},
    function::{Function, Place},
    health::Health,
    listener::{Listening, Times},
    local::{Local, no_program},
    log::{self, FunctionLines},
    metrics::Metrics,
    settings::{Settings, Work},
};
use http::StatusCode;
use rustix::process::Signal;
use std::{future::Future, io, os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::{
    net::unix::pipe::Receiver,
    signal::unix::{Signal as Notices, SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tower_http::services::ServeDir;
use xebec_contracts::{Contract as _, Opening, StartError, http::Http, lines::LineReader, stdio::Stdio};
use xebec_core::{
    limits::{Clocks, Limits},
    log::LogStream,
    ports::instance::{Exit, Lines},
    revision::ContractSpec,
};

/// How long draining may take where answers have no limit.
const DRAIN: Duration = Duration::from_secs(30);
/// How long calls have to end, and lines to be written, when the server has ended under them.
const AFTERMATH: Duration = Duration::from_secs(1);
/// How long tunnels (`WebSocket` and kin) may last: OpenFaaS sets them no limit.
const TUNNEL: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a scrape may take.
const SCRAPE: Duration = Duration::from_secs(5);

/// Serves until it is told to stop, or the function's server ends. The code to exit with.
pub(crate) async fn live(settings: Settings) -> Result<u8, String> {
    let signals = &mut Signals::new().map_err(|error| format!("cannot wait for signals: {error}"))?;
    let children = Arc::<Children>::default();
    tokio::spawn(reap(children.clone()).map_err(|error| format!("cannot wait for processes: {error}"))?);
    let times = Times { read: settings.read_timeout, write: settings.write_timeout };
    let (port, metrics_port) = (settings.port, settings.metrics_port);

    let calls = Calls::new(settings.max_in_flight);
    let metrics = Arc::new(Metrics::default());
    let scraped = (metrics.clone(), calls.clone());
    let scrape = Times { read: Some(SCRAPE), write: Some(SCRAPE) };
    let metrics_listening = Listening::begin(metrics_port, scrape, move |request, clock| {
        clock.written();
        let response = match request.uri().path() {
            "/metrics" => crate::answers::text(StatusCode::OK, scraped.0.text(scraped.1.in_flight())),
            _ => crate::answers::text(StatusCode::NOT_FOUND, "metrics are at /metrics\n"),
        };
        async { response }
    });
    let metrics_listening = metrics_listening.await?;

    let (place, server) = begin_work(&settings, &children, &calls).await?;
    let drain_time = settings.write_timeout.unwrap_or(DRAIN);
    let health = Health::new(settings.lock);
    let function = Arc::new(Function { settings, place, calls, health, metrics });
    let answering = function.clone();
    let listening =
        Listening::begin(port, times, move |request, clock| answering.clone().answer(request, clock)).await?;
    let begun = function.health.begin();
    begun.map_err(|error| {
        let file = crate::health::lock_file();
        format!("cannot write {}: {error}; with suppress_lock=true there is none", file.display())
    })?;
    log::own(format_args!("metrics listening on port: {}", metrics_listening.port));
    log::own(format_args!("listening on port: {}", listening.port));

    let told = tokio::select! {
        exit = ended(server.as_ref()) => Err(exit),
        told = signals.stop(server.as_ref()) => Ok(told),
    };
    function.health.end();
    let told = match told {
        Ok(told) => told,
        Err(exit) => return Ok(aftermath(exit, server, listening, &function).await),
    };
    log::own(format_args!("told to stop"));
    let ending = async {
        tokio::select! {
            () = noticed(told, &function) => {}
            exit = ended(server.as_ref()) => return aftermath(exit, None, listening, &function).await,
        }
        log::own(format_args!("draining: {} calls", function.calls.in_flight()));
        let drained = async {
            listening.drain().await;
            function.calls.drained(drain_time).await;
        };
        let _ = tokio::time::timeout(drain_time, drained).await;
        if let Some(server) = server {
            server.end(drain_time).await;
        }
        0
    };
    tokio::select! {
        code = ending => Ok(code),
        // Told twice: now.
        _ = signals.stop(None) => Ok(0),
    }
}

/// Starts what answers calls.
async fn begin_work(
    settings: &Settings,
    children: &Arc<Children>,
    calls: &Arc<Calls>,
) -> Result<(Place, Option<Server>), String> {
    let lines: Lines = Arc::new(FunctionLines { prefix: settings.prefix_logs });
    match &settings.work {
        Work::Files(folder) => {
            log::own(format_args!("mode: static, serving {}", folder.display()));
            Ok((Place::Files(ServeDir::new(folder)), None))
        }
        Work::Fork { command, contract, classic } => {
            let mode = if *classic { "classic" } else { "a process per call" };
            log::own(format_args!("mode: {mode}, fprocess: {command:?}"));
            let local = Local::new(children.clone(), calls.clone(), None);
            let opening = opening(local, contract, command.clone(), calls, lines);
            let session = Stdio.open(opening).await.map_err(|StartError(why)| why)?;
            Ok((Place::Forked { session, classic: *classic }, None))
        }
        Work::Serve { command, contract, upstream } => {
            log::own(format_args!("mode: http, fprocess: {command:?}, upstream: {}", upstream.address));
            let server = Server::start(children, command, &lines, settings.max_line_bytes)
                .map_err(|error| no_program(command, &error).to_string())?;
            let place = (server.process.clone(), upstream.host.clone());
            let local = Local::new(children.clone(), calls.clone(), Some(place));
            let opening = opening(local, contract, command.clone(), calls, lines);
            let (opened, session) = watch::channel(None);
            tokio::spawn(async move {
                match Http.open(opening).await {
                    Ok(session) => {
                        opened.send_replace(Some(session));
                    }
                    Err(StartError(why)) => log::own(format_args!("{why}")),
                }
                // Kept, so that calls wait for their time and not less: the end of the server ends all.
                opened.closed().await;
            });
            Ok((Place::Served { session, path: upstream.path.clone() }, Some(server)))
        }
    }
}

fn opening(
    local: Local,
    contract: &ContractSpec,
    command: Vec<String>,
    calls: &Arc<Calls>,
    lines: Lines,
) -> Opening {
    let clocks = Clocks { run: TUNNEL, ..Clocks::default() };
    Opening {
        io: Arc::new(local),
        spec: contract.clone(),
        command,
        limits: Limits { clocks, ..Limits::default() },
        slots: calls.clone(),
        lines,
    }
}

/// The function's server, in the mode `http`.
struct Server {
    process: Process,
    /// Its standard input, which stays open: some servers end with it.
    _stdin: io::PipeWriter,
    /// Those that read its lines.
    readers: JoinSet<()>,
}

impl Server {
    fn start(
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
    async fn end(self, grace: Duration) {
        self.process.signal(Signal::TERM);
        if tokio::time::timeout(grace, self.process.exited()).await.is_err() {
            log::own(format_args!("the function did not end: killed"));
        }
        // What it left running, too.
        self.process.signal(Signal::KILL);
        self.last_lines().await;
    }

    /// What it still had to say.
    async fn last_lines(mut self) {
        let all = async { while self.readers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(AFTERMATH, all).await;
    }
}

impl Drop for Server {
    /// Where the shim is not the first process, nobody else would.
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
    }
}

async fn ended(server: Option<&Server>) -> Exit {
    match server {
        Some(server) => server.process.exited().await,
        None => std::future::pending().await,
    }
}

/// The server has ended by itself: its calls fail, and the shim ends with its code.
async fn aftermath(exit: Exit, server: Option<Server>, listening: Listening, function: &Function) -> u8 {
    log::own(format_args!("the function {exit}, and this ends with it"));
    let settled = async {
        tokio::join!(listening.drain(), async {
            if let Some(server) = server {
                server.process.signal(Signal::KILL);
                server.last_lines().await;
            }
        });
        function.calls.drained(AFTERMATH).await;
    };
    let _ = tokio::time::timeout(AFTERMATH, settled).await;
    let code = exit.code.or_else(|| exit.signal.map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Waits until whoever sends calls knows that this one takes no more.
async fn noticed(told: Told, function: &Function) {
    match (told, function.settings.healthcheck_interval) {
        (Told::Interrupt, _) => {}
        (Told::Terminate, Some(interval)) => tokio::time::sleep(interval).await,
        (Told::Terminate, None) => {
            let at_most = function.settings.write_timeout.unwrap_or(DRAIN);
            let _ = tokio::time::timeout(at_most, function.calls.quiet()).await;
        }
    }
}

/// Takes in every process that ends, as long as the shim runs.
fn reap(children: Arc<Children>) -> io::Result<impl Future<Output = ()>> {
    let mut ended = signal(SignalKind::child())?;
    Ok(async move {
        while ended.recv().await.is_some() {
            children.reap();
        }
    })
}

/// How the shim was told to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// By whoever runs it, and senders have yet to see it.
    Terminate,
    /// From a terminal, where nobody waits.
    Interrupt,
}

/// What the shim is told from outside. A first process has no default handlers: all that counts is named here.
struct Signals {
    terminate: Notices,
    interrupt: Notices,
    hang_up: Notices,
    user_1: Notices,
    user_2: Notices,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits until it is told to stop, and passes on to the server what else it is told.
    async fn stop(&mut self, server: Option<&Server>) -> Told {
        loop {
            let pass_on = tokio::select! {
                _ = self.terminate.recv() => return Told::Terminate,
                _ = self.interrupt.recv() => return Told::Interrupt,
                _ = self.hang_up.recv() => Signal::HUP,
                _ = self.user_1.recv() => Signal::USR1,
                _ = self.user_2.recv() => Signal::USR2,
            };
            if let Some(server) = server {
                server.process.signal(pass_on);
            }
        }
    }
}
