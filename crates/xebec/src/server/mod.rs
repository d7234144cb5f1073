//! The server: composed ([`compose`]), served, stopped.

mod backup;
mod compose;
mod key_file;
mod login;
mod queue;

pub(crate) use backup::restore;
pub(crate) use compose::inspect;

use crate::{config::Config, failure::Failure};
use compose::Composed;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};
use xebec_delivery::Delivery;
use xebec_engine::Engine;
use xebec_flows::Journal;
use xebec_gateway::Served;
use xebec_schedules::Schedules;
use xebec_telemetry::Telemetry;

/// How long instances get to end once no calls are in flight any more.
const INSTANCES_END: Duration = Duration::from_secs(10);

/// How long what waits to be exported may take, after all else has ended.
const EXPORT_ENDS: Duration = Duration::from_secs(10);

/// A running server.
pub(crate) struct Server {
    url: String,
    token: String,
    data_directory: PathBuf,
    engine: Arc<Engine>,
    delivery: Arc<Delivery>,
    schedules: Arc<Schedules>,
    journal: Arc<Journal>,
    telemetry: Arc<Telemetry>,
    drain: Duration,
    stopping: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Served>,
}

impl Server {
    /// Opens the state, resumes what is deployed, and serves. When this returns, calls are answered.
    pub(crate) async fn start(config: Config) -> Result<Self, Failure> {
        let Composed { engine, delivery, schedules, journal, gateway, telemetry, stopping, token, url_host } =
            compose::compose(&config).await?;
        let readiness = gateway.readiness();
        let bound = gateway.bind().await?;
        let scheme = if config.tls == crate::config::Tls::Off { "http" } else { "https" };
        let port = bound.addresses().first().map_or(0, |address| address.port());
        let url = format!("{scheme}://{url_host}:{port}");
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(bound.serve(async move {
            // A dropped sender stops it as well.
            let _ = stopped.await;
        }));
        engine.resume().await?;
        // Before anything runs that could be taken for what was interrupted.
        let interrupted = journal.end_interrupted().await?;
        if interrupted.ended > 0 {
            tracing::warn!(calls = interrupted.ended, "the last end of the server interrupted calls");
        }
        delivery.start().await;
        schedules.start().await?;
        readiness.set_ready();
        let (data_directory, drain) = (config.data_directory, config.drain);
        Ok(Self {
            url,
            token,
            data_directory,
            engine,
            delivery,
            schedules,
            journal,
            telemetry,
            drain,
            stopping,
            stop,
            serving,
        })
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The installation's token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Where its state is.
    pub(crate) fn data_directory(&self) -> &Path {
        &self.data_directory
    }

    /// Takes no more calls, lets those in flight end, ends every instance, writes what is buffered.
    pub(crate) async fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = self.stop.send(());
        // What waits in the queue waits for the next start; what runs has as long as callers who wait.
        let deliveries = async {
            self.schedules.shutdown().await;
            self.delivery.shutdown(self.drain).await;
        };
        let (served, ()) = tokio::join!(self.serving, deliveries);
        if let Err(panic) = served {
            tracing::error!(%panic, "the gateway ended by a defect");
        }
        self.engine.shutdown(INSTANCES_END).await;
        // What was cut off just now has its record, too, and gets its steps' names.
        self.journal.close().await;
        self.telemetry.shutdown(EXPORT_ENDS).await;
    }
}
