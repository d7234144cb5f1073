//! Trace context, spans and durations.

use crate::support::*;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};
use xebec_core::{
    ports::tracer::{Parent, Tracer, Traces},
    trace::{SpanData, SpanKind, TraceContext, Value},
};
use xebec_gateway::GatewayOptions;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Records what callers want recorded, and what nobody says anything about.
#[derive(Default)]
struct Kept {
    spans: Mutex<Vec<SpanData>>,
    next: AtomicU64,
}

impl Tracer for Kept {
    fn context(&self, parent: Parent) -> TraceContext {
        let span = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        match parent {
            Parent::None => TraceContext { trace: 99, span, flags: 1 },
            Parent::Remote(above) if !above.is_sampled() => above,
            Parent::Remote(above) | Parent::Local(above) => above.with_span(span),
        }
    }

    fn end(&self, span: Box<SpanData>) {
        self.spans.lock().unwrap().push(*span);
    }
}

impl Kept {
    /// The only span there is, once there is one.
    async fn only(&self) -> SpanData {
        until("a span has ended", || !self.spans.lock().unwrap().is_empty()).await;
        let mut spans = self.spans.lock().unwrap();
        assert_eq!(spans.len(), 1);
        spans.remove(0)
    }
}

fn tracing() -> (Arc<Kept>, GatewayOptions) {
    let kept = Arc::new(Kept::default());
    (kept.clone(), GatewayOptions { traces: Traces::to(kept), durations: true, ..options() })
}

#[tokio::test]
async fn without_tracing_context_passes_as_it_is_or_goes() {
    let (server, _guard) = start(options()).await;
    let heard =
        ask(server.address, "GET /toy/headers", &[("traceparent", TRACE), ("tracestate", "a=b")]).await;
    assert!(heard.body.contains(&format!("traceparent: {TRACE}\n")), "{heard:?}");
    assert!(heard.body.contains("tracestate: a=b\n"), "{heard:?}");
    for headers in [vec![], vec![("traceparent", "junk")]] {
        let heard = ask(server.address, "GET /toy/headers", &headers).await;
        assert!(!heard.body.contains("traceparent"), "{heard:?}");
    }
}

#[tokio::test]
async fn a_request_is_a_span_below_its_callers() {
    let (kept, options) = tracing();
    let (server, _guard) = start(options).await;
    let sent = [("traceparent", TRACE), ("tracestate", "a=b"), ("user-agent", "test/1")];
    let heard = ask(server.address, "GET /toy/headers?secret=1", &sent).await;
    let span = kept.only().await;
    assert!(heard.body.contains(&format!("traceparent: {}\n", span.context)), "{heard:?}");
    assert!(heard.body.contains("tracestate: a=b\n"), "{heard:?}");
    assert_eq!(
        (span.context.trace, span.parent),
        (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, Some(0x00f0_67aa_0ba9_02b7))
    );
    assert_eq!((&*span.name, span.kind, span.remote), ("GET /toy/{*path}", SpanKind::Server, true));
    let told =
        |name: &str| span.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    assert_eq!(told("http.request.method"), Some("GET".into()));
    assert_eq!(told("http.route"), Some("/toy/{*path}".into()));
    assert_eq!(told("url.path"), Some("/toy/headers".into()), "without the query");
    assert_eq!(told("http.response.status_code"), Some(Value::Number(200)));
    assert_eq!(told("client.address"), Some("127.0.0.1".into()));
    assert_eq!(told("user_agent.original"), Some("test/1".into()));
    assert_eq!((span.state.as_deref(), span.error), (Some("a=b"), None));
}

#[tokio::test]
async fn what_is_broken_begins_a_trace_and_what_is_not_recorded_stays_so() {
    let (kept, options) = tracing();
    let (server, _guard) = start(options).await;
    let heard = ask(server.address, "GET /toy/headers", &[("traceparent", "junk")]).await;
    let span = kept.only().await;
    assert_eq!((span.parent, span.context.trace), (None, 99));
    assert!(heard.body.contains(&format!("traceparent: {}\n", span.context)), "{heard:?}");
    let unsampled = TRACE.replace("-01", "-00");
    let heard = ask(server.address, "GET /toy/headers", &[("traceparent", &unsampled)]).await;
    assert!(heard.body.contains(&format!("traceparent: {unsampled}\n")), "{heard:?}");
    // What the gateway answers itself is no span; whatever came before would be there by now.
    ask(server.address, "GET /healthz", &[]).await;
    ask(server.address, "GET /toy/empty-400", &[]).await;
    let last = kept.only().await;
    assert!(last.attributes.contains(&("http.response.status_code", Value::Number(400))), "{last:?}");
}

#[tokio::test]
async fn durations_are_counted_by_route_and_status() {
    let (_, options) = tracing();
    let (server, _guard) = start(options).await;
    ask(server.address, "GET /toy/headers", &[]).await;
    let series =
        "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/toy/{*path}\"";
    for _ in 0..6000 {
        let metrics = ask(server.address, "GET /metrics", &[]).await.body;
        if metrics.contains(series) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the duration was not counted");
}
