//! Where spans go. Whoever traces knows this and [`crate::trace`], and not what becomes of a span.

use crate::trace::{Span, SpanData, SpanKind, TRACESTATE, TraceContext};
use compact_str::CompactString;
use http::HeaderMap;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What a span is below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// Nothing: it begins a trace.
    None,
    /// A span of whoever called, whose wish may be followed or not.
    Remote(TraceContext),
    /// A span of ours: what was decided for it holds.
    Local(TraceContext),
}

/// Decides which spans are recorded, and takes those that ended.
pub trait Tracer: Send + Sync {
    /// The context of a span below `parent`; its flag says whether the span is recorded. Where it is not and
    /// there is a parent, it is the parent's with that flag.
    fn context(&self, parent: Parent) -> TraceContext;

    /// Takes a span that has ended. Never waits.
    fn end(&self, span: Box<SpanData>);
}

/// Where spans go, if anywhere: by default nowhere, which costs one comparison.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<dyn Tracer>>);

impl Traces {
    /// Spans go there.
    pub fn to(tracer: Arc<dyn Tracer>) -> Self {
        Self(Some(tracer))
    }

    /// Whether spans go anywhere.
    pub const fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// The span of what came from outside with these headers. They carry on its context from here, or the
    /// decision that nothing is recorded.
    pub fn enter(
        &self,
        headers: &mut HeaderMap,
        kind: SpanKind,
        name: impl FnOnce() -> CompactString,
    ) -> Option<Span> {
        let parent = TraceContext::of(headers);
        self.begin_with(headers, parent.map_or(Parent::None, Parent::Remote), kind, name)
    }

    /// The span of what was decided about where it entered. Headers without a context begin a trace.
    pub fn follow(
        &self,
        headers: &mut HeaderMap,
        kind: SpanKind,
        name: impl FnOnce() -> CompactString,
    ) -> Option<Span> {
        let parent = TraceContext::of(headers);
        self.begin_with(headers, parent.map_or(Parent::None, Parent::Local), kind, name)
    }

    /// The span of work inside, below one of ours.
    pub fn below(
        &self,
        parent: TraceContext,
        kind: SpanKind,
        name: impl FnOnce() -> CompactString,
    ) -> Option<Span> {
        let tracer = self.0.as_ref().filter(|_| parent.is_sampled())?;
        let context = tracer.context(Parent::Local(parent));
        Some(Span::begin(tracer.clone(), data(context, Some(parent), kind, name())))
    }

    fn begin_with(
        &self,
        headers: &mut HeaderMap,
        parent: Parent,
        kind: SpanKind,
        name: impl FnOnce() -> CompactString,
    ) -> Option<Span> {
        let tracer = self.0.as_ref()?;
        let above = match parent {
            Parent::Local(above) if !above.is_sampled() => return None,
            Parent::Local(above) | Parent::Remote(above) => Some(above),
            Parent::None => {
                // What is there is broken, or about another trace.
                headers.remove(TRACESTATE);
                None
            }
        };
        let context = tracer.context(parent);
        if above != Some(context) {
            context.put(headers);
        }
        if !context.is_sampled() {
            return None;
        }
        let mut data = data(context, above, kind, name());
        data.remote = matches!(parent, Parent::Remote(_));
        data.state = headers.get(TRACESTATE).and_then(|state| state.to_str().ok()).map(Into::into);
        Some(Span::begin(tracer.clone(), data))
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_on() { "Traces(on)" } else { "Traces(off)" })
    }
}

