//! The recursion guard: how many calls led to a call, and when that is too many.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that counts: a call that a function makes should carry on what it was called with.
pub const HOPS_HEADER: HeaderName = HeaderName::from_static("x-xebec-hops");

/// The longest chain of calls.
pub const MAX_HOPS: u8 = 16;

/// How many calls led to the one with these headers: 0 for one from outside. What cannot be read counts as
/// too many: only a client that tampers sends it.
pub fn hops(headers: &HeaderMap) -> u8 {
    let Some(value) = headers.get(&HOPS_HEADER) else { return 0 };
    value.to_str().ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u8::MAX)
}

/// The header's value for a call that `hops` others led to.
pub fn value(hops: u8) -> HeaderValue {
    HeaderValue::from(u16::from(hops))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_wrote() {
        let mut headers = HeaderMap::new();
        assert_eq!(hops(&headers), 0);
        headers.insert(HOPS_HEADER, value(7));
        assert_eq!(hops(&headers), 7);
        headers.insert(HOPS_HEADER, HeaderValue::from_static("many"));
        assert!(hops(&headers) > MAX_HOPS);
    }
}
