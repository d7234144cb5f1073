//! One request to the proxy inside, and its answer, whole.

use super::answer::Said;
use crate::http::{
    Server,
    faults::{self, Fault},
    link::Link,
};
use ::http::{
    HeaderName, HeaderValue, Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};
use xebec_core::Body;

/// Our own workers set it where a call printed nothing, so that nothing is marked.
const QUIET: HeaderName = HeaderName::from_static("x-xebec-quiet");

/// What the proxy answered.
pub(super) struct Posted {
    pub(super) status: StatusCode,
    pub(super) said: Said,
    /// It says that the call printed nothing.
    pub(super) quiet: bool,
}

/// Why it did not.
pub(super) struct NotPosted {
    /// Nothing of the request was sent.
    pub(super) unsent: bool,
    pub(super) fault: Fault,
}

/// Sends a request over a connection that is kept, or a fresh one. Of the answer, `max_bytes` are kept.
pub(super) async fn post(
    server: &Server,
    path: &'static str,
    message: Bytes,
    max_bytes: usize,
) -> Result<Posted, NotPosted> {
    loop {
        let (mut link, used) = match server.idle.take(false) {
            Some(link) => (link, true),
            None => match server.dial().await {
                Ok(link) => (link, false),
                Err(fault) => return Err(NotPosted { unsent: true, fault }),
            },
        };
        let response = match link.send(request(path, message.clone())).await {
            Ok(response) => response,
            Err(mut failed) => {
                let unsent = failed.take_message().is_some();
                if used && unsent {
                    continue;
                }
                let fault = faults::of_head(server, failed.error()).await;
                return Err(NotPosted { unsent, fault });
            }
        };
        let (head, mut incoming) = response.into_parts();
        return match whole(&mut link, &mut incoming, max_bytes).await {
            Ok(said) => {
                drop(incoming);
                server.idle.put(link);
                Ok(Posted { status: head.status, said, quiet: head.headers.contains_key(QUIET) })
            }
            Err(error) => Err(NotPosted { unsent: false, fault: faults::of_body(server, &error).await }),
        };
    }
}

fn request(path: &'static str, message: Bytes) -> Request<Body> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut request = Request::new(Body::full(message));
    *request.method_mut() = ::http::Method::POST;
    *request.uri_mut() = ::http::Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(ACCEPT, JSON);
    request
}

/// Reads an answer to its end, moving its connection on.
async fn whole(link: &mut Link, incoming: &mut Incoming, max_bytes: usize) -> hyper::Result<Said> {
    let mut said = Gathered::new(max_bytes);
    poll_fn(|cx| {
        loop {
            match ready!(poll_frame(link, incoming, cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        said.add(data);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    })
    .await?;
    Ok(said.done())
}

fn poll_frame(
    link: &mut Link,
    incoming: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<hyper::Result<http_body::Frame<Bytes>>>> {
    match Pin::new(&mut *incoming).poll_frame(cx) {
        Poll::Pending => {
            let _ = link.drive(cx);
            Pin::new(incoming).poll_frame(cx)
        }
        ready => ready,
    }
}

/// Pieces put together; one alone is not copied.
struct Gathered {
    first: Bytes,
    rest: BytesMut,
    length: u64,
    max_bytes: usize,
}

impl Gathered {
    fn new(max_bytes: usize) -> Self {
        Self { first: Bytes::new(), rest: BytesMut::new(), length: 0, max_bytes }
    }

    fn add(&mut self, mut data: Bytes) {
        self.length += data.len() as u64;
        data.truncate(self.max_bytes - self.first.len() - self.rest.len());
        if self.first.is_empty() {
            self.first = data;
        } else {
            self.rest.extend_from_slice(&data);
        }
    }

    fn done(self) -> Said {
        let bytes = match self.rest.is_empty() {
            true => self.first,
            false => [self.first, self.rest.freeze()].concat().into(),
        };
        Said { bytes, length: self.length }
    }
}
