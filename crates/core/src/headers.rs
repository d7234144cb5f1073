//! Headers that concern one connection.

use http::{HeaderMap, HeaderName, header::CONNECTION};

/// The headers that `Connection` names: they concern this connection, as `Connection` itself does. Options that
/// are no headers, such as `close`, are among them.
pub fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn reads_all_lists_and_passes_over_what_is_no_name() {
        let mut headers = HeaderMap::new();
        assert!(named_by_connection(&headers).is_empty());
        headers.append(CONNECTION, HeaderValue::from_static("close, X-Mine,"));
        headers.append(CONNECTION, HeaderValue::from_bytes(b"caf\xe9, x-yours").unwrap());
        assert_eq!(named_by_connection(&headers), ["close", "x-mine", "x-yours"]);
    }
}
