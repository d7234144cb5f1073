//! From the start to the last exit code.

use crate::{
    answers,
    calls::Calls,
    children::Children,
    function::{Function, Place},
    health::{self, Health},
    listener::{Listening, Times},
    local::{Local, no_program},
    log::{self, FunctionLines},
    metrics::Metrics,
    server::Server,
    settings::{Settings, Work},
    signals::{Signals, Told, reap},
};
use http::StatusCode;
use rustix::process::Signal;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tower_http::services::ServeDir;
use xebec_contracts::{Brings, Contract as _, Opening, http::Http, stdio::Stdio};
use xebec_core::{
    limits::{Clocks, Limits},
    ports::instance::{Exit, Lines},
    revision::ContractSpec,
};

/// How long draining may take where answers have no limit.
const DRAIN: Duration = Duration::from_secs(30);
/// How long calls have to end when the server has ended under them.
const AFTERMATH: Duration = Duration::from_secs(10);
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
            "/metrics" => answers::text(StatusCode::OK, scraped.0.text(scraped.1.in_flight())),
            _ => answers::text(StatusCode::NOT_FOUND, "metrics are at /metrics\n"),
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
        let file = health::lock_file();
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
            let session = Stdio.open(opening).await.map_err(|error| error.message)?;
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
                    Err(error) => log::own(format_args!("{error}")),
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
        brings: Brings::default(),
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
