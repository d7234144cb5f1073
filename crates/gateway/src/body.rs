//! Bodies on their way in, limited in size and silence, and on their way out, counted.

use crate::{
    account::Account,
    options::Limits,
    refusal::Refusal,
    state::{ConnectionState, Serving},
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use xebec_core::{Body, body::BodyError};

/// What became of a request's body; shared between the body, which a door has, and the gateway.
#[derive(Clone, Default)]
pub(crate) struct Fate(Arc<AtomicU8>);

const ANSWERED: u8 = 1;
const TOO_LARGE: u8 = 2;
const TOO_SLOW: u8 = 3;

impl Fate {
    /// The answer has begun: from now on a silent client may be listening.
    pub(crate) fn set_answered(&self) {
        let _ = self.0.compare_exchange(0, ANSWERED, Relaxed, Relaxed);
    }

    /// Why the body was broken off, if it was.
    pub(crate) fn fault(&self) -> Option<Refusal> {
        match self.0.load(Relaxed) {
            TOO_LARGE => Some(Refusal::BODY_TOO_LARGE),
            TOO_SLOW => Some(Refusal::BODY_TOO_SLOW),
            _ => None,
        }
    }

    fn is_answered(&self) -> bool {
        self.0.load(Relaxed) == ANSWERED
    }

    fn break_off(&self, fault: u8) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.0.store(fault, Relaxed);
        Some(Err(self.fault().map_or("the body broke off", |refusal| refusal.message).into()))
    }
}

/// A request's body.
pub(crate) struct Limited {
    inner: Incoming,
    left: u64,
    patience: Duration,
    /// Armed at the first wait, then only moved when it fires: most bodies never wait that long.
    timer: Option<Pin<Box<Sleep>>>,
    silent_since: Option<Instant>,
    fate: Fate,
    over: bool,
    state: Arc<ConnectionState>,
}

impl Limited {
    pub(crate) fn new(inner: Incoming, limits: &Limits, fate: Fate, state: Arc<ConnectionState>) -> Self {
        Self {
            inner,
            left: limits.body_bytes,
            patience: limits.body_time,
            timer: None,
            silent_since: None,
            fate,
            over: false,
            state,
        }
    }

    /// Completes when the client has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.silent_since.get_or_insert_with(Instant::now) + self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now < deadline {
                timer.as_mut().reset(deadline);
            } else if self.fate.is_answered() {
                timer.as_mut().reset(now + self.patience);
            } else {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silent_since = None;
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                match self.left.checked_sub(bytes) {
                    Some(left) => self.left = left,
                    None => {
                        self.over = true;
                        return Poll::Ready(self.fate.break_off(TOO_LARGE));
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.over = true;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.over = true;
                Poll::Ready(None)
            }
            Poll::Pending => match self.poll_silence(cx) {
                Poll::Ready(()) => {
                    self.over = true;
                    Poll::Ready(self.fate.break_off(TOO_SLOW))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.over { SizeHint::with_exact(0) } else { self.inner.size_hint() }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Answered before it was read, or broken off: the connection closes while its client still sends.
        let read_whole = self.over && self.fate.fault().is_none();
        if !read_whole && !http_body::Body::is_end_stream(&self.inner) {
            self.state.set_linger();
        }
    }
}

/// An answer's body: its request is over when it is dropped.
pub(crate) struct Answer {
    body: Body,
    serving: Option<Serving>,
    /// Given when the body is dropped: after what the body itself says when it goes.
    account: Option<Box<Account>>,
}

impl Answer {
    pub(crate) fn new(body: Body, serving: Serving, account: Option<Box<Account>>) -> Self {
        Self { body, serving: Some(serving), account }
    }

    /// The answer after which the connection is no longer HTTP.
    pub(crate) fn tunnel(body: Body, serving: Serving, account: Option<Box<Account>>) -> Self {
        serving.into_tunnel();
        Self { body, serving: None, account }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let given = matches!(polled, Poll::Ready(Some(Ok(_))));
        if let Some(serving) = &mut self.serving {
            serving.set_untaken(given);
        }
        if let (Some(account), Poll::Ready(Some(result))) = (&mut self.account, &polled) {
            match result {
                Ok(frame) => account.add_bytes(frame.data_ref().map_or(0, Bytes::len)),
                Err(error) => account.set_broken(error.as_ref()),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
