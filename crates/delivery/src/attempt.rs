//! One call of a function, from its invocation to the end of its answer.

use crate::{headers, shared::Shared, trace};
use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use http_body_util::BodyExt as _;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use xebec_core::{
    Body, BodyError, Digest, FunctionKey, Invocation, InvocationId, Outcome,
    auth::Principal,
    message::{Call, Source},
    outcome::{FunctionFault, PlatformFault},
    record::{Note, Remarks},
    rules::{
        hops,
        retry::{Ending, History},
    },
    trace::TraceContext,
};

/// How an attempt ended, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) ending: Ending,
    /// Why it failed, in a sentence.
    pub(crate) why: String,
    /// The answer, where there was one.
    pub(crate) answer: Option<Kept>,
    pub(crate) took: Duration,
    /// Whether it got as far as being recorded by whoever ran it.
    pub(crate) recorded: bool,
    /// The trace context that it was made in.
    pub(crate) trace: Option<TraceContext>,
}

/// What is kept of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body was longer.
    pub(crate) truncated: bool,
}

impl Attempt {
    /// An attempt that ended without an answer.
    pub(crate) fn without_answer(outcome: Outcome, why: impl Into<String>, took: Duration) -> Self {
        Self {
            ending: Ending { outcome, status: None, retry_after: None },
            why: why.into(),
            answer: None,
            took,
            recorded: false,
            trace: None,
        }
    }

    /// Whether it ended otherwise than its sender hoped.
    pub(crate) fn has_failed(&self) -> bool {
        !self.ending.outcome.is_success()
    }

    /// What failed before it reached a function.
    pub(crate) fn platform(fault: PlatformFault, why: impl Into<String>) -> Self {
        Self::without_answer(Outcome::PlatformError(fault), why, Duration::ZERO)
    }
}

/// Which attempt comes next, counted from 1: those that the platform refused were none, those that were
/// interrupted may have run.
pub(crate) fn number(history: &History) -> u32 {
    history.failures.saturating_add(history.interruptions).saturating_add(1)
}

/// A call of a function that is to be made.
pub(crate) struct Plan<'a> {
    pub(crate) id: InvocationId,
    pub(crate) function: &'a FunctionKey,
    pub(crate) revision: Option<Digest>,
    pub(crate) call: &'a Call,
    pub(crate) body: Bytes,
    pub(crate) authorised: bool,
    pub(crate) hops: u8,
    pub(crate) attempt: u32,
    /// Bytes of the answer to keep.
    pub(crate) keep: u64,
    /// Where it came from.
    pub(crate) source: &'a Source,
    pub(crate) note: Option<&'a Arc<Note>>,
    /// The trace contexts of its messages, where there are several.
    pub(crate) links: Vec<Option<TraceContext>>,
}

/// Calls a function and reads its answer to the end.
pub(crate) async fn call(shared: &Shared, plan: Plan<'_>) -> Attempt {
    let mut request = match request(&plan) {
        Ok(request) => request,
        Err(why) => return Attempt::platform(PlatformFault::BadRequest, why),
    };
    let mut span = trace::attempting(&shared.options.traces, request.headers_mut(), &plan);
    if let Some(span) = &mut span {
        request.extensions_mut().insert(span.notes());
    }
    let context = TraceContext::of(request.headers());
    let attempt = Attempt { trace: context, ..make(shared, plan, request).await };
    trace::attempted(span, &attempt);
    attempt
}

