//! One run of a flow: its steps are called here, one after the other, and counted.

use crate::{
    counts::Counts,
    flows::Flows,
    journal::{Entry, Kept},
    steps::{Done, Ended, Nested, Run, Step, Trouble, Wanted, components},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header::CONTENT_TYPE};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;
use xebec_core::{
    Answer, Error, Invocation, InvocationId, InvokeError, Outcome,
    body::{Body, CollectError},
    invocation::Called,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    record::Remarks,
    rules::hops::HOPS_HEADER,
};

/// Headers that a step gets from the call of the flow, so that it counts and is traced as a part of it.
const HANDED_DOWN: [HeaderName; 3] =
    [HOPS_HEADER, HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// Which attempt of a call that outlives its caller this is.
const ATTEMPT: HeaderName = HeaderName::from_static("x-xebec-attempt");

/// One run of a flow.
pub(crate) struct Session<'a> {
    pub(crate) flows: &'a Flows,
    pub(crate) run: Run<'a>,
    pub(crate) counts: Counts,
    within: Nested,
    began: Instant,
    steps: Vec<InvocationId>,
    run_ms: u64,
    memory_bytes: u64,
    /// Something of it has run.
    ran: bool,
    answered: bool,
    /// Held until the answer is made, or the run is given up.
    kept: Kept,
}

impl<'a> Session<'a> {
    /// Writes the run down and begins it.
    pub(crate) async fn begin(
        flows: &'a Flows,
        run: Run<'a>,
        counts: Counts,
        within: Nested,
    ) -> Result<Self, Error> {
        let began = Instant::now();
        let kept = flows.ports.journal.begin(entry(run.called, run.headers)).await?;
        Ok(Self {
            flows,
            run,
            counts,
            within,
            began,
            steps: Vec::new(),
            run_ms: 0,
            memory_bytes: 0,
            ran: false,
            answered: false,
            kept,
        })
    }

    /// Calls a step and reads what it answers.
    pub(crate) async fn call(&mut self, wanted: Wanted<'_>, step: Step) -> Ended {
        let bounds = &self.flows.bounds;
        let left = bounds.time.saturating_sub(self.began.elapsed());
        if left.is_zero() {
            return self.trouble(Trouble::OutOfTime(bounds.time));
        }
        if !self.counts.call(bounds.calls) {
            return self.trouble(Trouble::TooManyCalls(bounds.calls));
        }
        self.memory_bytes = self.memory_bytes.max(step.memory_bytes);
        let timeout = step.timeout.map_or(left, |timeout| timeout.min(left));
        let invocation = self.invocation(step, timeout);
        let id = invocation.id;
        self.steps.push(id);
        let began = Instant::now();
        let answered = match self.flows.ports.invoker.invoke(invocation).await {
            Ok(answer) => whole(id, answer, bounds.answer_bytes).await,
            Err(error) => Err(error),
        };
        let ended = match answered {
            Ok((head, body, run_ms)) => {
                let remarks = head.extensions.get::<Remarks>();
                self.took(remarks, run_ms);
                let done =
                    Done::Answered { status: head.status, headers: &head.headers, remarks, body: &body };
                self.flows.steps.read(&self.run, wanted, done)
            }
            Err(error) => {
                self.took(None, millis(began));
                self.flows.steps.read(&self.run, wanted, Done::Failed(&error))
            }
        };
        self.ran |= !was_turned_away(ended.outcome);
        ended
    }

    fn invocation(&self, step: Step, timeout: std::time::Duration) -> Invocation {
        let Step { function, revision, principal, mut request, mut note, nested, .. } = step;
        note.cause = Some(self.run.called.id);
        for name in &HANDED_DOWN {
            if let Some(value) = self.run.headers.get(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        if nested != Nested::No {
            request.extensions_mut().insert(self.counts.hand_down(nested, self.within));
        }
        let mut invocation = Invocation::new(function, principal, request);
        invocation.revision = revision;
        invocation.timeout = Some(timeout);
        invocation.note = Some(Arc::new(note));
        invocation
    }

    /// Adds what a step took, and the most that it used: a flow says so itself.
    fn took(&mut self, remarks: Option<&Remarks>, run_ms: u64) {
        let said = |field| remarks.and_then(|remarks| remarks.details.get(field)).and_then(Value::as_u64);
        self.run_ms = self.run_ms.saturating_add(said("duration_ms").unwrap_or(run_ms));
        self.memory_bytes = self.memory_bytes.max(said("memory").unwrap_or(0));
    }

    /// What a flow ends with, or a conductor is told, when the flow itself is in trouble.
    pub(crate) fn trouble(&self, trouble: Trouble) -> Ended {
        let outcome = match trouble {
            Trouble::OutOfTime(_) => Outcome::FunctionError(FunctionFault::Timeout(Clock::Run)),
            Trouble::LongChain(_) | Trouble::LongConduct(_) | Trouble::TooManyCalls(_) => {
                Outcome::ApplicationError
            }
        };
        let body = self.error(&self.flows.steps.sentence(trouble));
        Ended { body, error: true, outcome }
    }

    /// A result that says what went wrong.
    pub(crate) fn error(&self, sentence: &str) -> Bytes {
        json!({ self.flows.steps.words().error: sentence }).to_string().into()
    }

    /// The flow's answer.
    pub(crate) fn answer(mut self, ended: Ended) -> Response<Body> {
        self.answered = true;
        // Whoever sees that a call was turned away may make it again: not one of which something has run.
        let again = was_turned_away(ended.outcome) && self.ran;
        let outcome = if again { Outcome::PlatformError(PlatformFault::Internal) } else { ended.outcome };
        let details = json!({
            "components": components(&self.steps),
            "duration_ms": self.run_ms,
            "memory": self.memory_bytes,
        });
        let mut response = Response::new(Body::full(ended.body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.extensions_mut().insert(Remarks { outcome: Some(outcome), details });
        response
    }
}

/// Whether a call ended before it reached a function, which may take it later.
fn was_turned_away(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::PlatformError(PlatformFault::Overloaded | PlatformFault::Unavailable))
}

/// Dropped in the middle, a run ends there: the step that is being called is given up as any call is that nobody
/// waits for any more, and no further one is made.
impl Drop for Session<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.kept.given_up(std::mem::take(&mut self.steps));
        }
    }
}

fn entry(called: &Called, headers: &HeaderMap) -> Entry {
    let attempt = headers.get(ATTEMPT).and_then(|value| value.to_str().ok()?.parse().ok());
    Entry {
        id: called.id,
        function: called.function.clone(),
        note: called.note.clone(),
        received: Timestamp::now(),
        attempt: attempt.unwrap_or(0),
    }
}

/// The answer with all of its body, and for how many milliseconds it ran.
async fn whole(
    id: InvocationId,
    answer: Answer,
    limit: u64,
) -> Result<(http::response::Parts, Bytes, u64), Box<InvokeError>> {
    let (head, body) = answer.response.into_parts();
    let reading = Instant::now();
    let failed =
        |fault, message: String| Box::new(InvokeError::new(id, Outcome::FunctionError(fault), message));
    let body = body.collect(limit).await.map_err(|error| match error {
        CollectError::TooLarge(_) => failed(FunctionFault::BadResponse, error.to_string()),
        CollectError::Broken(_) => failed(FunctionFault::Crash, error.to_string()),
    })?;
    let ran = answer.timing.init_us.saturating_add(answer.timing.first_byte_us) / 1000;
    Ok((head, body, ran.saturating_add(millis(reading))))
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
