//! Telemetry, put together.

use crate::{
    counts::Counts,
    exporting::Exporter,
    options::{SpanOptions, TelemetryOptions},
    queue::SpanQueue,
    sender::Sender,
    spans::text,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use xebec_core::{Error, ports::tracer::Traces, trace::SpanData};

/// What writes all metrics in Prometheus' text format.
pub type Exposition = Arc<dyn Fn(&mut String) + Send + Sync>;

/// What a flush may take longer than it was given, for what is not waiting for the network.
const SLACK: Duration = Duration::from_millis(500);

/// Exports spans and metrics, where that is wanted.
pub struct Telemetry {
    options: TelemetryOptions,
    traces: Traces,
    counts: Arc<Counts>,
    closing: watch::Sender<Option<Instant>>,
    /// The other end of the queue of spans, until it is started.
    spans: Mutex<Option<mpsc::Receiver<Box<SpanData>>>>,
    senders: Mutex<Senders>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

struct Senders {
    spans: Option<Sender>,
    metrics: Option<Sender>,
}

impl Telemetry {
    /// Puts it together; spans are taken from now on, and sent once it is started.
    ///
    /// # Errors
    /// `XB6061` where a certificate cannot be used.
    pub fn new(options: TelemetryOptions) -> Result<Self, Error> {
        let counts = Arc::new(Counts::default());
        let (closing, closes) = watch::channel(None);
        let to_spans = options.spans.as_ref().map(|spans| spans.to.clone());
        let to_metrics = options.metrics.as_ref().map(|metrics| metrics.to.clone());
        let senders = Senders {
            spans: to_spans.map(|to| Sender::new(to, closes.clone())).transpose()?,
            metrics: to_metrics.map(|to| Sender::new(to, closes.clone())).transpose()?,
        };
        let queue = options.spans.as_ref().map(|SpanOptions { sampler, queue, .. }| {
            let (queue, spans) = SpanQueue::new(*sampler, *queue, Arc::clone(&counts));
            (Traces::to(Arc::new(queue)), spans)
        });
        let (traces, spans) = match queue {
            Some((traces, spans)) => (traces, Some(spans)),
            None => (Traces::default(), None),
        };
        Ok(Self {
            options,
            traces,
            counts,
            closing,
            spans: Mutex::new(spans),
            senders: Mutex::new(senders),
            tasks: Mutex::default(),
        })
    }

    /// Where spans go.
    pub fn traces(&self) -> Traces {
        self.traces.clone()
    }

    /// Whether metrics are exported.
    pub fn exports_metrics(&self) -> bool {
        self.options.metrics.is_some()
    }

    /// Begins to send; `shown` writes all metrics. Must be called within a tokio runtime, and counts once.
    pub fn start(&self, shown: Exposition) {
        let resource = resource(&self.options.resource);
        let exporter = |sender| Exporter {
            sender,
            closing: self.closing.subscribe(),
            counts: Arc::clone(&self.counts),
            resource: resource.clone(),
        };
        let mut senders = self.senders.lock();
        let mut tasks = self.tasks.lock();
        if let (Some(options), Some(sender), Some(spans)) =
            (&self.options.spans, senders.spans.take(), self.spans.lock().take())
        {
            tracing::info!(to = %self.shown_url(&options.to.url), "spans are exported");
            tasks.push(tokio::spawn(exporter(sender).spans(options.clone(), spans)));
        }
        if let (Some(options), Some(sender)) = (&self.options.metrics, senders.metrics.take()) {
            tracing::info!(to = %self.shown_url(&options.to.url), "metrics are exported");
            tasks.push(tokio::spawn(exporter(sender).metrics(options.clone(), shown)));
        }
    }

    /// A URL without what may be secret in it.
    fn shown_url(&self, url: &reqwest::Url) -> String {
        format!("{}{}", url.origin().ascii_serialization(), url.path())
    }

    /// Sends what waits, for `patience` at most; what is left then is dropped.
    pub async fn shutdown(&self, patience: Duration) {
        self.closing.send_replace(Some(Instant::now() + patience));
        let tasks = std::mem::take(&mut *self.tasks.lock());
        let end = Instant::now() + patience + SLACK;
        for task in tasks {
            let abort = task.abort_handle();
            if timeout(end.saturating_duration_since(Instant::now()), task).await.is_err() {
                abort.abort();
                tracing::warn!("not all telemetry could be sent before the end");
            }
        }
    }

    /// Appends what was exported and dropped, in Prometheus' text format; nothing where nothing is exported.
    pub fn metrics(&self, out: &mut String) {
        if self.traces.are_on() || self.exports_metrics() {
            self.counts.write(out);
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.tasks.get_mut().iter().for_each(JoinHandle::abort);
    }
}

/// What is told of this server; what somebody said of it goes before what it knows itself.
fn resource(said: &[(String, String)]) -> Resource {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let known = [
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", uuid::Uuid::new_v4().to_string()),
        ("telemetry.sdk.name", "xebec".to_owned()),
        ("telemetry.sdk.language", "rust".to_owned()),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("host.name", host),
    ];
    let known = known.into_iter().filter(|(name, _)| said.iter().all(|(other, _)| other != name));
    let known = known.map(|(name, value)| text(name, value));
    let said = said.iter().map(|(name, value)| text(name.as_str(), value.as_str()));
    Resource { attributes: said.chain(known).collect(), ..Resource::default() }
}
