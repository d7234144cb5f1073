//! What came back: a result, an error of the application, or something that is no answer.

use crate::CallError;
use ::http::{HeaderValue, Response, header::CONTENT_TYPE};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{borrow::Cow, fmt};
use xebec_core::{Body, Outcome, outcome::FunctionFault, record::Remarks};

/// What the code said, as far as it is kept, and how long it was.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) bytes: Bytes,
    pub(super) length: u64,
}

/// What a call that was answered with 200 comes to.
pub(super) fn result(said: Said, max_bytes: usize) -> Result<Response<Body>, CallError> {
    if said.length > max_bytes as u64 {
        return Ok(too_long(&said, max_bytes));
    }
    let bytes = said.bytes.slice_ref(said.bytes.trim_ascii());
    match shape(&bytes) {
        Shape::Result { error } => Ok(answered(bytes, error)),
        Shape::Other => {
            Err(bad(bytes, "the action's result is neither a JSON object nor an array".to_owned()))
        }
    }
}

/// A call without an answer, since what came is none.
pub(super) fn bad(output: Bytes, message: String) -> CallError {
    let mut failed = CallError::new(Outcome::FunctionError(FunctionFault::BadResponse), message);
    failed.output = output;
    failed
}

fn answered(bytes: Bytes, error: bool) -> Response<Body> {
    let mut response = Response::new(Body::full(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if error {
        let outcome = Some(Outcome::ApplicationError);
        response.extensions_mut().insert(Remarks { outcome, ..Remarks::default() });
    }
    response
}

/// OpenWhisk says so with the result's place, since it goes on to whatever comes next in a chain.
pub(super) fn too_long(said: &Said, max_bytes: usize) -> Response<Body> {
    let length = said.length;
    let truncated = String::from_utf8_lossy(&said.bytes[..said.bytes.len().min(max_bytes)]);
    error(&format!(
        "The action produced a response that exceeded the allowed length: {length} > {max_bytes} bytes. \
         The truncated response was: {truncated}"
    ))
}

fn error(text: &str) -> Response<Body> {
    answered(object(text), true)
}

/// `{"error": …}`, as proxies say it.
pub(super) fn object(error: &str) -> Bytes {
    serde_json::json!({ "error": error }).to_string().into()
}

#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// An object or an array; whether it has a field `error`.
    Result { error: bool },
    /// Another value, or no JSON.
    Other,
}

fn shape(bytes: &[u8]) -> Shape {
    // What is passed over is not checked for being text.
    let text = String::from_utf8_lossy(bytes);
    let text: &str = match &text {
        Cow::Borrowed(text) => text,
        Cow::Owned(text) => text,
    };
    serde_json::from_str(text).unwrap_or(Shape::Other)
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ShapeVisitor)
    }
}

/// Passes over everything but the names at the top.
struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut error = false;
        while let Some(IsError(named)) = map.next_key()? {
            error |= named;
            map.next_value::<IgnoredAny>()?;
        }
        Ok(Shape::Result { error })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Shape::Result { error: false })
    }
}

/// Whether a name is `error`.
struct IsError(bool);

impl<'de> Deserialize<'de> for IsError {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = IsError;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<IsError, E> {
                Ok(IsError(name == "error"))
            }
        }
        from.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn said(text: &str) -> Said {
        Said { bytes: Bytes::copy_from_slice(text.as_bytes()), length: text.len() as u64 }
    }

    #[test]
    fn shapes() {
        for (text, error) in [
            ("{}", false),
            (" [1,{\"error\":1}] \n", false),
            ("{\"a\":{\"error\":1}}", false),
            ("{\"error\":null}", true),
            ("{\"a\":1,\"err\\u006fr\":{}}", true),
            ("{\"error\":1,\"b\":2}", true),
        ] {
            assert_eq!(shape(text.as_bytes()), Shape::Result { error }, "{text}");
        }
        for text in ["", "1", "\"error\"", "null", "{}{}", "{\"a\":}", "[1", "not JSON"] {
            assert_eq!(shape(text.as_bytes()), Shape::Other, "{text}");
        }
        assert_eq!(shape(b"{\"a\":\"\xff\"}"), Shape::Result { error: false });
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(shape(deep.as_bytes()), Shape::Result { error: false });
    }

    #[tokio::test]
    async fn results() {
        let response = result(said("{\"a\": 1}\n"), 100).unwrap();
        assert!(response.extensions().get::<Remarks>().is_none());
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.into_body().collect(100).await.unwrap(), "{\"a\": 1}");
        let response = result(said("{\"error\":\"no\"}"), 100).unwrap();
        let remarks = response.extensions().get::<Remarks>().unwrap();
        assert_eq!(remarks.outcome, Some(Outcome::ApplicationError));
        let failed = result(said("\"text\""), 100).unwrap_err();
        assert_eq!(failed.outcome, Outcome::FunctionError(FunctionFault::BadResponse));
        assert_eq!(failed.output, "\"text\"");
    }

    #[tokio::test]
    async fn what_is_too_long_is_an_error_with_the_beginning_of_it() {
        let mut long = said("{\"a\":\"ä");
        long.length = 5000;
        let response = result(long, 8).unwrap();
        assert_eq!(response.extensions().get::<Remarks>().unwrap().outcome, Some(Outcome::ApplicationError));
        let body: Value = serde_json::from_slice(&response.into_body().collect(1000).await.unwrap()).unwrap();
        let sentence = "The action produced a response that exceeded the allowed length: 5000 > 8 bytes. \
                        The truncated response was: {\"a\":\"ä";
        assert_eq!(body, json!({ "error": sentence }));
    }

    proptest! {
        #[test]
        fn shapes_are_what_a_whole_parser_finds(text in "[\\[\\]{}\",:0-9a-z \\\\\n]{0,32}|\\PC{0,32}") {
            // A whole parser also refuses numbers and characters that it cannot hold.
            let Ok(whole) = serde_json::from_str::<Value>(&text) else { return Ok(()) };
            let expected = match whole {
                Value::Object(map) => Shape::Result { error: map.contains_key("error") },
                Value::Array(_) => Shape::Result { error: false },
                _ => Shape::Other,
            };
            prop_assert_eq!(shape(text.as_bytes()), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let length = bytes.len() as u64;
            let _ = result(Said { bytes: bytes.into(), length }, 32);
        }
    }
}
