//! An OpenTelemetry collector for tests: takes OTLP over HTTP, and gives what it took.

use crate::support::sink::{Arrived, Reply, Sink};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data},
    resource::v1::Resource,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message as _;
use std::{
    io::Read as _,
    sync::{Arc, Mutex},
};

/// The collector. It ends with the test's process.
pub(crate) struct Collector {
    pub sink: Sink,
    taken: Arc<Mutex<Vec<Arrived>>>,
}

impl Collector {
    /// One that takes everything.
    pub(crate) fn new() -> Self {
        Self::with(|_, _| Reply::Status(200, String::new()))
    }

    /// One that answers as it is told; it has taken what it answers 200 to.
    pub(crate) fn with(answer: impl Fn(usize, &Arrived) -> Reply + Send + Sync + 'static) -> Self {
        let taken: Arc<Mutex<Vec<Arrived>>> = Arc::default();
        let kept = Arc::clone(&taken);
        let sink = Sink::with(move |number, arrived| {
            let reply = answer(number, arrived);
            if matches!(reply, Reply::Status(200, _) | Reply::Raw(_)) {
                kept.lock().unwrap().push(arrived.clone());
            }
            reply
        });
        Self { sink, taken }
    }

    /// What it took on a path.
    pub(crate) fn taken(&self, path: &str) -> Vec<Arrived> {
        self.taken.lock().unwrap().iter().filter(|arrived| arrived.path == path).cloned().collect()
    }

    fn traces(&self) -> Vec<ExportTraceServiceRequest> {
        let taken = self.taken("/v1/traces");
        taken.iter().map(|arrived| ExportTraceServiceRequest::decode(&*body(arrived)).unwrap()).collect()
    }

    /// All spans that it took.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let resources = self.traces().into_iter().flat_map(|message| message.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The span of that name, of which there must be one by now.
    pub(crate) fn span(&self, name: &str) -> Span {
        let mut named = self.named(name);
        assert_eq!(named.len(), 1, "{name:?} among {:?}", self.names());
        named.remove(0)
    }

    /// The spans of that name.
    pub(crate) fn named(&self, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }

    /// The names of all spans.
    pub(crate) fn names(&self) -> Vec<String> {
        self.spans().into_iter().map(|span| span.name).collect()
    }

    /// What was told of the server, by the first message with spans.
    pub(crate) fn resource(&self) -> Resource {
        self.traces().remove(0).resource_spans.remove(0).resource.unwrap()
    }

    /// The newest state of a metric.
    pub(crate) fn metric(&self, name: &str) -> Option<Metric> {
        let taken = self.taken("/v1/metrics");
        let messages =
            taken.iter().rev().map(|arrived| ExportMetricsServiceRequest::decode(&*body(arrived)).unwrap());
        let resources = messages.flat_map(|message| message.resource_metrics);
        let mut metrics =
            resources.flat_map(|resource| resource.scope_metrics).flat_map(|scope| scope.metrics);
        metrics.find(|metric| metric.name == name)
    }

    /// How many a histogram counts over its series with this attribute.
    pub(crate) fn count(&self, metric: &str, name: &str, value: &str) -> u64 {
        match self.metric(metric).and_then(|metric| metric.data) {
            Some(Data::Histogram(histogram)) => histogram
                .data_points
                .iter()
                .filter(|point| attribute(&point.attributes, name).as_deref() == Some(value))
                .map(|point| point.count)
                .sum(),
            _ => 0,
        }
    }
}

fn body(arrived: &Arrived) -> Vec<u8> {
    assert_eq!(arrived.header("content-type"), Some("application/x-protobuf"));
    if arrived.header("content-encoding") != Some("gzip") {
        return arrived.body.clone();
    }
    let mut plain = Vec::new();
    GzDecoder::new(&*arrived.body).read_to_end(&mut plain).unwrap();
    plain
}

/// An attribute's value as text.
pub(crate) fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(flag) => Some(flag.to_string()),
        other => panic!("{other:?}"),
    }
}

/// What tests ask of a span.
pub(crate) trait Told {
    /// An attribute's value as text; empty where there is none.
    fn told(&self, name: &str) -> String;
    /// Whether it is below this one.
    fn is_below(&self, above: &Span) -> bool;
    /// Whether it failed.
    fn failed(&self) -> bool;
    /// What it is to the one above it.
    fn is(&self, kind: SpanKind) -> bool;
    /// Its context, as a header says it.
    fn traceparent(&self) -> String;
}

impl Told for Span {
    fn told(&self, name: &str) -> String {
        attribute(&self.attributes, name).unwrap_or_default()
    }

    fn is_below(&self, above: &Span) -> bool {
        self.trace_id == above.trace_id
            && self.parent_span_id == above.span_id
            && self.span_id != above.span_id
            && self.span_id.len() == 8
    }

    fn failed(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.code == 2)
    }

    fn is(&self, kind: SpanKind) -> bool {
        self.kind() == kind
    }

    fn traceparent(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("00-{}-{}-01", hex(&self.trace_id), hex(&self.span_id))
    }
}
