//! The `marshal_request` setting: the request's header and body as one JSON document.

use crate::{CallError, broken_request};
use ::http::{HeaderMap, Request};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use xebec_core::{Body, Outcome, outcome::PlatformFault};

#[derive(Serialize)]
struct Document<'a> {
    header: BTreeMap<String, Vec<String>>,
    body: Raw<'a>,
}

#[derive(Serialize)]
struct Raw<'a> {
    raw: &'a str,
}

/// Reads the body to its end, no further than `limit`, and writes the document. The request keeps its body.
pub(super) async fn marshal(request: &mut Request<Body>, limit: u64) -> Result<Bytes, CallError> {
    let bytes = std::mem::take(request.body_mut()).collect(limit).await.map_err(|error| {
        let (outcome, message) = broken_request(&error);
        CallError::new(outcome, message)
    })?;
    *request.body_mut() = Body::full(bytes.clone());
    document(request.headers(), &bytes)
        .map(Bytes::from)
        .map_err(|error| CallError::new(Outcome::PlatformError(PlatformFault::Internal), error.to_string()))
}

fn document(headers: &HeaderMap, body: &Bytes) -> serde_json::Result<Vec<u8>> {
    let mut header: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != ::http::header::HOST) {
        let values = header.entry(canonical(name.as_str())).or_default();
        values.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    serde_json::to_vec(&Document { header, body: Raw { raw: &BASE64_STANDARD.encode(body) } })
}

/// `x-my-header` → `X-My-Header`, as programs that read such documents expect.
fn canonical(name: &str) -> String {
    let mut first = true;
    name.chars()
        .map(|letter| {
            let letter = if first { letter.to_ascii_uppercase() } else { letter };
            first = letter == '-';
            letter
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_lists_and_the_body_is_base64() {
        let mut headers = HeaderMap::new();
        headers.append("x-two", "1".parse().unwrap());
        headers.append("x-two", "2".parse().unwrap());
        headers.append("host", "example.test".parse().unwrap());
        let written = document(&headers, &Bytes::from_static(b"\x00hi")).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"{"header":{"X-Two":["1","2"]},"body":{"raw":"AGhp"}}"#
        );
    }
}
