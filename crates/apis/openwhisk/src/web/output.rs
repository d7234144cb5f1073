//! What a web action's result is answered as.

use super::{
    media::{self, Media},
    target::Extension,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};
use xebec_core::Body;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=UTF-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Headers that say how bytes travel: what is sent says that itself.
const OF_THE_CONNECTION: [HeaderName; 5] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TE, header::TRANSFER_ENCODING, header::UPGRADE];

/// Why a result cannot be answered as was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is not of this media type.
    Not(&'static str),
    /// It lacks what was asked for.
    Missing,
    /// Its content type is none.
    UnknownType,
    /// Its body is not of its content type.
    OtherType,
}

/// Answers a result as its extension asks.
///
/// # Errors
/// [`Unfit`].
pub(crate) fn answer(result: Value, extension: Extension) -> Result<Response<Body>, Unfit> {
    match extension {
        Extension::Http => http(result),
        Extension::Json => match &result {
            Value::Object(_) | Value::Array(_) => Ok(with(JSON, result.to_string())),
            _ => Err(Unfit::Not("application/json")),
        },
        Extension::Html => match picked(result, "html") {
            Some(Value::String(html)) => Ok(with(HTML, html)),
            _ => Err(Unfit::Not("text/html")),
        },
        Extension::Svg => match picked(result, "svg") {
            Some(Value::String(svg)) => Ok(with(SVG, svg)),
            _ => Err(Unfit::Not("image/svg+xml")),
        },
        Extension::Text => match picked(result, "text") {
            Some(Value::String(text)) => Ok(with(PLAIN, text)),
            Some(other) => Ok(with(PLAIN, format!("{other:#}"))),
            None => Err(Unfit::Missing),
        },
    }
}

/// Of an object its body, or the field of that name; else the result itself.
fn picked(result: Value, name: &str) -> Option<Value> {
    match result {
        Value::Object(mut fields) => fields.remove("body").or_else(|| fields.remove(name)),
        other => Some(other),
    }
}

fn with(content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// Status, headers and body as the action says them.
fn http(result: Value) -> Result<Response<Body>, Unfit> {
    const SHAPE: Unfit = Unfit::Not("message/http");
    let Value::Object(mut fields) = result else { return Err(SHAPE) };
    let status = fields.remove("statusCode").map(|code| status(&code).ok_or(SHAPE)).transpose()?;
    let mut headers = match fields.remove("headers") {
        Some(Value::Object(fields)) => headers(fields).ok_or(SHAPE)?,
        Some(_) => return Err(SHAPE),
        None => HeaderMap::new(),
    };
    let said = headers.remove(header::CONTENT_TYPE);
    let (body, content_type) = match fields.remove("body").unwrap_or_default() {
        Value::Null => (Bytes::new(), None),
        Value::String(text) if text.is_empty() => (Bytes::new(), None),
        Value::String(text) => of_text(text, said)?,
        other => of_json(&other, said)?,
    };
    let usual = if body.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK };
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status.unwrap_or(usual);
    *response.headers_mut() = headers;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

type Content = (Bytes, Option<HeaderValue>);

fn of_text(text: String, said: Option<HeaderValue>) -> Result<Content, Unfit> {
    let Some(said) = said else { return Ok((text.into(), Some(HTML))) };
    let media = said.to_str().ok().and_then(Media::of).ok_or(Unfit::UnknownType)?;
    if media.is_json() {
        // JSON may come encoded, but what is JSON as it stands is not: `1234` is both.
        let encoded =
            media::looks_encoded(&text) && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err();
        let bytes = encoded.then(|| media::decode(&text)).flatten();
        return Ok((bytes.map_or_else(|| text.into(), Bytes::from), Some(said)));
    }
    if media.is_text() {
        return Ok((text.into(), Some(if media.has_charset() { said } else { in_utf8(&said) })));
    }
    match media::decode(&text) {
        Some(bytes) => Ok((bytes.into(), Some(said))),
        // An image that is text after all.
        None if media.is_svg() => Ok((text.into(), Some(said))),
        None => Err(Unfit::OtherType),
    }
}

fn of_json(value: &Value, said: Option<HeaderValue>) -> Result<Content, Unfit> {
    let Some(said) = said else { return Ok((value.to_string().into(), Some(JSON))) };
    let media = said.to_str().ok().and_then(Media::of).ok_or(Unfit::OtherType)?;
    if media.is_json() { Ok((value.to_string().into(), Some(said))) } else { Err(Unfit::OtherType) }
}

/// A text's type, with the characters that it is sent in.
fn in_utf8(said: &HeaderValue) -> HeaderValue {
    let text = said.to_str().unwrap_or_default().trim_end_matches([' ', ';']);
    HeaderValue::try_from(format!("{text}; charset=UTF-8")).unwrap_or_else(|_| said.clone())
}

/// A number, or the text of one.
fn status(code: &Value) -> Option<StatusCode> {
    let number = match code {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0);
            number.as_u64().or_else(|| whole.filter(|n| (0.0..1000.0).contains(n)).map(|n| n as u64))?
        }
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    // Those below are said before an answer, and not as one.
    let code = u16::try_from(number).ok().filter(|code| (200..600).contains(code))?;
    StatusCode::from_u16(code).ok()
}

