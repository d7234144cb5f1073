//! The spans of calls that outlive their caller. The trace context travels in a message's headers, so that it
//! survives whatever the message survives.

use crate::attempt::{Attempt, Plan};
use compact_str::format_compact;
use http::{Extensions, HeaderMap};
use reqwest::Url;
use xebec_core::{
    Error, FunctionKey,
    message::{Message, Receipt, Source},
    ports::tracer::Traces,
    trace::{Notes, Span, SpanKind, TRACEPARENT, TRACESTATE, TraceContext},
};

/// Messages that one span is linked to, at most.
const MOST_LINKS: usize = 128;

/// The span of accepting a message; `headers` are those that it will have.
pub(crate) fn accepting(
    traces: &Traces,
    headers: &mut HeaderMap,
    function: &FunctionKey,
    source: &Source,
) -> Option<Span> {
    if !traces.are_on() {
        return None;
    }
    // A replay is told of where it was asked for, not where the first call was.
    let replayed = match source {
        Source::Replay(_) => TraceContext::of(headers),
        _ => None,
    };
    if replayed.is_some() {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
    let mut span =
        traces.follow(headers, SpanKind::Producer, || format_compact!("enqueue {}", function.name))?;
    span.tell("messaging.system", "xebec");
    span.tell("messaging.operation.type", "send");
    span.tell("messaging.operation.name", "enqueue");
    span.tell("faas.invoked_name", &*function.name);
    span.tell("faas.invoked_provider", "xebec");
    span.tell("xebec.tenant", function.tenant.as_str());
    if let Source::Schedule(name) = source {
        span.tell("faas.trigger", "timer");
        span.tell("xebec.schedule", &**name);
    }
    if let Some(replayed) = replayed {
        span.link(replayed);
    }
    Some(span)
}

/// Tells of a message that was accepted, or not, also where the request for it came in.
pub(crate) fn accepted(
    span: Option<Span>,
    asked: &Extensions,
    function: &FunctionKey,
    queue: &str,
    receipt: &Result<Receipt, Error>,
) {
    let Some(mut span) = span else { return };
    span.tell("messaging.destination.name", queue);
    match receipt {
        Ok(receipt) => {
            let id = receipt.id.to_string();
            span.tell("messaging.message.id", id.as_str());
            if receipt.duplicate {
                span.tell("xebec.duplicate", true);
            }
            if let Some(notes) = asked.get::<Notes>() {
                notes.tell("faas.name", &*function.name);
                notes.tell("faas.invocation_id", id.as_str());
                notes.tell("faas.trigger", "http");
            }
        }
        Err(error) => {
            span.tell("error.type", error.code);
            span.fail(&error.message);
        }
    }
}

/// The span of an attempt; `headers` are those that the function gets.
pub(crate) fn attempting(traces: &Traces, headers: &mut HeaderMap, plan: &Plan<'_>) -> Option<Span> {
    let name = || format_compact!("process {}", plan.function.name);
    let mut span = traces.follow(headers, SpanKind::Consumer, name)?;
    span.tell("messaging.system", "xebec");
    span.tell("messaging.operation.type", "process");
    span.tell("messaging.message.id", plan.id.to_string().as_str());
    let trigger = if matches!(plan.source, Source::Schedule(_)) { "timer" } else { "pubsub" };
    span.tell("faas.trigger", trigger);
    span.tell("xebec.attempt", plan.attempt);
    if !plan.links.is_empty() {
        span.tell("messaging.batch.message_count", i64::try_from(plan.links.len()).unwrap_or(i64::MAX));
        plan.links.iter().take(MOST_LINKS).flatten().for_each(|context| span.link(*context));
    }
    Some(span)
}

/// Tells how an attempt ended.
pub(crate) fn attempted(span: Option<Span>, attempt: &Attempt) {
    let Some(mut span) = span else { return };
    if let Some(status) = attempt.ending.status {
        span.tell("http.response.status_code", status);
    }
    if attempt.has_failed() {
        span.tell("error.type", attempt.ending.outcome.name());
        span.fail(&attempt.why);
    }
}

/// The span of bringing a result to a URL; `headers` are those that its server gets.
pub(crate) fn posting(traces: &Traces, headers: &mut HeaderMap, message: &Message) -> Option<Span> {
    let mut span = traces.follow(headers, SpanKind::Client, || "POST".into())?;
    span.tell("http.request.method", "POST");
    if let Ok(mut url) = Url::parse(&message.call.uri) {
        // Passwords and tokens are in these parts.
        url.set_query(None);
        url.set_fragment(None);
        // Fails where a URL has no server; those are refused.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        span.tell("url.full", url.as_str());
        span.tell("server.address", url.host_str().unwrap_or_default());
        if let Some(port) = url.port_or_known_default() {
            span.tell("server.port", port);
        }
    }
    span.tell("messaging.message.id", message.id.to_string().as_str());
    if let Source::Result(of) = &message.source {
        span.tell("faas.invocation_id", of.to_string().as_str());
    }
    Some(span)
}

/// What a result carries on of the trace of its call: the attempt's context, or that of the message where no
/// attempt was made.
pub(crate) fn carry_on(attempt: &Attempt, message: &Message, headers: &mut HeaderMap) {
    let of_call = &message.call.headers;
    let Some(context) = attempt.trace.or_else(|| TraceContext::of(of_call)) else { return };
    context.put(headers);
    match of_call.get(TRACESTATE) {
        Some(state) => drop(headers.insert(TRACESTATE, state.clone())),
        None => drop(headers.remove(TRACESTATE)),
    }
}

/// The contexts of the messages in one call, where there are several: then none of them is above it.
pub(crate) fn links<'a>(messages: impl Iterator<Item = &'a Message>) -> Vec<Option<TraceContext>> {
    messages.map(|message| TraceContext::of(&message.call.headers)).collect()
}

