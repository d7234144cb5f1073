//! W3C trace context: passed on as it is where it is valid, dropped where it is not, begun where wanted.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Leaves a valid context alone, removes a broken one, and begins one where `begin` says so.
pub(crate) fn settle(headers: &mut HeaderMap, begin: bool) {
    match headers.get(TRACEPARENT) {
        Some(value) if is_valid(value.as_bytes()) && headers.get_all(TRACEPARENT).iter().count() == 1 => {
            return;
        }
        Some(_) => {
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
        }
        None => {}
    }
    if begin && let Ok(fresh) = HeaderValue::from_str(&fresh()) {
        headers.insert(TRACEPARENT, fresh);
    }
}

/// `version-trace-parent-flags`, in lower-case hexadecimal. Later versions may append to it.
fn is_valid(text: &[u8]) -> bool {
    if text.len() < 55 || text[2] != b'-' || text[35] != b'-' || text[52] != b'-' {
        return false;
    }
    let (version, trace, parent, flags) = (&text[..2], &text[3..35], &text[36..52], &text[53..55]);
    let hex = |part: &[u8]| part.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &[u8]| part.iter().all(|c| *c == b'0');
    let end = match version {
        b"ff" => false,
        b"00" => text.len() == 55,
        _ => text.len() == 55 || text[55] == b'-',
    };
    end && [version, trace, parent, flags].into_iter().all(hex) && !zero(trace) && !zero(parent)
}

/// A new, sampled context.
fn fresh() -> String {
    let trace = rand::random::<u128>().max(1);
    let parent = rand::random::<u64>().max(1);
    format!("00-{trace:032x}-{parent:016x}-01")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn settled(values: &[&str], begin: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        settle(&mut headers, begin);
        headers
    }

    #[test]
    fn valid_context_passes_untouched() {
        let later = format!("cc{}-what-will-be", &GOOD[2..]);
        for good in [GOOD, &later] {
            for begin in [false, true] {
                let headers = settled(&[good], begin);
                assert_eq!(headers[TRACEPARENT], *good);
                assert_eq!(headers[TRACESTATE], "a=b");
            }
        }
    }

    #[test]
    fn broken_context_goes() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let zero_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let upper = GOOD.to_uppercase();
        let longer = format!("{GOOD}-x");
        let version = format!("ff{}", &GOOD[2..]);
        for bad in ["", "x", &GOOD[..54], &upper, &longer, &version, zero_trace, zero_parent] {
            let headers = settled(&[bad], false);
            assert!(!headers.contains_key(TRACEPARENT) && !headers.contains_key(TRACESTATE), "{bad}");
        }
        assert!(!settled(&[GOOD, GOOD], false).contains_key(TRACEPARENT));
    }

    #[test]
    fn begun_only_where_traces_are_exported() {
        let mut headers = HeaderMap::new();
        settle(&mut headers, false);
        assert!(headers.is_empty());
        settle(&mut headers, true);
        assert!(is_valid(headers[TRACEPARENT].as_bytes()));
        assert!(is_valid(settled(&["junk"], true)[TRACEPARENT].as_bytes()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(text in proptest::collection::vec(any::<u8>(), 0..70)) {
            let _ = is_valid(&text);
        }
    }
}
