//! An answer's body on its way: held to its time, and counted and logged when it has ended.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep};
use xebec_core::{Body, BodyError};

/// Told how many bytes an answer had, when it has ended, however that was.
pub(crate) type Ended = Box<dyn FnOnce(u64) + Send>;

/// A body that breaks off when its time is up, and tells of its end.
struct Counted {
    body: Body,
    time_left: Option<Pin<Box<Sleep>>>,
    bytes: u64,
    ended: Option<Ended>,
}

/// Watches over a body. One that is at hand has ended as far as the function is concerned.
pub(crate) fn counted(body: Body, time_left: Option<Duration>, ended: Ended) -> Body {
    if let Some(whole) = body.replay() {
        ended(whole.len() as u64);
        return body;
    }
    let time_left = time_left.map(|time| Box::pin(sleep(time)));
    Body::stream(Counted { body, time_left, bytes: 0, ended: Some(ended) })
}

impl Counted {
    fn end(&mut self) {
        // What it holds goes, too: a process that still runs has nobody to write to.
        self.body = Body::empty();
        if let Some(ended) = self.ended.take() {
            ended(self.bytes);
        }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(time_left) = &mut this.time_left
            && time_left.as_mut().poll(cx).is_ready()
        {
            this.end();
            return Poll::Ready(Some(Err("the answer took longer than its time".into())));
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                // With the last byte of a known length: whoever reads may not ask again.
                if this.body.is_end_stream() {
                    this.end();
                }
            }
            Poll::Ready(_) => this.end(),
            Poll::Pending => {}
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

impl Drop for Counted {
    fn drop(&mut self) {
        self.end();
    }
}