/// The trace context of a message that is alone in its call.
pub(crate) fn copy_context(from: &HeaderMap, to: &mut HeaderMap) {
    for name in [TRACEPARENT, TRACESTATE] {
        if let Some(value) = from.get(&name) {
            to.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use jiff::Timestamp;
    use xebec_core::{
        Outcome, Tenant,
        message::{Call, Lane, Payload},
        outcome::PlatformFault,
    };

    const SENT: TraceContext = TraceContext { trace: 1, span: 2, flags: 1 };

    fn message() -> Message {
        let mut headers = HeaderMap::new();
        SENT.put(&mut headers);
        headers.insert(TRACESTATE, "a=b".parse().unwrap());
        let call =
            Call { method: "POST".into(), uri: "/".into(), headers, body: Payload::Inline(Bytes::new()) };
        let key = FunctionKey::new(&Tenant::default(), "native", "f");
        Message::new(Lane::function("default", &key), call, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn results_belong_to_the_trace_of_their_call() {
        let mut attempt = Attempt::without_answer(
            Outcome::PlatformError(PlatformFault::Overloaded),
            "why",
            std::time::Duration::ZERO,
        );
        let mut headers = HeaderMap::new();
        carry_on(&attempt, &message(), &mut headers);
        assert_eq!(TraceContext::of(&headers), Some(SENT));
        assert_eq!(headers[TRACESTATE], "a=b");
        attempt.trace = Some(SENT.with_span(9));
        carry_on(&attempt, &message(), &mut headers);
        assert_eq!(TraceContext::of(&headers), attempt.trace);
    }

    #[test]
    fn without_a_trace_answers_keep_their_headers() {
        let attempt = Attempt::platform(PlatformFault::Internal, "why");
        let mut bare = message();
        bare.call.headers.clear();
        let mut headers = HeaderMap::new();
        carry_on(&attempt, &bare, &mut headers);
        assert!(headers.is_empty());
    }
}
