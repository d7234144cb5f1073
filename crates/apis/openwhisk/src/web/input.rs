//! What a web action is called with, of the request that came.

use super::media::{self, Media};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::{Map, Value};
use std::borrow::Cow;

const METHOD: &str = "__ow_method";
const HEADERS: &str = "__ow_headers";
const PATH: &str = "__ow_path";
const USER: &str = "__ow_user";
const QUERY: &str = "__ow_query";
const BODY: &str = "__ow_body";

/// Names that callers may not use.
const RESERVED: [&str; 6] = [METHOD, HEADERS, PATH, USER, QUERY, BODY];

/// Headers that concern the way of the bytes, and no action.
const OF_THE_CONNECTION: [header::HeaderName; 5] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TE, header::TRANSFER_ENCODING, header::UPGRADE];

/// A request of a web action.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    /// What came behind the action's name.
    pub(crate) path: &'a str,
    /// As it was sent.
    pub(crate) query: &'a str,
    pub(crate) body: &'a Bytes,
    /// The caller's namespace, where there were good credentials.
    pub(crate) user: Option<&'a str>,
}

/// Why a request is not for a web action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Its body is not what its type says: the sentence.
    Malformed(String),
    /// It names a parameter that callers may not set.
    NotAllowed,
}

/// The arguments of an action: what is known of the request, then the query, then the body; what comes later
/// wins. `raw`: query and body stay as they are. `locked` are the names that callers may not use.
///
/// # Errors
/// [`Unfit`].
pub(crate) fn arguments(
    request: &Request<'_>,
    raw: bool,
    locked: impl Fn(&str) -> bool,
) -> Result<Map<String, Value>, Unfit> {
    let mut arguments = context(request);
    let body = body(request, raw)?;
    if raw {
        arguments.insert(QUERY.to_owned(), request.query.into());
        arguments.insert(BODY.to_owned(), body.unwrap_or_else(|| Value::from("")));
        return Ok(arguments);
    }
    let allowed = |name: &str| !RESERVED.contains(&name) && !locked(name);
    for (name, value) in pairs(request.query) {
        if !allowed(&name) {
            return Err(Unfit::NotAllowed);
        }
        arguments.insert(name.into_owned(), value.into_owned().into());
    }
    match body {
        Some(Value::Object(fields)) => {
            if !fields.keys().all(|name| allowed(name)) {
                return Err(Unfit::NotAllowed);
            }
            arguments.extend(fields);
        }
        Some(other) => {
            arguments.insert(BODY.to_owned(), other);
        }
        None => {}
    }
    Ok(arguments)
}

fn context(request: &Request<'_>) -> Map<String, Value> {
    let mut context = Map::new();
    context.insert(METHOD.to_owned(), request.method.as_str().to_ascii_lowercase().into());
    context.insert(HEADERS.to_owned(), headers(request.headers));
    context.insert(PATH.to_owned(), request.path.into());
    if let Some(user) = request.user {
        context.insert(USER.to_owned(), user.into());
    }
    context
}

/// Headers as one object; a header that came several times has its values in one.
pub(crate) fn headers(headers: &HeaderMap) -> Value {
    let mut object = Map::new();
    for name in headers.keys().filter(|name| !OF_THE_CONNECTION.contains(name)) {
        let between = if *name == header::COOKIE { "; " } else { ", " };
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let text = values.reduce(|all, one| format!("{all}{between}{one}").into());
        object.insert(name.as_str().to_owned(), text.unwrap_or_default().into());
    }
    object.into()
}

fn body(request: &Request<'_>, raw: bool) -> Result<Option<Value>, Unfit> {
    if request.body.is_empty() {
        return Ok(None);
    }
    let text = || Value::from(String::from_utf8_lossy(request.body));
    let media =
        request.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(Media::of);
    Ok(Some(match media {
        Some(media) if !raw && media.is_json() => {
            serde_json::from_slice(request.body).map_err(|error| Unfit::Malformed(error.to_string()))?
        }
        Some(media) if !raw && media.is_form() => {
            let fields = String::from_utf8_lossy(request.body);
            Value::Object(
                pairs(&fields).map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect(),
            )
        }
        // JSON is text; who asked for the raw body of it has always got it encoded.
        Some(media) if media.is_text() && !media.is_plain_json() => text(),
        _ => media::encode(request.body).into(),
    }))
}

