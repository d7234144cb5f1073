//! `Expect: 100-continue`: the body is held back until the server asks for it.
//!
//! The gateway asks the client for its body when that is first read. So it is the function that decides
//! whether the client sends it at all.

use ::http::{Request, StatusCode, header::EXPECT};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep};
use xebec_core::{Body, BodyError};

/// A server that does not know the header never asks. After this the body is sent all the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// Holds the body back if the request says so.
pub(super) fn hold_body_back(request: &mut Request<Body>) {
    let expects = request
        .headers()
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !expects {
        return;
    }
    let gate = Arc::new(Gate::default());
    let body = std::mem::take(request.body_mut());
    *request.body_mut() =
        Body::stream(Held { body, gate: gate.clone(), patience: Some(Box::pin(sleep(PATIENCE))) });
    hyper::ext::on_informational(request, move |head| {
        if head.status() == StatusCode::CONTINUE {
            gate.open.store(true, Ordering::Release);
            gate.waker.wake();
        }
    });
}

#[derive(Default)]
struct Gate {
    open: AtomicBool,
    waker: AtomicWaker,
}

/// A body behind a gate.
struct Held {
    body: Body,
    gate: Arc<Gate>,
    /// `None` once it is through.
    patience: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(patience) = &mut this.patience {
            this.gate.waker.register(cx.waker());
            if !this.gate.open.load(Ordering::Acquire) && patience.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.patience = None;
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
