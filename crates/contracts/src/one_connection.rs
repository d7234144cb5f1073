//! Headers that concern one connection only: they are passed on neither way.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
        UPGRADE,
    },
};
use xebec_core::headers::named_by_connection;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Leaves a request what its function shall see. That its caller takes trailers is one of these things.
pub(crate) fn leave_request(headers: &mut HeaderMap) {
    let trailers = headers.get_all(TE).iter().any(|te| lists(te, "trailers"));
    leave(headers);
    headers.remove(PROXY_AUTHORIZATION);
    if trailers {
        headers.insert(TE, TRAILERS);
    }
}

/// Leaves an answer what its caller shall see.
pub(crate) fn leave_answer(headers: &mut HeaderMap) {
    leave(headers);
    headers.remove(PROXY_AUTHENTICATE);
}

/// Whether a comma-separated value has that item, whatever its case.
pub(crate) fn lists(value: &HeaderValue, item: &str) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(item.as_bytes()))
}

fn leave(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        if name != HOST && name != CONTENT_LENGTH && name != "close" {
            headers.remove(name);
        }
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}
