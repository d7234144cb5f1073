//! The request's body on its way to the function: counted, and held to the limit.

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use xebec_core::{Body, BodyError, body::CollectError};

/// How many bytes of a request's body there are, or were sent so far.
#[derive(Clone)]
pub(crate) enum Sent {
    /// They were at hand.
    Known(u64),
    /// They stream.
    Counted(Arc<Counter>),
}

#[derive(Default)]
pub(crate) struct Counter {
    bytes: AtomicU64,
    too_large: AtomicBool,
}

impl Sent {
    /// Bytes sent.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Known(bytes) => *bytes,
            Self::Counted(counter) => counter.bytes.load(Ordering::Relaxed),
        }
    }

    /// The body passed its limit.
    pub(crate) fn too_large(&self) -> bool {
        match self {
            Self::Known(_) => false,
            Self::Counted(counter) => counter.too_large.load(Ordering::Relaxed),
        }
    }
}

/// Holds a body to `limit`; `None`: it says itself that it is larger.
pub(crate) fn hold(body: &mut Body, limit: u64) -> Option<Sent> {
    let hint = body.size_hint();
    if hint.lower() > limit {
        return None;
    }
    if body.replay().is_some() {
        return Some(Sent::Known(hint.lower()));
    }
    let counter = Arc::new(Counter::default());
    let inner = std::mem::take(body);
    *body = Body::stream(Held { inner, limit, counter: counter.clone() });
    Some(Sent::Counted(counter))
}

struct Held {
    inner: Body,
    limit: u64,
    counter: Arc<Counter>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let more = data.len() as u64;
            let sent = self.counter.bytes.fetch_add(more, Ordering::Relaxed) + more;
            if sent > self.limit {
                self.counter.too_large.store(true, Ordering::Relaxed);
                self.inner = Body::empty();
                return Poll::Ready(Some(Err(CollectError::TooLarge(self.limit).into())));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
