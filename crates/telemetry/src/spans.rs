//! Spans as OTLP has them.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status::StatusCode},
};
use std::time::{Duration, SystemTime};
use xebec_core::trace::{Attribute, SpanData, SpanKind, TraceContext, Value};

/// Of the flags of spans and links: it is known whether the one above is another program's.
const REMOTE_KNOWN: u32 = 0x100;
/// It is.
const REMOTE: u32 = 0x200;

/// A message with these spans.
#[allow(clippy::vec_box, reason = "they come out of the queue in boxes")]
pub(crate) fn message(resource: &Resource, spans: Vec<Box<SpanData>>) -> ExportTraceServiceRequest {
    let spans = spans.into_iter().map(|span| span_of(*span)).collect();
    let scope_spans = ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![scope_spans],
            schema_url: String::new(),
        }],
    }
}

/// What says these things: one program.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "xebec".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn span_of(span: SpanData) -> Span {
    let began = nanos(span.began);
    let remote = if span.remote { REMOTE } else { 0 };
    let status = span.error.map(|why| Status { message: why.into(), code: StatusCode::Error.into() });
    Span {
        trace_id: span.context.trace.to_be_bytes().to_vec(),
        span_id: span.context.span.to_be_bytes().to_vec(),
        trace_state: span.state.map(String::from).unwrap_or_default(),
        parent_span_id: span.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: u32::from(span.context.flags) | REMOTE_KNOWN | remote,
        name: span.name.into(),
        kind: kind(span.kind).into(),
        start_time_unix_nano: began,
        end_time_unix_nano: began.saturating_add(whole_nanos(span.took)),
        attributes: attributes(span.attributes),
        links: span.links.into_iter().map(link).collect(),
        status,
        ..Span::default()
    }
}

fn kind(kind: SpanKind) -> span::SpanKind {
    match kind {
        SpanKind::Internal => span::SpanKind::Internal,
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Producer => span::SpanKind::Producer,
        SpanKind::Consumer => span::SpanKind::Consumer,
    }
}

fn link(to: TraceContext) -> span::Link {
    span::Link {
        trace_id: to.trace.to_be_bytes().to_vec(),
        span_id: to.span.to_be_bytes().to_vec(),
        flags: u32::from(to.flags),
        ..span::Link::default()
    }
}

/// Names are unique; what was told first holds.
fn attributes(told: Vec<Attribute>) -> Vec<KeyValue> {
    let mut attributes: Vec<KeyValue> = Vec::with_capacity(told.len());
    for (name, value) in told {
        if attributes.iter().all(|known| known.key != name) {
            attributes.push(attribute((name, value)));
        }
    }
    attributes
}

fn attribute((name, value): Attribute) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.into()),
        Value::Number(number) => any_value::Value::IntValue(number),
        Value::Flag(flag) => any_value::Value::BoolValue(flag),
    };
    pair(name, value)
}

/// Name and value.
pub(crate) fn pair(name: impl Into<String>, value: any_value::Value) -> KeyValue {
    KeyValue { key: name.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Name and text.
pub(crate) fn text(name: impl Into<String>, text: impl Into<String>) -> KeyValue {
    pair(name, any_value::Value::StringValue(text.into()))
}

/// A moment, in nanoseconds since 1970.
pub(crate) fn nanos(at: SystemTime) -> u64 {
    whole_nanos(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

fn whole_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_span_is_told() {
        let data = SpanData {
            context: TraceContext { trace: 1, span: 2, flags: 1 },
            parent: Some(3),
            remote: true,
            state: Some("a=b".into()),
            name: "name".into(),
            kind: SpanKind::Consumer,
            began: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            took: Duration::from_micros(5),
            attributes: vec![("t", "x".into()), ("n", 4.into()), ("f", true.into()), ("n", 5.into())],
            links: vec![TraceContext { trace: 5, span: 6, flags: 0 }],
            error: Some("why".into()),
        };
        let message = message(&Resource::default(), vec![Box::new(data)]);
        let span = &message.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!((span.trace_id[15], span.span_id[7], span.parent_span_id[7]), (1, 2, 3));
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert_eq!((span.flags, span.kind()), (0x301, span::SpanKind::Consumer));
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_000_000_000, 1_000_005_000));
        assert_eq!(span.attributes.len(), 3);
        assert_eq!(span.links[0].span_id[7], 6);
        let status = span.status.as_ref().unwrap();
        assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "why"));
        assert_eq!(span.trace_state, "a=b");
    }
}
