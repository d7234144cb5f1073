//! A call on its way. However it ends – answered, failed, given up, dropped – it is recorded here, once.

use crate::{
    admit::Admitted, functions::Deployed, keep::Kept, note::Noting, pool::Instance, request::Sent,
    trace::CallTrace,
};
use http::{HeaderMap, Response};
use std::{sync::Arc, sync::atomic::Ordering, time::Duration};
use tokio::time::Instant;
use xebec_core::{
    Body, Digest, Invocation, InvocationId, InvokeError, Outcome,
    invocation::Timing,
    outcome::{FunctionFault, PlatformFault},
    record::{InvocationRecord, Remarks},
};

/// A call on its way.
pub(crate) struct Flight {
    pub(crate) admitted: Admitted,
    pub(crate) deployed: Arc<Deployed>,
    pub(crate) id: InvocationId,
    received: jiff::Timestamp,
    attempt: u32,
    entered: Instant,
    sent: Option<Instant>,
    pub(crate) timing: Timing,
    pub(crate) revision: Option<Digest>,
    pub(crate) instance: Option<Arc<Instance>>,
    pub(crate) status: Option<u16>,
    pub(crate) request: Sent,
    /// Its request, where those are kept.
    pub(crate) kept: Option<Kept>,
    response_bytes: u64,
    /// What its door wants kept with its record.
    noting: Option<Box<Noting>>,
    /// How it ended, where that was said beside the answer.
    said: Option<Outcome>,
    span: tracing::Span,
    /// Where it is traced.
    pub(crate) trace: Option<Box<CallTrace>>,
    over: bool,
}

impl Flight {
    pub(crate) fn new(admitted: Admitted, deployed: Arc<Deployed>, call: &Invocation) -> Self {
        let span = tracing::debug_span!(
            "invocation",
            id = %call.id,
            function = %call.function,
            outcome = tracing::field::Empty,
        );
        let trace = CallTrace::of(&admitted.shared.options.traces, call);
        Self {
            admitted,
            deployed,
            id: call.id,
            received: call.received,
            attempt: call.attempt,
            entered: Instant::now(),
            sent: None,
            timing: Timing::default(),
            revision: None,
            instance: None,
            status: None,
            request: Sent::Known(0),
            kept: None,
            response_bytes: 0,
            noting: Noting::of(call),
            said: None,
            span,
            trace,
            over: false,
        }
    }

    /// It has a slot and is sent with these headers.
    pub(crate) fn begin(&mut self, instance: Arc<Instance>, cold: bool, headers: &mut HeaderMap) {
        let now = Instant::now();
        self.timing.cold |= cold;
        self.timing.wait_us = micros(now - self.entered);
        if cold && let Some(init) = instance.init.get() {
            self.timing.init_us = micros(*init);
        }
        self.sent = Some(now);
        instance.lines.call_began(self.id);
        self.instance = Some(instance);
        if let Some(trace) = &mut self.trace {
            trace.sends(&self.deployed.function.key.name, headers);
        }
    }

    /// It was not sent after all: the instance could not take it.
    pub(crate) fn take_back(&mut self) {
        self.sent = None;
        if let Some(instance) = self.instance.take() {
            instance.lines.call_ended(self.id);
        }
        if let Some(trace) = &mut self.trace {
            trace.take_back();
        }
    }

    /// The head of its answer is there.
    pub(crate) fn answered(&mut self, response: &Response<Body>) {
        self.status = Some(response.status().as_u16());
        if let Some(remarks) = response.extensions().get::<Remarks>() {
            self.said = remarks.outcome;
            if let Some(noting) = &mut self.noting {
                noting.remark(remarks);
            }
        }
        if let Some(sent) = self.sent {
            self.timing.first_byte_us = micros(sent.elapsed());
        }
    }

    /// A piece of its answer passes.
    pub(crate) fn passed(&mut self, piece: &[u8]) {
        self.response_bytes += piece.len() as u64;
        self.wrote(piece);
    }

    /// The function wrote this to its answer, which came to nothing.
    pub(crate) fn wrote(&mut self, output: &[u8]) {
        if let Some(noting) = &mut self.noting {
            noting.keep(output);
        }
    }

