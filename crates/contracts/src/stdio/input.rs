//! How much of a request's body is there before its process starts.
//!
//! What is known beforehand can wait for the process in its standard input, so that the process never waits for
//! it. Bodies of requests that come from a connection mostly are: they came with the request's head.

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};
use xebec_core::{Body, BodyError};

/// The whole body, if it is there; it stays in `body`, too.
pub(super) fn at_hand(body: &mut Body) -> Option<Bytes> {
    if let Some(whole) = body.replay() {
        return Some(whole);
    }
    // Nobody needs to be woken: what is not there is asked for again while the process runs.
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(seen) = Pin::new(&mut *body).poll_frame(&mut cx) else { return None };
    let whole = match &seen {
        None => Some(Bytes::new()),
        Some(Ok(frame)) if body.is_end_stream() => frame.data_ref().cloned(),
        Some(_) => None,
    };
    *body = match &whole {
        Some(whole) => Body::full(whole.clone()),
        None => Body::stream(Begun { seen, rest: std::mem::take(body) }),
    };
    whole
}

/// A body of which the first frame was looked at.
struct Begun {
    seen: Option<Result<Frame<Bytes>, BodyError>>,
    rest: Body,
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.seen.take() {
            Some(seen) => Poll::Ready(Some(seen)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.seen.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let seen = match &self.seen {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(seen + upper);
        }
        hint.set_lower(seen + rest.lower());
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt as _, stream};
    use http_body_util::{Full, StreamBody};

    fn stream(frames: Vec<Result<&'static str, &'static str>>) -> Body {
        let frames = frames.into_iter().map(|frame| match frame {
            Ok(data) => Ok(Frame::data(Bytes::from_static(data.as_bytes()))),
            Err(why) => Err(std::io::Error::other(why)),
        });
        Body::stream(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn what_is_whole_is_at_hand_and_stays() {
        let cases = [
            (Body::empty(), ""),
            (Body::full("at hand"), "at hand"),
            (Body::stream(Full::new(Bytes::from_static(b"came whole"))), "came whole"),
            (stream(vec![]), ""),
        ];
        for (mut body, expected) in cases {
            assert_eq!(at_hand(&mut body).unwrap(), expected);
            assert_eq!(body.collect(100).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn what_is_not_whole_loses_nothing() {
        let mut body = stream(vec![Ok("one "), Ok("two")]);
        assert_eq!(at_hand(&mut body), None);
        assert_eq!(body.collect(100).await.unwrap(), "one two");

        let pending = stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
        let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"first")))]);
        let mut body = Body::stream(StreamBody::new(first.chain(pending)));
        assert_eq!(at_hand(&mut body), None);
        assert!(!body.is_end_stream());

        let mut body = stream(vec![Err("gone")]);
        assert_eq!(at_hand(&mut body), None);
        assert!(body.collect(100).await.unwrap_err().to_string().contains("gone"));
    }
}