fn data(
    context: TraceContext,
    parent: Option<TraceContext>,
    kind: SpanKind,
    name: CompactString,
) -> SpanData {
    SpanData {
        context,
        parent: parent.map(|parent| parent.span),
        remote: false,
        state: None,
        name,
        kind,
        began: SystemTime::now(),
        took: Duration::ZERO,
        attributes: Vec::new(),
        links: Vec::new(),
        error: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{TRACEPARENT, Value};
    use http::HeaderValue;
    use std::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    };

    /// Records everything, or what its callers record.
    #[derive(Default)]
    struct Kept {
        always: bool,
        spans: Mutex<Vec<SpanData>>,
        next: AtomicU64,
    }

    impl Tracer for Kept {
        fn context(&self, parent: Parent) -> TraceContext {
            let span = self.next.fetch_add(1, Ordering::SeqCst) + 1;
            let flags = u8::from(self.always);
            match parent {
                Parent::None => TraceContext { trace: 99, span, flags },
                Parent::Remote(above) if !self.always => TraceContext { flags, ..above },
                Parent::Remote(above) | Parent::Local(above) => {
                    TraceContext { flags: 1, ..above.with_span(span) }
                }
            }
        }

        fn end(&self, span: Box<SpanData>) {
            self.spans.lock().unwrap().push(*span);
        }
    }

    fn kept(always: bool) -> (Arc<Kept>, Traces) {
        let kept = Arc::new(Kept { always, ..Kept::default() });
        (kept.clone(), Traces::to(kept))
    }

    fn from_outside() -> HeaderMap {
        let mut headers = HeaderMap::new();
        TraceContext { trace: 5, span: 6, flags: 1 }.put(&mut headers);
        headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        headers
    }

    #[test]
    fn spans_are_below_each_other() {
        let (kept, traces) = kept(true);
        let mut headers = from_outside();
        let mut server = traces.enter(&mut headers, SpanKind::Server, || "in".into()).unwrap();
        let notes = server.notes();
        let seen = TraceContext::of(&headers).unwrap();
        assert_eq!(Some(seen), server.context());
        let inner = traces.below(seen, SpanKind::Internal, || "inner".into()).unwrap();
        drop(inner);
        notes.tell("a", 1);
        server.fail("broken");
        drop(server);
        let spans = kept.spans.lock().unwrap();
        assert_eq!((spans[0].parent, spans[0].remote), (Some(seen.span), false));
        assert_eq!((spans[1].parent, spans[1].remote, spans[1].context.trace), (Some(6), true, 5));
        assert_eq!(spans[1].attributes, [("a", Value::Number(1))]);
        assert_eq!((spans[1].state.as_deref(), spans[1].error.as_deref()), (Some("a=b"), Some("broken")));
    }

    #[test]
    fn what_is_not_recorded_says_so_further_in() {
        let (kept, traces) = kept(false);
        let mut headers = from_outside();
        assert!(traces.enter(&mut headers, SpanKind::Server, || unreachable!()).is_none());
        let passed = TraceContext::of(&headers).unwrap();
        assert_eq!((passed.span, passed.is_sampled()), (6, false));
        assert!(traces.follow(&mut headers, SpanKind::Client, || unreachable!()).is_none());
        assert!(traces.below(passed, SpanKind::Client, || unreachable!()).is_none());
        let mut none = HeaderMap::new();
        assert!(traces.follow(&mut none, SpanKind::Producer, || unreachable!()).is_none());
        assert!(TraceContext::of(&none).is_some_and(|context| !context.is_sampled()));
        assert!(kept.spans.lock().unwrap().is_empty());
    }

    #[test]
    fn nowhere_touches_nothing() {
        let mut headers = from_outside();
        let before = headers.clone();
        assert!(Traces::default().enter(&mut headers, SpanKind::Server, || unreachable!()).is_none());
        assert_eq!(headers, before);
    }

    #[test]
    fn what_is_broken_begins_anew() {
        let (_, traces) = kept(true);
        let mut headers = from_outside();
        headers.insert(TRACEPARENT, HeaderValue::from_static("junk"));
        let span = traces.enter(&mut headers, SpanKind::Server, || "x".into()).unwrap();
        assert_eq!(span.context(), TraceContext::of(&headers));
        assert!(!headers.contains_key(TRACESTATE));
    }
}
