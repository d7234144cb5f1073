//! Calls of code in this process: a request is handed to it, and nothing of a call is left behind it, so a call
//! that fails or is given up costs the instance nothing: its slot is free again at once.

use crate::{
    AnswerError, Call, CallError, Opening, Session, broken_request,
    in_flight::{Counted, InFlight},
    one_connection,
};
use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use xebec_core::{
    Body, BodyError, Outcome,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    ports::instance::{InstanceIo, IoError, Signal},
    slot::{Retire, Slot},
};

/// A session with it.
pub(crate) struct InProcess {
    io: Arc<dyn InstanceIo>,
    in_flight: Arc<InFlight>,
    run_clock: Duration,
}

impl InProcess {
    /// Announces the slots and opens the session: such code takes calls as soon as it is there.
    pub(crate) fn open(opening: Opening) -> Arc<dyn Session> {
        opening.slots.announce(opening.limits.concurrency.max(1));
        let run_clock = opening.limits.clocks.run;
        Arc::new(Self { io: opening.io, in_flight: Arc::default(), run_clock })
    }
}

#[async_trait]
impl Session for InProcess {
    async fn call(&self, mut call: Call) -> Result<http::Response<Body>, CallError> {
        one_connection::leave_request(call.request.headers_mut());
        let place = Place { slot: Some(call.slot), _counted: self.in_flight.enter().0 };
        let (request, broken) = watched(call.request);
        let answered = self.io.request(request).await;
        if let Some((outcome, message)) = broken.as_ref().and_then(|broken| broken.lock().take()) {
            return Err(CallError::new(outcome, message));
        }
        match answered {
            Ok(mut answer) => {
                one_connection::leave_answer(answer.headers_mut());
                Ok(answer.map(|body| match body.replay() {
                    Some(_) => body,
                    None => Body::stream(Held { body, broken, place: Some(place) }),
                }))
            }
            Err(error) => {
                if matches!(error, IoError::Exited(_)) {
                    place.retire();
                }
                let message = match error {
                    // The same clock runs above, and says so in these words.
                    IoError::Interrupted => {
                        format!("the function did not answer within {:?}", self.run_clock)
                    }
                    _ => error.to_string(),
                };
                Err(CallError::new(outcome(&error), message))
            }
        }
    }

    async fn close(&self, grace: Duration) {
        self.in_flight.drained(grace).await;
        // It fails only where there is nothing left to stop.
        let _ = self.io.signal(Signal::Stop).await;
    }
}

/// Which outcome a failed call has.
fn outcome(error: &IoError) -> Outcome {
    match error {
        IoError::OutOfMemory => Outcome::FunctionError(FunctionFault::OutOfMemory),
        IoError::Interrupted => Outcome::FunctionError(FunctionFault::Timeout(Clock::Run)),
        IoError::Trapped(_) => Outcome::FunctionError(FunctionFault::Crash),
        IoError::BadAnswer(_) => Outcome::FunctionError(FunctionFault::BadResponse),
        IoError::Overloaded(_) => Outcome::PlatformError(PlatformFault::Overloaded),
        IoError::Exited(_) | IoError::Refused(_) => Outcome::PlatformError(PlatformFault::Unavailable),
        IoError::Unsupported { .. } | IoError::NoProgram { .. } | IoError::System(_) => {
            Outcome::PlatformError(PlatformFault::Internal)
        }
    }
}

/// A call's slot, free when this is dropped.
struct Place {
    slot: Option<Slot>,
    _counted: Counted,
}

impl Place {
    fn retire(mut self) {
        if let Some(slot) = self.slot.take() {
            slot.retire(Retire::Exited);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.free();
        }
    }
}

/// An answer that streams: the call has its place until its end.
struct Held {
    body: Body,
    broken: Option<Broken>,
    place: Option<Place>,
}

impl Held {
    /// How the answer ended: as its request did, where that broke off.
    fn end(&self, error: Option<BodyError>) -> Option<BodyError> {
        if let Some((outcome, message)) = self.broken.as_ref().and_then(|broken| broken.lock().take()) {
            return Some(AnswerError { outcome, message }.into());
        }
        error.map(|error| match error.downcast::<IoError>() {
            Ok(error) => AnswerError { outcome: outcome(&error), message: error.to_string() }.into(),
            Err(other) => other,
        })
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let error = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => Some(error),
            None => None,
        };
        self.place = None;
        Poll::Ready(self.end(error).map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

type Broken = Arc<Mutex<Option<(Outcome, String)>>>;

/// The request, and a place where it is noted that its body broke off: that is then how the call ended,
/// whatever the function made of it.
fn watched(request: http::Request<Body>) -> (http::Request<Body>, Option<Broken>) {
    if request.body().replay().is_some() {
        return (request, None);
    }
    let broken = Broken::default();
    let noted = broken.clone();
    let request = request.map(|body| Body::stream(Watched { body, noted }));
    (request, Some(broken))
}

struct Watched {
    body: Body,
    noted: Broken,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Err(error)) = &frame {
            *self.noted.lock() = Some(broken_request(&**error));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