fn headers(fields: Map<String, Value>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::try_from(name).ok()?;
        let mut add = |text: String| -> Option<()> {
            let value = HeaderValue::try_from(text).ok()?;
            if !OF_THE_CONNECTION.contains(&name) {
                headers.append(&name, value);
            }
            Some(())
        };
        texts(value, &mut add)?;
    }
    Some(headers)
}

/// A header's values: text, truth, number, or lists of them.
fn texts(value: Value, add: &mut impl FnMut(String) -> Option<()>) -> Option<()> {
    match value {
        Value::String(text) => add(text),
        Value::Bool(truth) => add(truth.to_string()),
        Value::Number(number) => add(number.to_string()),
        Value::Array(values) => values.into_iter().try_for_each(|value| texts(value, add)),
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Status, content type, body.
    fn answered(result: Value, extension: Extension) -> Result<(u16, String, Vec<u8>), Unfit> {
        answer(result, extension).map(|response| {
            let of = |name| response.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap());
            let content_type = of(header::CONTENT_TYPE).unwrap_or_default().to_owned();
            (response.status().as_u16(), content_type, response.body().replay().unwrap().to_vec())
        })
    }

    fn http(result: Value) -> Result<(u16, String, Vec<u8>), Unfit> {
        answered(result, Extension::Http)
    }

    fn ok(status: u16, content_type: &str, body: &[u8]) -> Result<(u16, String, Vec<u8>), Unfit> {
        Ok((status, content_type.to_owned(), body.to_vec()))
    }

    fn typed(content_type: &str, body: Value) -> Result<(u16, String, Vec<u8>), Unfit> {
        http(json!({"headers": {"Content-Type": content_type}, "body": body}))
    }

    #[test]
    fn http_has_its_defaults() {
        assert_eq!(http(json!({"body": "<p>"})), ok(200, "text/html; charset=UTF-8", b"<p>"));
        assert_eq!(http(json!({"body": {"a": 1}})), ok(200, "application/json", br#"{"a":1}"#));
        assert_eq!(http(json!({"body": 3})), ok(200, "application/json", b"3"));
        assert_eq!(http(json!({"body": false})), ok(200, "application/json", b"false"));
        for nothing in [json!({}), json!({"body": null}), json!({"body": ""})] {
            assert_eq!(http(nothing), ok(204, "", b""));
        }
        assert_eq!(http(json!({"statusCode": 200, "body": ""})), ok(200, "", b""));
        let empty = json!({"headers": {"content-type": "text/plain"}, "statusCode": 302});
        assert_eq!(http(empty), ok(302, "", b""), "nothing has no type");
    }

    #[test]
    fn statuses_are_numbers() {
        for (code, wanted) in [(json!(404), 404), (json!("201"), 201), (json!(299.0), 299), (json!(599), 599)]
        {
            assert_eq!(http(json!({ "statusCode": code })).unwrap().0, wanted);
        }
        for bad in [
            json!("x"),
            json!(1.5),
            json!(true),
            json!(null),
            json!(99),
            json!(101),
            json!(600),
            json!(-1),
            json!("2e2"),
        ] {
            assert_eq!(http(json!({ "statusCode": bad })), Err(Unfit::Not("message/http")), "{bad}");
        }
    }

    #[test]
    fn headers_may_be_lists() {
        let result = json!({"headers": {"Set-Cookie": ["a=1", "b=2"], "x-n": 1, "x-b": true, "content-length": 99, "transfer-encoding": "chunked"}, "body": "x"});
        let response = answer(result, Extension::Http).unwrap();
        let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(
            (&response.headers()["x-n"], &response.headers()["x-b"]),
            (&HeaderValue::from(1), &"true".parse().unwrap())
        );
        assert!(
            !response.headers().contains_key("content-length")
                && !response.headers().contains_key("transfer-encoding")
        );
        for bad in [
            json!({"x": null}),
            json!({"x": {}}),
            json!({"x y": "1"}),
            json!({"x": "a\nb"}),
            json!([1]),
            json!("x"),
        ] {
            assert_eq!(http(json!({ "headers": bad })), Err(Unfit::Not("message/http")), "{bad}");
        }
    }

    #[test]
    fn bodies_are_of_their_type() {
        assert_eq!(typed("text/css", json!("p {}")), ok(200, "text/css; charset=UTF-8", b"p {}"));
        assert_eq!(typed("text/css; charset=latin1", json!("p")), ok(200, "text/css; charset=latin1", b"p"));
        assert_eq!(typed("image/png", json!("iVA=")), ok(200, "image/png", b"\x89P"));
        assert_eq!(typed("image/png", json!("not base64!")), Err(Unfit::OtherType));
        assert_eq!(typed("image/svg+xml", json!("<svg/>")), ok(200, "image/svg+xml", b"<svg/>"));
        assert_eq!(typed("image/svg+xml", json!("PHN2Zy8+")), ok(200, "image/svg+xml", b"<svg/>"));
        assert_eq!(typed("application/json", json!({"a": 1})), ok(200, "application/json", br#"{"a":1}"#));
        assert_eq!(typed("application/vnd.a+json", json!([1])), ok(200, "application/vnd.a+json", b"[1]"));
        assert_eq!(
            typed("application/json", json!("eyJhIjoxfQ==")),
            ok(200, "application/json", br#"{"a":1}"#)
        );
        assert_eq!(
            typed("application/json", json!(r#"{"a":1}"#)),
            ok(200, "application/json", br#"{"a":1}"#)
        );
        assert_eq!(
            typed("application/json", json!("1234")),
            ok(200, "application/json", b"1234"),
            "it is JSON already"
        );
        assert_eq!(typed("text/plain", json!({"a": 1})), Err(Unfit::OtherType));
        assert_eq!(typed("nonsense", json!("x")), Err(Unfit::UnknownType));
    }

    #[test]
    fn other_extensions_take_their_field() {
        use Extension::{Html, Json, Svg, Text};
        assert_eq!(answered(json!({"a": 1}), Json), ok(200, "application/json", br#"{"a":1}"#));
        assert_eq!(answered(json!([1]), Json), ok(200, "application/json", b"[1]"));
        assert_eq!(answered(json!("x"), Json), Err(Unfit::Not("application/json")));
        assert_eq!(answered(json!({"html": "<p>"}), Html), ok(200, "text/html; charset=UTF-8", b"<p>"));
        assert_eq!(
            answered(json!({"html": "<p>", "body": "<b>"}), Html),
            ok(200, "text/html; charset=UTF-8", b"<b>")
        );
        assert_eq!(answered(json!("<p>"), Html), ok(200, "text/html; charset=UTF-8", b"<p>"));
        assert_eq!(answered(json!({}), Html), Err(Unfit::Not("text/html")));
        assert_eq!(answered(json!({"svg": "<svg/>"}), Svg), ok(200, "image/svg+xml", b"<svg/>"));
        assert_eq!(answered(json!({"body": 1}), Svg), Err(Unfit::Not("image/svg+xml")));
        assert_eq!(answered(json!({"text": 1}), Text), ok(200, "text/plain; charset=UTF-8", b"1"));
        assert_eq!(answered(json!([true]), Text), ok(200, "text/plain; charset=UTF-8", b"[\n  true\n]"));
        assert_eq!(answered(json!({"body": null}), Text), ok(200, "text/plain; charset=UTF-8", b"null"));
        assert_eq!(answered(json!({"a": 1}), Text), Err(Unfit::Missing));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let name = prop_oneof![
                Just("body".to_owned()),
                Just("headers".to_owned()),
                Just("statusCode".to_owned()),
                Just("content-type".to_owned()),
                "[ -~]{0,6}",
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_result_is_answered_or_unfit(result in json_value()) {
            for (_, extension) in [(0, Extension::Http), (1, Extension::Json), (2, Extension::Html), (3, Extension::Svg), (4, Extension::Text)] {
                if let Ok(response) = answer(result.clone(), extension) {
                    prop_assert!(response.status().as_u16() >= 200);
                }
            }
        }
    }
}