    /// Bytes of its answer so far.
    pub(crate) fn response_bytes(&self) -> u64 {
        self.response_bytes
    }

    /// Whether its caller waits for it.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.attempt == 0
    }

    /// When it was sent.
    pub(crate) fn sent_at(&self) -> Instant {
        self.sent.unwrap_or(self.entered)
    }

    /// How an answer ended that came whole: as was said beside it, else by its status.
    pub(crate) fn outcome(&self) -> Outcome {
        match (self.said, self.status) {
            (Some(said), _) => said,
            (None, Some(500..)) => Outcome::ApplicationError,
            _ => Outcome::Success,
        }
    }

    /// It is over: records it, unless that was done.
    pub(crate) fn finish(&mut self, outcome: Outcome, message: Option<String>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let now = Instant::now();
        let took = now - self.entered;
        if let Some(sent) = self.sent {
            self.timing.run_us = micros(now - sent).max(1);
        }
        if let Some(instance) = &self.instance {
            instance.lines.call_ended(self.id);
        }
        let standing = &self.deployed.standing;
        if !outcome.is_success() {
            standing.failures.fetch_add(1, Ordering::Relaxed);
        }
        if self.timing.cold {
            standing.cold_starts.fetch_add(1, Ordering::Relaxed);
        }
        self.admitted.active.series.ended(&outcome, took);
        self.log(&outcome, took, message.as_deref());
        if let Some(trace) = self.trace.take() {
            trace.end(self, &outcome, message.as_deref());
        }
        let record = InvocationRecord {
            id: self.id,
            function: self.deployed.function.key.clone(),
            revision: self.revision,
            instance: self.instance.as_ref().map(|instance| instance.id.to_string()),
            received: self.received,
            timing: self.timing,
            outcome,
            status: self.status,
            message,
            request_bytes: self.request.bytes(),
            response_bytes: self.response_bytes,
            attempt: self.attempt,
            noted: self.noting.take().map(|noting| noting.noted()),
        };
        self.admitted.shared.recorder.record(record, self.kept.take().and_then(Kept::whole));
    }

    fn log(&self, outcome: &Outcome, took: Duration, message: Option<&str>) {
        self.span.record("outcome", outcome.name());
        self.span.in_scope(|| {
            tracing::debug!(
                id = %self.id,
                function = %self.deployed.function.key,
                outcome = outcome.name(),
                status = self.status,
                microseconds = micros(took),
                cold = self.timing.cold,
                message,
                "invoked"
            );
        });
    }

    /// It failed: records it, and makes what the caller is told.
    pub(crate) fn fail(mut self, outcome: Outcome, message: impl Into<String>) -> Box<InvokeError> {
        let message = message.into();
        let mut error = InvokeError::new(self.id, outcome, message.clone());
        if let Outcome::FunctionError(FunctionFault::Timeout(clock)) = outcome {
            error.clock = Some(clock);
        }
        if let (Outcome::FunctionError(_), Some(instance)) = (&outcome, &self.instance) {
            error.log_tail = instance.lines.tail();
        }
        self.finish(outcome, Some(message));
        Box::new(error)
    }

    /// The platform let it down.
    pub(crate) fn refuse(self, fault: PlatformFault, message: impl Into<String>) -> Box<InvokeError> {
        let mut error = self.fail(Outcome::PlatformError(fault), message);
        if matches!(fault, PlatformFault::Overloaded | PlatformFault::Unavailable) {
            // Whoever is turned away is told when to come again; who knows better says so.
            error.retry_after = Some(Duration::from_secs(1));
        }
        error
    }

    /// What an instance's end means for it.
    pub(crate) fn crash(&self) -> FunctionFault {
        match self.instance.as_ref().and_then(|instance| instance.exit()) {
            Some(exit) if exit.out_of_memory => FunctionFault::OutOfMemory,
            _ => FunctionFault::Crash,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.finish(
            Outcome::PlatformError(PlatformFault::Cancelled),
            Some("the caller went away before the answer was through".to_owned()),
        );
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
