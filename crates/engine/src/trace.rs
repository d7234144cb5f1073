//! W3C trace context: passed on where the caller sent one, begun where not.

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngExt as _;
use xebec_core::InvocationId;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Makes sure that the function sees a trace context. A new trace has the invocation's id, so that one
/// leads to the other.
pub(crate) fn ensure(headers: &mut HeaderMap, id: InvocationId) {
    if headers.contains_key(&TRACEPARENT) {
        return;
    }
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&mut text[3..35], id.0.as_bytes());
    // A span id of zero is not valid.
    let span: u64 = rand::rng().random_range(1..=u64::MAX);
    write_hex(&mut text[36..52], &span.to_be_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(TRACEPARENT, value);
    }
}

fn write_hex(to: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in to.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_a_trace_with_the_invocations_id() {
        let id = InvocationId::new();
        let mut headers = HeaderMap::new();
        ensure(&mut headers, id);
        let value = headers[&TRACEPARENT].to_str().unwrap().to_owned();
        let parts: Vec<&str> = value.split('-').collect();
        assert_eq!(parts[1], id.0.simple().to_string());
        assert_eq!((parts[0], parts[2].len(), parts[3]), ("00", 16, "00"));
    }

    #[test]
    fn passes_on_what_the_caller_sent() {
        let mut headers = HeaderMap::new();
        let sent = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        headers.insert(TRACEPARENT, sent.clone());
        ensure(&mut headers, InvocationId::new());
        assert_eq!(headers[&TRACEPARENT], sent);
    }
}
