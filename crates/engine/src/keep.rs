//! Keeping a call's request, so that it can be made again: where that is asked for, and only then.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use xebec_core::{
    Body, BodyError,
    message::{Call, Payload},
    rules::hops,
};

/// Headers that prove who someone is: they are not kept.
const CREDENTIALS: [header::HeaderName; 4] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    // The caller's key, for code that the contract `init-run` tells it.
    header::HeaderName::from_static("x-xebec-run-api-key"),
];

/// The request of a call on its way.
pub(crate) struct Kept {
    head: Call,
    body: KeptBody,
}

enum KeptBody {
    /// It was at hand.
    Whole(Bytes),
    /// It arrives.
    Arriving(Arc<Mutex<Copied>>),
}

/// What there is of a body that arrives.
#[derive(Default)]
struct Copied {
    bytes: BytesMut,
    whole: bool,
}

/// Begins to keep a request; `None`: its body says itself that it is larger than `limit`. What it costs: the
/// headers are copied, and so is the body while it passes, where it is not at hand.
pub(crate) fn hold(request: &mut Request<Body>, limit: u64) -> Option<Kept> {
    if request.body().size_hint().lower() > limit {
        return None;
    }
    let head = Call {
        method: request.method().as_str().into(),
        uri: request.uri().to_string(),
        headers: without_credentials(request.headers()),
        body: Payload::Inline(Bytes::new()),
    };
    let body = match request.body().replay() {
        Some(bytes) => KeptBody::Whole(bytes),
        None => {
            let copied = Arc::new(Mutex::new(Copied::default()));
            let inner = std::mem::take(request.body_mut());
            *request.body_mut() = Body::stream(Copying { inner, limit, copied: Some(copied.clone()) });
            KeptBody::Arriving(copied)
        }
    };
    Some(Kept { head, body })
}

fn without_credentials(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in CREDENTIALS {
        headers.remove(name);
    }
    // Made again it is a new call, which nobody's call led to.
    headers.remove(hops::HOPS_HEADER);
    headers
}

impl Kept {
    /// The request; `None`: its body was larger than the limit, or was not read to its end.
    pub(crate) fn whole(self) -> Option<Call> {
        let body = match self.body {
            KeptBody::Whole(bytes) => bytes,
            KeptBody::Arriving(copied) => {
                let mut copied = copied.lock();
                if !copied.whole {
                    return None;
                }
                std::mem::take(&mut copied.bytes).freeze()
            }
        };
        Some(Call { body: Payload::Inline(body), ..self.head })
    }
}

/// Copies a body that passes, until it is larger than the limit.
struct Copying {
    inner: Body,
    limit: u64,
    copied: Option<Arc<Mutex<Copied>>>,
}

impl http_body::Body for Copying {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let Some(copied) = &self.copied else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let mut copied = copied.lock();
                let data = frame.data_ref().map_or(&[][..], |data| data);
                if (copied.bytes.len() + data.len()) as u64 > self.limit {
                    *copied = Copied::default();
                    drop(copied);
                    self.copied = None;
                } else {
                    copied.bytes.extend_from_slice(data);
                    // Whoever was promised a length may not ask for the end.
                    copied.whole = self.inner.is_end_stream();
                }
            }
            Poll::Ready(None) => copied.lock().whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;

    fn request(body: Body) -> Request<Body> {
        Request::post("/a?b=c").header("authorization", "secret").header("x-a", "1").body(body).unwrap()
    }

    fn arriving(parts: &'static [&'static str]) -> Body {
        let frames =
            parts.iter().map(|part| Ok::<_, BodyError>(Frame::data(Bytes::from_static(part.as_bytes()))));
        Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
    }

    #[tokio::test]
    async fn keeps_what_passes_but_no_credentials() {
        for body in [Body::full("hello"), arriving(&["he", "llo"])] {
            let mut request = request(body);
            let kept = hold(&mut request, 5).unwrap();
            assert!(request.headers().contains_key("authorization"), "the function gets all of them");
            assert_eq!(request.into_body().collect(100).await.unwrap(), "hello");
            let call = kept.whole().unwrap();
            assert_eq!((call.method.as_str(), call.uri.as_str()), ("POST", "/a?b=c"));
            assert_eq!(call.body, Payload::Inline("hello".into()));
            assert!(call.headers.contains_key("x-a") && !call.headers.contains_key("authorization"));
        }
    }

    #[tokio::test]
    async fn keeps_nothing_that_is_too_large_or_broke_off() {
        assert!(hold(&mut request(Body::full("hello!")), 5).is_none());
        let mut large = request(arriving(&["hello", "!"]));
        let kept = hold(&mut large, 5).unwrap();
        assert_eq!(large.into_body().collect(100).await.unwrap(), "hello!");
        assert!(kept.whole().is_none());
        let mut unread = request(arriving(&["hello"]));
        let kept = hold(&mut unread, 5).unwrap();
        drop(unread);
        assert!(kept.whole().is_none());
    }
}
