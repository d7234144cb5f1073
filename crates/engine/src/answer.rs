//! The answer's body on its way to the caller: counted, held to the run clock, and the call's end.

use crate::flight::Flight;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};
use xebec_contracts::AnswerError;
use xebec_core::{
    Body, BodyError, Outcome,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    ports::instance::IoError,
};

/// When a call's time is up.
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    /// What the clock was set to, for the message.
    pub(crate) after: Duration,
    /// Used for waiting; set to `at` when it is first needed.
    pub(crate) sleep: Pin<Box<Sleep>>,
}

/// Hands the answer's body on. What is at hand already ends the call here and now.
pub(crate) fn follow(body: Body, mut flight: Flight, mut deadline: Deadline) -> Body {
    if let Some(bytes) = body.replay() {
        flight.passed(&bytes);
        let outcome = flight.outcome();
        flight.finish(outcome, None);
        return body;
    }
    let expected = body.size_hint().exact();
    deadline.sleep.as_mut().reset(deadline.at);
    Body::stream(Followed { body, flight, deadline, expected, over: false })
}

struct Followed {
    body: Body,
    flight: Flight,
    deadline: Deadline,
    expected: Option<u64>,
    over: bool,
}

impl Followed {
    fn finish_well(&mut self) {
        let outcome = self.flight.outcome();
        self.flight.finish(outcome, None);
    }

    fn time_is_up(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.over = true;
        // Dropping the inner body cancels the call as its contract can.
        self.body = Body::empty();
        let message = format!("the answer did not end within {:?}", self.deadline.after);
        let outcome = Outcome::FunctionError(FunctionFault::Timeout(Clock::Run));
        self.flight.finish(outcome, Some(message.clone()));
        Poll::Ready(Some(Err(AnswerError { outcome, message }.into())))
    }

    fn break_off(&mut self, error: BodyError) -> BodyError {
        self.over = true;
        let (outcome, message) = if self.flight.request.too_large() {
            (
                Outcome::PlatformError(PlatformFault::TooLarge),
                "the request's body is larger than the function takes".to_owned(),
            )
        } else {
            match error.downcast_ref::<AnswerError>() {
                Some(known) => (known.outcome, known.message.clone()),
                None => (Outcome::FunctionError(self.fault(&error)), error.to_string()),
            }
        };
        self.flight.finish(outcome, Some(message));
        error
    }

    fn fault(&self, error: &BodyError) -> FunctionFault {
        match error.downcast_ref::<IoError>() {
            Some(IoError::OutOfMemory) => FunctionFault::OutOfMemory,
            Some(IoError::Interrupted) => FunctionFault::Timeout(Clock::Run),
            Some(IoError::BadAnswer(_)) => FunctionFault::BadResponse,
            _ => self.flight.crash(),
        }
    }
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                // An answer that always has more never lets the timer be asked.
                if Instant::now() >= this.deadline.at {
                    return this.time_is_up();
                }
                if let Some(data) = frame.data_ref() {
                    this.flight.passed(data);
                }
                if this.body.is_end_stream() {
                    this.over = true;
                    this.finish_well();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.over = true;
                this.finish_well();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(this.break_off(error)))),
            Poll::Pending => match this.deadline.sleep.as_mut().poll(cx) {
                Poll::Ready(()) => this.time_is_up(),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // Servers stop asking once they have as many bytes as were promised, or were told that it is the end.
        if self.body.is_end_stream() || self.expected == Some(self.flight.response_bytes()) {
            self.finish_well();
        }
        // Else the flight's own drop says that the caller went away.
    }
}
