//! One HTTP request, answered by a guest in this process.
//!
//! No task is started for it: the caller's future runs the guest until its answer's head is there, and the
//! answer's body runs it on from there. A guest therefore stops where its client stops reading, and dropping
//! either one ends it.

use crate::{
    failure::Failure,
    instance::{InFlight, Shared},
    lines::LineStream,
    state::State,
    time::counted,
};
use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::{
    WasiHttpView as _,
    p2::{
        bindings::http::types::{ErrorCode, Scheme},
        body::HyperOutgoingBody,
    },
};
use xebec_core::{Body, BodyError, log::LogStream, ports::instance::IoError};

type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The longest run clock: it stands for those that no clock can count to.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Sends `request` to a fresh guest of `instance`. The answer comes as soon as its head is set.
pub(crate) async fn send(
    instance: &Arc<Shared>,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, IoError> {
    let (sender, mut receiver) = oneshot::channel();
    let mut guest = Guest::start(instance, request, sender)?;
    let mut unset = false;
    let (answer, finished) = std::future::poll_fn(|context| {
        if let Poll::Ready(result) = guest.poll(context) {
            return Poll::Ready((if unset { None } else { receiver.try_recv().ok() }, Some(result)));
        }
        if !unset {
            match Pin::new(&mut receiver).poll(context) {
                Poll::Ready(Ok(answer)) => return Poll::Ready((Some(answer), None)),
                // It gave up the right to answer. It can only fail now, and its end says how.
                Poll::Ready(Err(_)) => unset = true,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await;
    // A guest that failed before anything was sent is reported as failed, whatever its answer was to be.
    if let Some(Err(error)) = finished {
        return Err(error);
    }
    let answer: Answer =
        answer.ok_or_else(|| IoError::BadAnswer("the component returned without an answer".to_owned()))?;
    let (head, body) = answer
        .map_err(|code| IoError::BadAnswer(format!("the component answered with the error {code:?}")))?
        .into_parts();
    let body = match finished {
        Some(_) => finished_body(body),
        None => Body::stream(AnswerBody { early: VecDeque::new(), body, guest: Some(guest), failed: None }),
    };
    Ok(http::Response::from_parts(head, body))
}

/// The body of an answer whose guest has finished: small ones are all there, and go out in one piece.
fn finished_body(mut body: HyperOutgoingBody) -> Body {
    let mut early = VecDeque::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(&mut context) {
        match frame {
            Some(Ok(frame)) => early.push_back(frame),
            None if early.iter().all(Frame::is_data) => return Body::full(concatenate(early)),
            // Trailers, or a broken end: the stream brings both.
            None => break,
            Some(Err(error)) => {
                let failed = Some(IoError::BadAnswer(error.to_string()));
                return Body::stream(AnswerBody { early, body, guest: None, failed });
            }
        }
    }
    Body::stream(AnswerBody { early, body, guest: None, failed: None })
}

fn concatenate(mut frames: VecDeque<Frame<Bytes>>) -> Bytes {
    let mut pieces = frames.drain(..).filter_map(|frame| frame.into_data().ok());
    let Some(first) = pieces.next() else { return Bytes::new() };
    let Some(second) = pieces.next() else { return first };
    let mut whole = BytesMut::from(first);
    whole.extend_from_slice(&second);
    pieces.for_each(|piece| whole.extend_from_slice(&piece));
    whole.freeze()
}

/// A guest that answers a request.
struct Guest {
    instance: Arc<Shared>,
    deadline: Instant,
    running: Option<Task<Result<(), Failure>>>,
    /// Completes when the guest must end. Made when the guest first waits: one that only computes sees its
    /// deadline on a tick.
    must_end: Option<Task<()>>,
}

impl Guest {
    fn start(
        instance: &Arc<Shared>,
        request: http::Request<Body>,
        answer: oneshot::Sender<Answer>,
    ) -> Result<Self, IoError> {
        let now = Instant::now();
        let deadline = now.checked_add(instance.run_clock).unwrap_or(now + FOREVER);
        let running = run(instance.clone(), instance.admit()?, deadline, request, answer);
        Ok(Self { instance: instance.clone(), deadline, running: Some(Box::pin(running)), must_end: None })
    }

    /// Runs it until it waits. Not to be polled again when it has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), IoError>> {
        let Some(running) = &mut self.running else { return Poll::Ready(Ok(())) };
        let result = match running.as_mut().poll(context) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                let (instance, deadline) = (&self.instance, self.deadline);
                let must_end = self.must_end.get_or_insert_with(|| {
                    let instance = instance.clone();
                    Box::pin(async move {
                        let _ = tokio::time::timeout_at(deadline.into(), instance.ended()).await;
                    })
                });
                ready!(must_end.as_mut().poll(context));
                Err(IoError::Interrupted.into())
            }
        };
        self.running = None;
        Poll::Ready(result.map_err(|failure: Failure| self.report(failure)))
    }

    fn report(&self, failure: Failure) -> IoError {
        if let (IoError::Interrupted, Some(exit)) = (&failure.error, self.instance.exit()) {
            return IoError::Exited(exit);
        }
        if !matches!(failure.error, IoError::Overloaded(_)) {
            failure.log(&*self.instance.lines);
        }
        failure.error
    }
}

async fn run(
    instance: Arc<Shared>,
    _in_flight: InFlight,
    deadline: Instant,
    request: http::Request<Body>,
    answer: oneshot::Sender<Answer>,
) -> Result<(), Failure> {
    let Some(component) = &instance.loaded.http else {
        return Err(IoError::Unsupported { driver: "wasm", what: "send requests to a command" }.into());
    };
    let wasi = instance.wasi(|wasi| {
        wasi.stdout(LineStream::new(instance.lines.clone(), LogStream::Stdout));
        wasi.stderr(LineStream::new(instance.lines.clone(), LogStream::Stderr));
    })?;
    let state = State::new(wasi, instance.outgoing(), instance.bounds(Some(deadline)));
    let mut store = state.into_store(&instance.runtime.engine);
    let handled = async {
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, with_authority(request))?;
        let answer = http.new_response_outparam(answer)?;
        let guest = component.instantiate_async(&mut store).await?;
        guest.wasi_http_incoming_handler().call_handle(&mut store, request, answer).await
    };
    match counted(&instance.ran, handled).await {
        Err(error) if matches!(error.downcast_ref(), Some(I32Exit(0))) => Ok(()),
        result => result.map_err(|error| Failure::new(&error, &store)),
    }
}

/// The request as the guest gets it: it always has an authority, and errors of its body are the guest's.
fn with_authority(
    mut request: http::Request<Body>,
) -> http::Request<impl http_body::Body<Data = Bytes, Error = wasmtime_wasi_http::Error> + Send + 'static> {
    let usable = |host: &http::HeaderValue| host.to_str().is_ok_and(|host| !host.is_empty());
    if request.uri().authority().is_none() && !request.headers().get(http::header::HOST).is_some_and(usable) {
        request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
    }
    request
        .map(|body| body.map_err(|error| wasmtime_wasi_http::Error::InternalError(Some(error.to_string()))))
}

/// An answer's body, which runs its guest on.
struct AnswerBody {
    /// Frames that were read already.
    early: VecDeque<Frame<Bytes>>,
    body: HyperOutgoingBody,
    guest: Option<Guest>,
    /// How the guest failed; told after what it had written.
    failed: Option<IoError>,
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(frame) = this.early.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        loop {
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => {
                    if let Some(error) = this.failed.take() {
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    if let Some(guest) = this.guest.take() {
                        run_on(guest);
                    }
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            let Some(guest) = &mut this.guest else { return Poll::Pending };
            match guest.poll(context) {
                Poll::Ready(result) => {
                    this.guest = None;
                    this.failed = result.err();
                }
                Poll::Pending => {
                    // It may have written before it began to wait.
                    return match Pin::new(&mut this.body).poll_frame(context) {
                        Poll::Ready(Some(frame)) => Poll::Ready(Some(frame.map_err(Into::into))),
                        Poll::Ready(None) => continue,
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}

/// Lets a guest that has answered, but not returned, finish what it does. Its clock runs on, too.
fn run_on(mut guest: Guest) {
    tokio::spawn(async move { std::future::poll_fn(|context| guest.poll(context)).await });
}