async fn make(shared: &Shared, plan: Plan<'_>, request: Request<Body>) -> Attempt {
    let invocation = Invocation {
        id: plan.id,
        function: plan.function.clone(),
        revision: plan.revision,
        request,
        principal: if plan.authorised { Principal::Local } else { Principal::Anonymous },
        timeout: None,
        // When this attempt began: a record of what was accepted a year ago would be past its time at once.
        received: shared.clock.now(),
        attempt: plan.attempt,
        note: plan.note.cloned(),
    };
    let began = Instant::now();
    let answer = match shared.invoker.invoke(invocation).await {
        Ok(answer) => answer,
        Err(error) => {
            let mut attempt = Attempt::without_answer(error.outcome, error.message, began.elapsed());
            attempt.ending.retry_after = error.retry_after;
            // Calls of functions that do not exist leave no trace in the engine.
            attempt.recorded = error.outcome != Outcome::PlatformError(PlatformFault::NotFound);
            return attempt;
        }
    };
    let (head, body) = answer.response.into_parts();
    match read(body, plan.keep).await {
        Ok((body, truncated)) => {
            let status = head.status.as_u16();
            let retry_after = headers::retry_after(&head.headers, shared.clock.now());
            // What was said beside the answer is more than its status can say.
            let said = head.extensions.get::<Remarks>().and_then(|remarks| remarks.outcome);
            let (outcome, by_status, why) = match said {
                Some(said) => (said, None, format!("the function ended in {said}")),
                None => (by_status(head.status), Some(status), format!("the function answered {status}")),
            };
            Attempt {
                ending: Ending { outcome, status: by_status, retry_after },
                why,
                answer: Some(Kept { status, headers: head.headers, body, truncated }),
                took: began.elapsed(),
                recorded: true,
                trace: None,
            }
        }
        Err(error) => {
            let outcome = broken(shared, plan.id).await;
            let mut attempt = Attempt::without_answer(outcome, error.to_string(), began.elapsed());
            attempt.recorded = true;
            attempt
        }
    }
}

fn by_status(status: http::StatusCode) -> Outcome {
    if status.is_server_error() { Outcome::ApplicationError } else { Outcome::Success }
}

fn request(plan: &Plan<'_>) -> Result<Request<Body>, String> {
    let uri: Uri = plan.call.uri.parse().map_err(|error| format!("{:?}: {error}", plan.call.uri))?;
    let method = plan.call.method.as_bytes();
    let method =
        http::Method::from_bytes(method).map_err(|error| format!("{:?}: {error}", plan.call.method))?;
    let mut request = Request::new(Body::full(plan.body.clone()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = plan.call.headers.clone();
    let headers = request.headers_mut();
    headers.insert(hops::HOPS_HEADER, hops::value(plan.hops));
    headers.insert(headers::CALL_ID, headers::value(&plan.id.to_string()));
    headers.insert(headers::ATTEMPT, plan.attempt.into());
    Ok(request)
}

/// Reads a body to its end and keeps the first `keep` bytes, and whether there were more.
pub(crate) async fn read(mut body: Body, keep: u64) -> Result<(Bytes, bool), BodyError> {
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    if let Some(bytes) = body.replay() {
        let truncated = bytes.len() > keep;
        return Ok((if truncated { bytes.slice(..keep) } else { bytes }, truncated));
    }
    let mut kept = Vec::new();
    let mut truncated = false;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = keep - kept.len();
        truncated |= data.len() > room;
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok((kept.into(), truncated))
}

/// How a call ended whose answer broke off: the engine has recorded it.
async fn broken(shared: &Shared, id: InvocationId) -> Outcome {
    let crash = Outcome::FunctionError(FunctionFault::Crash);
    match shared.control.record(&id).await {
        Ok(Some(record)) if !record.outcome.is_success() => record.outcome,
        Ok(_) => crash,
        Err(error) => {
            tracing::debug!(%error, %id, "cannot look up how a call ended, taking it for a crash");
            crash
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_beginning_of_long_answers() {
        assert_eq!(read(Body::full("hello"), 5).await.unwrap(), (Bytes::from("hello"), false));
        assert_eq!(read(Body::full("hello"), 4).await.unwrap(), (Bytes::from("hell"), true));
        assert_eq!(read(Body::empty(), 0).await.unwrap(), (Bytes::new(), false));
        let streamed = || Body::stream(http_body_util::Full::new(Bytes::from("hello")));
        assert_eq!(read(streamed(), 0).await.unwrap(), (Bytes::new(), true));
        assert_eq!(read(streamed(), 9).await.unwrap(), (Bytes::from("hello"), false));
    }

    #[test]
    fn counts_what_may_have_run() {
        let history = History { failures: 2, refusals: 9, interruptions: 1 };
        assert_eq!(number(&history), 4);
        assert_eq!(number(&History::default()), 1);
    }
}
