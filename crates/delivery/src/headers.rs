//! Headers of calls and answers that are kept and sent later.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, RETRY_AFTER},
};
use jiff::Timestamp;
use std::time::Duration;
use xebec_core::headers::named_by_connection;

/// Which call's result a message is.
pub(crate) const RESULT_OF: HeaderName = HeaderName::from_static("x-xebec-result-of");
/// How the call ended whose result a message is, by the outcome's name.
pub(crate) const OUTCOME: HeaderName = HeaderName::from_static("x-xebec-outcome");
/// On results whose body is not the whole of the answer's.
pub(crate) const TRUNCATED: HeaderName = HeaderName::from_static("x-xebec-truncated");
/// The id of the call that a function gets, the same for all attempts.
pub(crate) const CALL_ID: HeaderName = HeaderName::from_static("x-xebec-call-id");
/// Which attempt it gets, counted from 1.
pub(crate) const ATTEMPT: HeaderName = HeaderName::from_static("x-xebec-attempt");

/// Headers that belong to one connection or to the framing of one message.
const OF_THE_CONNECTION: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::EXPECT,
];

/// Whether a header belongs to one connection or to the framing of one message.
pub(crate) fn is_of_the_connection(name: &HeaderName) -> bool {
    OF_THE_CONNECTION.contains(name)
}

/// Takes away what belongs to the connection it came over.
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    for name in &OF_THE_CONNECTION {
        headers.remove(name);
    }
}

/// When an answer says that it may be worth trying again: seconds, or a date of HTTP.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Longer than fits is long.
        return Some(Duration::from_secs(text.parse().unwrap_or(0xffff_ffff)));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

/// A header's value from text; what cannot be in one becomes `?`.
pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| {
        let printable: String =
            text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
        HeaderValue::from_str(&printable).unwrap_or_else(|_| HeaderValue::from_static("?"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))])
    }

    #[test]
    fn reads_when_to_come_back() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        assert_eq!(retry_after(&with("120"), now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after(&with("0"), now), Some(Duration::ZERO));
        let date = with("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after(&date, now), Some(Duration::from_secs(30)));
        let later: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(retry_after(&date, later), Some(Duration::ZERO), "it has passed");
        assert!(retry_after(&with("99999999999999999999999"), now).unwrap() > Duration::from_secs(3600));
        for nonsense in ["", "-1", "1.5", "soon", "06 Nov"] {
            assert_eq!(retry_after(&with(nonsense), now), None, "{nonsense:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn keeps_what_is_end_to_end() {
        let mut headers = HeaderMap::new();
        for (name, text) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/plain"),
            ("authorization", "Bearer t"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(text));
        }
        drop_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "content-type"]);
    }

    #[test]
    fn any_text_can_be_a_value() {
        assert_eq!(value("plain"), "plain");
        assert_eq!(value("a\nb\u{e9}"), "a?b?");
    }
}
