//! What is exported, and where to.

use crate::sampler::Sampler;
use http::HeaderMap;
use reqwest::Url;
use std::{path::PathBuf, time::Duration};

/// What is exported. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct TelemetryOptions {
    /// What is told of this server beside what it knows itself; `service.name` is among it.
    pub resource: Vec<(String, String)>,
    /// Spans, if they are exported.
    pub spans: Option<SpanOptions>,
    /// Metrics, if they are exported.
    pub metrics: Option<MetricOptions>,
}

/// How spans are exported.
#[derive(Clone, Debug)]
pub struct SpanOptions {
    /// Where to.
    pub to: Target,
    /// Which.
    pub sampler: Sampler,
    /// So many wait at most; what comes beyond is dropped and counted.
    pub queue: usize,
    /// So many go in one message at most.
    pub batch: usize,
    /// So long a span waits for others at most.
    pub delay: Duration,
    /// So long a message is tried at most.
    pub deadline: Duration,
}

/// How metrics are exported.
#[derive(Clone, Debug)]
pub struct MetricOptions {
    /// Where to.
    pub to: Target,
    /// How often.
    pub every: Duration,
    /// So long a message is tried at most.
    pub deadline: Duration,
}

/// A collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The whole URL.
    pub url: Url,
    /// Headers of each request, such as credentials.
    pub headers: HeaderMap,
    /// How long one request may take.
    pub timeout: Duration,
    /// Messages are compressed.
    pub gzip: bool,
    /// PEM certificates of the authorities that the collector's is from, in place of the system's.
    pub authorities: Option<PathBuf>,
    /// The PEM certificate and key that this server shows to the collector.
    pub identity: Option<(PathBuf, PathBuf)>,
}
