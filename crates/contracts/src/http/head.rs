//! What of a head is passed on: everything but what concerns one connection only.

use crate::one_connection::{self, lists};
use ::http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE},
};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use xebec_core::Body;

/// Makes a request one for a server inside, over HTTP/1.1. Returns the client's side of an upgrade that it
/// asks for.
pub(super) fn prepare_request(request: &mut Request<Body>) -> Option<OnUpgrade> {
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let headers = request.headers_mut();
    let protocol = wanted_protocol(headers);
    one_connection::leave_request(headers);
    let upgrade = on_upgrade.zip(protocol).map(|(on_upgrade, protocol)| {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
        on_upgrade
    });
    if !headers.contains_key(HOST) {
        let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        request.headers_mut().insert(HOST, host.unwrap_or_else(|| HeaderValue::from_static("localhost")));
    }
    if request.uri().authority().is_some() {
        *request.uri_mut() =
            request.uri().path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    *request.version_mut() = Version::HTTP_11;
    announce_body(request);
    upgrade
}

/// Makes an answer one that can be passed on.
pub(super) fn prepare_response<B>(response: &mut Response<B>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    one_connection::leave_answer(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
}

/// Whether it may be sent a second time should the first have been lost.
pub(super) fn is_repeatable(request: &Request<Body>) -> bool {
    request.method().is_idempotent() || request.headers().contains_key("idempotency-key")
}

/// The same request once more, where its body is at hand.
pub(super) fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(Body::full(request.body().replay()?));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// The protocol that a client asks to change to. HTTP/2 is never one: it is between neighbours.
fn wanted_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = headers.get_all(CONNECTION).iter().any(|value| lists(value, "upgrade"));
    (asked && !lists(protocol, "h2c")).then(|| protocol.clone())
}

/// hyper frames a body by its length, or in chunks – but takes `GET` and `HEAD` to have none when its length
/// is not known, and must be told. A body at hand needs no permission to be sent.
fn announce_body(request: &mut Request<Body>) {
    if request.body().replay().is_some() {
        request.headers_mut().remove(EXPECT);
    }
    let bodyless = matches!(*request.method(), Method::GET | Method::HEAD);
    if bodyless
        && !request.body().is_end_stream()
        && request.body().size_hint().exact().is_none()
        && !request.headers().contains_key(CONTENT_LENGTH)
    {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<Body> {
        let mut builder = Request::get("/p?q");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).unwrap()
    }

    #[test]
    fn drops_what_concerns_one_connection() {
        let mut request = request(&[
            ("host", "kept.test"),
            ("connection", "close, X-Gone , host"),
            ("x-gone", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer kept"),
            ("trailer", "x-sum"),
        ]);
        assert!(prepare_request(&mut request).is_none());
        let mut left: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        assert_eq!(left, ["authorization: Bearer kept", "host: kept.test", "te: trailers", "trailer: x-sum"]);
    }

    #[test]
    fn an_absolute_uri_becomes_a_path_and_a_host() {
        let mut request = request(&[]);
        *request.uri_mut() = "http://from.test:81/a?b".parse().unwrap();
        *request.version_mut() = Version::HTTP_2;
        prepare_request(&mut request);
        assert_eq!(request.uri(), "/a?b");
        assert_eq!(request.headers()[HOST], "from.test:81");
        assert_eq!(request.version(), Version::HTTP_11);
    }

    #[test]
    fn what_may_be_sent_twice() {
        let post = |headers: &[(&str, &str)]| {
            let mut request = request(headers);
            *request.method_mut() = Method::POST;
            request
        };
        assert!(is_repeatable(&request(&[])));
        assert!(!is_repeatable(&post(&[])));
        assert!(is_repeatable(&post(&[("idempotency-key", "1")])));
    }

    #[test]
    fn a_get_with_a_body_of_unknown_length_is_chunked() {
        let frames = futures_util::stream::empty::<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>();
        let mut request = request(&[]);
        *request.body_mut() = Body::stream(http_body_util::StreamBody::new(frames));
        prepare_request(&mut request);
        assert_eq!(request.headers()[TRANSFER_ENCODING], "chunked");
    }
}
