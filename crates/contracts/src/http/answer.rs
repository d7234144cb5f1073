//! An answer's body: moves its connection on while it is read, and gives it back at its end.

use super::{exchange::Exchange, faults::Fault};
use crate::AnswerError;
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};
use xebec_core::{Body, BodyError};

type Item = Option<Result<Frame<Bytes>, BodyError>>;

/// An answer on its way. Dropped before its end, the call is given up.
pub(super) struct Answer {
    exchange: Exchange,
    incoming: Incoming,
    /// Frames that came with the head.
    first: VecDeque<Frame<Bytes>>,
    state: State,
}

enum State {
    Streaming,
    /// It broke off, and why is being found out.
    Broken(BoxFuture<'static, Fault>),
    Ended,
}

impl Answer {
    pub(super) fn new(exchange: Exchange, incoming: Incoming) -> Self {
        Self { exchange, incoming, first: VecDeque::new(), state: State::Streaming }
    }

    /// A short answer came whole with its head: then it is handed on as bytes, and the connection is free
    /// already.
    pub(super) fn into_body(mut self) -> Body {
        // Nobody needs to be woken: what is not there is asked for again when the body is read.
        let mut cx = Context::from_waker(Waker::noop());
        let mut whole = None;
        loop {
            if self.incoming.is_end_stream() {
                self.end();
                break;
            }
            match self.poll_incoming(&mut cx) {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() && whole.is_none() => {
                    whole = frame.into_data().ok();
                }
                Poll::Ready(Some(Ok(frame))) => {
                    self.first.push_back(frame);
                    break;
                }
                Poll::Ready(None) => {
                    self.end();
                    break;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.break_off(error);
                    break;
                }
                Poll::Pending => break,
            }
        }
        if matches!(self.state, State::Ended) && self.first.is_empty() {
            return whole.map_or_else(Body::empty, Body::full);
        }
        if let Some(data) = whole {
            self.first.push_front(Frame::data(data));
        }
        Body::stream(self)
    }

    /// The next frame, moving the connection on if there is none yet.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                let _ = self.exchange.drive(cx);
                Pin::new(&mut self.incoming).poll_frame(cx)
            }
            ready => ready,
        }
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.exchange.complete();
    }

    fn break_off(&mut self, error: hyper::Error) {
        self.state = State::Broken(self.exchange.diagnose(error));
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        let this = &mut *self;
        if let Some(frame) = this.first.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        loop {
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Broken(diagnosis) => {
                    let fault = ready!(diagnosis.poll_unpin(cx));
                    this.state = State::Ended;
                    this.exchange.settle(fault.then);
                    let error = AnswerError { outcome: fault.outcome, message: fault.message };
                    return Poll::Ready(Some(Err(Box::new(error))));
                }
                State::Streaming => match ready!(this.poll_incoming(cx)) {
                    Some(Ok(frame)) => {
                        // With the last byte of a known length: whoever reads may not ask again.
                        if this.incoming.is_end_stream() {
                            this.end();
                        }
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    None => this.end(),
                    Some(Err(error)) => this.break_off(error),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        let first: u64 = self.first.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        let rest = self.incoming.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(first + upper);
        }
        hint.set_lower(first + rest.lower());
        hint
    }
}
