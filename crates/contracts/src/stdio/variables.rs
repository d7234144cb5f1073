//! What a process is told about its request: `Http_*` variables.
//!
//! * `Http_Method`, `Http_Path` (decoded), `Http_Query` (as it came), `Http_Host`
//! * `Http_ContentLength` and `Http_Content_Length`: the body's length, -1 where it is not known
//! * `Http_Transfer_Encoding`: `chunked`, where it is
//! * `Http_X_My_Header` for each header `X-My-Header`: its first value
//!
//! A header `Proxy` is left out: libraries take a variable that ends in `_proxy`, however it is written,
//! for the address of a proxy, so that any caller could reroute what a function sends.

use ::http::{
    HeaderName, Request,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};
use http_body::Body as _;
use std::{borrow::Cow, collections::BTreeMap};
use xebec_core::Body;

/// The variables of one request.
pub(super) fn of(request: &Request<Body>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let headers = request.headers();
    for name in headers.keys().filter(|name| *name != HOST && *name != "proxy") {
        if let Some(value) = headers.get(name) {
            variables.insert(variable(name), String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
    }
    variables.insert("Http_Method".into(), request.method().as_str().into());
    let length = match (headers.get(TRANSFER_ENCODING), headers.get(CONTENT_LENGTH)) {
        (None, Some(length)) => String::from_utf8_lossy(length.as_bytes()).into_owned(),
        _ => request.body().size_hint().exact().map_or_else(|| "-1".into(), |length| length.to_string()),
    };
    variables.insert("Http_ContentLength".into(), length.clone());
    variables.insert("Http_Content_Length".into(), length);
    let uri = request.uri();
    if let Some(query) = uri.query().filter(|query| !query.is_empty()) {
        variables.insert("Http_Query".into(), query.into());
    }
    if !uri.path().is_empty() {
        variables.insert("Http_Path".into(), decoded(uri.path()).into_owned());
    }
    let host = headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
    if let Some(host) = host.or_else(|| uri.authority().map(|authority| authority.as_str().into())) {
        variables.insert("Http_Host".into(), host.into_owned());
    }
    variables
}

/// `x-my-header` → `Http_X_My_Header`.
fn variable(name: &HeaderName) -> String {
    let mut variable = String::with_capacity(5 + name.as_str().len());
    variable.push_str("Http_");
    let mut first = true;
    for letter in name.as_str().chars() {
        variable.push(match letter {
            '-' => '_',
            letter if first => letter.to_ascii_uppercase(),
            letter => letter,
        });
        first = letter == '-';
    }
    variable
}

/// A path with its `%xx` decoded, unless what comes out cannot be in a variable.
fn decoded(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return path.into() };
                bytes.push(high << 4 | low);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text.into(),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(builder: ::http::request::Builder, body: Body) -> BTreeMap<String, String> {
        of(&builder.body(body).unwrap())
    }

    #[test]
    fn a_request_with_everything() {
        let variables = request(
            Request::post("/a%20b/c?x=%20y")
                .header("host", "example.test:8080")
                .header("X-Forwarded-For", "10.0.0.1")
                .header("x-forwarded-for", "10.0.0.2")
                .header("Proxy", "evil.test:3128")
                .header("content-type", "text/csv"),
            Body::full("12345"),
        );
        let expected = [
            ("Http_ContentLength", "5"),
            ("Http_Content_Length", "5"),
            ("Http_Content_Type", "text/csv"),
            ("Http_Host", "example.test:8080"),
            ("Http_Method", "POST"),
            ("Http_Path", "/a b/c"),
            ("Http_Query", "x=%20y"),
            ("Http_X_Forwarded_For", "10.0.0.1"),
        ];
        let expected: BTreeMap<String, String> =
            expected.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        assert_eq!(variables, expected);
    }

    #[test]
    fn unknown_length_is_minus_one_and_chunked_shows() {
        let frames = futures_util::stream::empty::<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>();
        let body = Body::stream(http_body_util::StreamBody::new(frames));
        let variables = request(Request::put("/").header("transfer-encoding", "chunked"), body);
        assert_eq!(variables["Http_Content_Length"], "-1");
        assert_eq!(variables["Http_Transfer_Encoding"], "chunked");
    }

    #[test]
    fn without_a_body_the_length_is_zero_and_the_authority_is_the_host() {
        let variables = request(Request::get("http://h2.test/x"), Body::empty());
        assert_eq!(variables["Http_ContentLength"], "0");
        assert_eq!(variables["Http_Host"], "h2.test");
        assert!(!variables.contains_key("Http_Query"));
    }

    #[test]
    fn what_cannot_be_decoded_stays() {
        assert_eq!(decoded("/%zz"), "/%zz");
        assert_eq!(decoded("/%e4"), "/%e4");
        assert_eq!(decoded("/%00"), "/%00");
        assert_eq!(decoded("/%"), "/%");
        assert_eq!(decoded("/%C3%A4"), "/ä");
    }

    proptest! {
        #[test]
        fn every_header_is_there_once_under_its_name(
            headers in prop::collection::vec(("[a-zA-Z][a-zA-Z0-9-]{0,20}", "[ -~]{0,40}"), 0..20)
        ) {
            let mut builder = Request::get("/p");
            for (name, value) in &headers {
                builder = builder.header(name.as_str(), value.as_str());
            }
            let variables = request(builder, Body::empty());
            let own = ["method", "path", "query", "contentlength", "content-length", "host", "proxy"];
            for (index, (name, value)) in headers.iter().enumerate() {
                let lower = name.to_ascii_lowercase();
                let first = headers.iter().position(|(other, _)| other.eq_ignore_ascii_case(name));
                if first != Some(index) || own.contains(&lower.as_str()) {
                    continue;
                }
                let words: Vec<String> = lower
                    .split('-')
                    .map(|word| {
                        let mut letters = word.chars();
                        letters.next().map_or_else(String::new, |first| {
                            first.to_ascii_uppercase().to_string() + letters.as_str()
                        })
                    })
                    .collect();
                prop_assert_eq!(&variables[&format!("Http_{}", words.join("_"))], value);
            }
            prop_assert!(variables.keys().all(|name| name.starts_with("Http_")));
            prop_assert!(variables.iter().all(|(name, value)| !name.contains(['=', '\0']) && !value.contains('\0')));
            prop_assert!(!variables.contains_key("Http_Proxy"));
        }

        #[test]
        fn decoding_gives_back_what_was_encoded(path in "(/[a-zäöü %?#]{0,8}){1,4}") {
            let encoded: String = path
                .bytes()
                .map(|byte| if byte == b'/' { "/".into() } else { format!("%{byte:02X}") })
                .collect();
            prop_assert_eq!(decoded(&encoded), path);
        }
    }
}
