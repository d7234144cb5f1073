//! W3C trace context: passed on as it is where it is valid, dropped where it is not. Where traces are exported,
//! the gateway's own span takes its place.

use http::HeaderMap;
use xebec_core::trace::{TRACEPARENT, TRACESTATE, TraceContext};

/// Leaves a valid context alone, removes a broken one.
pub(crate) fn settle(headers: &mut HeaderMap) {
    if headers.contains_key(TRACEPARENT) && TraceContext::of(headers).is_none() {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn settled(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        settle(&mut headers);
        headers
    }

    #[test]
    fn valid_context_passes_untouched() {
        let headers = settled(&[GOOD]);
        assert_eq!(headers[TRACEPARENT], *GOOD);
        assert_eq!(headers[TRACESTATE], "a=b");
    }

    #[test]
    fn broken_context_goes() {
        for bad in [&["x"][..], &[""], &[GOOD, GOOD]] {
            let headers = settled(bad);
            assert!(!headers.contains_key(TRACEPARENT) && !headers.contains_key(TRACESTATE), "{bad:?}");
        }
    }
}