/// The names and values of a query, or of a form.
fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    match spaced {
        Cow::Borrowed(text) => percent_encoding::percent_decode_str(text).decode_utf8_lossy(),
        Cow::Owned(text) => {
            percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn called(
        headers: &[(&'static str, &str)],
        query: &str,
        body: &'static [u8],
        raw: bool,
    ) -> Result<Value, Unfit> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let request = Request {
            method: &Method::POST,
            headers: &map,
            path: "/p",
            query,
            body: &Bytes::from_static(body),
            user: None,
        };
        arguments(&request, raw, |name| name == "locked").map(|mut arguments| {
            assert_eq!(arguments.remove(METHOD), Some(json!("post")));
            assert_eq!(arguments.remove(PATH), Some(json!("/p")));
            assert!(arguments.remove(HEADERS).is_some_and(|headers| headers.is_object()));
            assert_eq!(arguments.remove(USER), None);
            arguments.into()
        })
    }

    const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
    const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];

    #[test]
    fn spreads_what_is_named() {
        assert_eq!(
            called(&[], "a=1&b=x%20y+z&a=2&c", b"", false),
            Ok(json!({"a": "2", "b": "x y z", "c": ""}))
        );
        assert_eq!(called(JSON, "a=1&b=2", br#"{"b": [3]}"#, false), Ok(json!({"a": "1", "b": [3]})));
        assert_eq!(called(FORM, "", b"a=1&b=%C3%BC", false), Ok(json!({"a": "1", "b": "\u{fc}"})));
        assert_eq!(
            called(&[("content-type", "application/problem+json")], "", br#"{"a": 1}"#, false),
            Ok(json!({"a": 1}))
        );
        assert_eq!(called(JSON, "", b"", false), Ok(json!({})));
    }

    #[test]
    fn boxes_what_has_no_names() {
        assert_eq!(called(JSON, "", b"[1, 2]", false), Ok(json!({"__ow_body": [1, 2]})));
        assert_eq!(called(JSON, "", b"3", false), Ok(json!({"__ow_body": 3})));
        assert_eq!(
            called(&[("content-type", "text/plain")], "", b"hey", false),
            Ok(json!({"__ow_body": "hey"}))
        );
        assert_eq!(
            called(&[("content-type", "image/png")], "", b"\x89P", false),
            Ok(json!({"__ow_body": "iVA="}))
        );
        assert_eq!(called(&[], "", b"hey", false), Ok(json!({"__ow_body": "aGV5"})), "no type: bytes");
    }

    #[test]
    fn leaves_raw_ones_as_they_are() {
        let raw = |headers, query, body| called(headers, query, body, true);
        assert_eq!(raw(&[], "a=1&b=%20", b""), Ok(json!({"__ow_query": "a=1&b=%20", "__ow_body": ""})));
        assert_eq!(raw(JSON, "", b"{}"), Ok(json!({"__ow_query": "", "__ow_body": "e30="})));
        assert_eq!(raw(FORM, "locked=1", b"a=1"), Ok(json!({"__ow_query": "locked=1", "__ow_body": "a=1"})));
    }

    #[test]
    fn refuses_names_that_are_taken() {
        assert_eq!(called(&[], "__ow_user=x", b"", false), Err(Unfit::NotAllowed));
        assert_eq!(called(JSON, "", br#"{"locked": 1}"#, false), Err(Unfit::NotAllowed));
        assert_eq!(called(FORM, "", b"__ow_body=1", false), Err(Unfit::NotAllowed));
        assert!(matches!(called(JSON, "", b"{", false), Err(Unfit::Malformed(_))));
    }

    #[test]
    fn tells_of_headers() {
        let mut map = HeaderMap::new();
        map.append("x-a", "1".parse().unwrap());
        map.append("x-a", "2".parse().unwrap());
        map.append("cookie", "a=1".parse().unwrap());
        map.append("cookie", "b=2".parse().unwrap());
        map.append("content-length", "3".parse().unwrap());
        assert_eq!(headers(&map), json!({"x-a": "1, 2", "cookie": "a=1; b=2"}));
    }
}
