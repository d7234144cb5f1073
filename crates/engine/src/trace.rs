//! What is told of a call to whoever traces, and the context that the function sees.

use crate::{flight::Flight, pool::Pool};
use compact_str::format_compact;
use http::{HeaderMap, HeaderValue, Request};
use rand::RngExt as _;
use std::sync::Arc;
use xebec_core::{
    Body, Invocation, InvocationId, Outcome,
    ports::tracer::Traces,
    trace::{Notes, Span, SpanKind, TRACEPARENT, TraceContext},
};

/// Makes sure that the function sees a trace context. A new trace has the invocation's id, so that one
/// leads to the other.
pub(crate) fn ensure(headers: &mut HeaderMap, id: InvocationId) {
    if headers.contains_key(&TRACEPARENT) {
        return;
    }
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&mut text[3..35], id.0.as_bytes());
    // A span id of zero is not valid.
    let span: u64 = rand::rng().random_range(1..=u64::MAX);
    write_hex(&mut text[36..52], &span.to_be_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(TRACEPARENT, value);
    }
}

fn write_hex(to: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in to.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// The spans of a call that is traced: one for waiting for a slot, one for the call itself, both below the span
/// of whoever called.
pub(crate) struct CallTrace {
    traces: Traces,
    above: TraceContext,
    /// What that span is told, where it is in this process.
    notes: Option<Notes>,
    wait: Option<Span>,
    call: Option<Span>,
}

impl CallTrace {
    /// The trace of a call, where its caller's span is recorded.
    pub(crate) fn of(traces: &Traces, invocation: &Invocation) -> Option<Box<Self>> {
        if !traces.are_on() {
            return None;
        }
        let request: &Request<Body> = &invocation.request;
        let above = TraceContext::of(request.headers()).filter(TraceContext::is_sampled)?;
        let notes = request.extensions().get::<Notes>().cloned();
        Some(Box::new(Self { traces: traces.clone(), above, notes, wait: None, call: None }))
    }

    /// The call begins to wait for a slot. Whatever is started for it is below the context that is returned.
    pub(crate) fn waits(&mut self, function: &str) -> Option<TraceContext> {
        self.wait = self.traces.below(self.above, SpanKind::Internal, || format_compact!("wait {function}"));
        self.wait.as_ref().and_then(Span::context)
    }

    /// It has a slot and is sent: the function sees the context of the call's own span.
    pub(crate) fn sends(&mut self, function: &str, headers: &mut HeaderMap) {
        self.wait = None;
        self.call = self.traces.below(self.above, SpanKind::Client, || format_compact!("call {function}"));
        if let Some(context) = self.call.as_ref().and_then(Span::context) {
            context.put(headers);
        }
    }

    /// It was not sent after all.
    pub(crate) fn take_back(&mut self) {
        if let Some(mut call) = self.call.take() {
            call.fail("the instance could not take it");
        }
    }

    /// It is over: tells how it ended.
    pub(crate) fn end(mut self, flight: &Flight, outcome: &Outcome, message: Option<&str>) {
        let key = &flight.deployed.function.key;
        if let (Some(wait), None) = (&mut self.wait, &self.call) {
            wait.fail(message.unwrap_or_default());
        }
        if let Some(call) = &mut self.call {
            call.tell("faas.invoked_name", &*key.name);
            call.tell("faas.invoked_provider", "xebec");
            call.tell("xebec.outcome", outcome.name());
            if let Some(status) = flight.status {
                call.tell("http.response.status_code", status);
            }
            if !outcome.is_success() {
                call.tell("error.type", outcome.name());
                call.fail(message.unwrap_or("the function said that it failed"));
            }
        }
        let Some(notes) = &self.notes else { return };
        notes.tell("faas.name", &*key.name);
        notes.tell("faas.invocation_id", flight.id.to_string().as_str());
        if flight.is_waited_for() {
            notes.tell("faas.trigger", "http");
        }
        notes.tell("xebec.tenant", key.tenant.as_str());
        notes.tell("xebec.outcome", outcome.name());
        if let Some(revision) = &flight.revision {
            notes.tell("faas.version", revision.short().as_str());
        }
        if let Some(instance) = &flight.instance {
            notes.tell("faas.instance", &*instance.id.0);
            notes.tell("faas.coldstart", flight.timing.cold);
        }
    }
}

/// The spans of an instance's start, below the wait of the caller for whom it was ordered.
pub(crate) struct StartTrace {
    traces: Traces,
    span: Option<Span>,
}

impl StartTrace {
    pub(crate) fn begin(
        pool: &Arc<Pool>,
        traces: &Traces,
        instance: &str,
        above: Option<TraceContext>,
    ) -> Self {
        let name = || format_compact!("start {}", pool.name());
        let mut span = above.and_then(|above| traces.below(above, SpanKind::Internal, name));
        if let Some(span) = &mut span {
            span.tell("faas.name", pool.name());
            span.tell("faas.instance", instance);
            span.tell("faas.version", pool.revision.digest.short().as_str());
            span.tell("xebec.environment", &*pool.revision.spec.environment);
        }
        Self { traces: traces.clone(), span }
    }

    /// One step of it, until what is returned is dropped.
    pub(crate) fn step(&self, name: &'static str) -> Option<Span> {
        let context = self.span.as_ref().and_then(Span::context)?;
        self.traces.below(context, SpanKind::Internal, || name.into())
    }

    /// It came to nothing.
    pub(crate) fn fail(&mut self, why: &str) {
        if let Some(span) = &mut self.span {
            span.fail(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_a_trace_with_the_invocations_id() {
        let id = InvocationId::new();
        let mut headers = HeaderMap::new();
        ensure(&mut headers, id);
        let value = headers[&TRACEPARENT].to_str().unwrap().to_owned();
        let parts: Vec<&str> = value.split('-').collect();
        assert_eq!(parts[1], id.0.simple().to_string());
        assert_eq!((parts[0], parts[2].len(), parts[3]), ("00", 16, "00"));
    }

    #[test]
    fn passes_on_what_the_caller_sent() {
        let mut headers = HeaderMap::new();
        let sent = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        headers.insert(TRACEPARENT, sent.clone());
        ensure(&mut headers, InvocationId::new());
        assert_eq!(headers[&TRACEPARENT], sent);
    }
}
