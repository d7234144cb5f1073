//! `xebec up`

use crate::{
    config::{Config, LogFormat, Options},
    failure::Failure,
    server::Server,
};
use std::{io::IsTerminal as _, time::Instant};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Start the server
///
/// It runs until it gets SIGTERM or Ctrl-C; then it takes no more calls, lets those in flight end, and exits.
/// A second signal ends it at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    #[command(flatten)]
    options: Options,
}

impl Up {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let began = Instant::now();
        trace(&self.options)?;
        let config = Config::load(&self.options)?;
        raise_file_limit();
        let server = Server::start(config).await?;
        tracing::info!(
            url = %server.url(),
            data = %server.data_directory().display(),
            ready_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "ready"
        );
        run_until_stopped(server).await
    }
}

/// Every connection and every instance takes open files; the usual soft limit of 1024 is for programs that
/// still use `select`. Where it cannot be raised, the gateway waits and says so.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// Serves until a signal says stop; a second one ends at once.
pub(crate) async fn run_until_stopped(server: Server) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::io("signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::io("signals"))?;
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    tracing::info!("stopping: no new calls are taken, those in flight may end; a second signal ends at once");
    tokio::select! {
        () = server.stop() => Ok(()),
        () = next() => {
            tracing::warn!("ended at once");
            Err(Failure::silent())
        }
    }
}

fn trace(options: &Options) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&options.log).map_err(|error| {
        Failure::misuse(format!("{:?} is not a log filter: {error}", options.log))
            .with_hint("for example info, debug, or info,xebec::access=debug")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match options.log_format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| Failure::new(format!("logging cannot start: {error}")))
}
