//! What is sent: the caller's bytes with a few fields around them.

use crate::{Brings, CallError, broken_request};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header, request::Parts};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use xebec_core::{Body, InvocationId, Outcome, outcome::PlatformFault, workload::ArchiveFormat};

/// Headers that begin so are fields of the message.
const FIELD: &str = "x-xebec-run-";

/// Fields that are not for others to say.
const OURS: [&str; 3] = ["value", "activation_id", "deadline"];

/// A call that was read whole: its head, its body as it came, and the value in that.
pub(super) struct Read {
    head: Parts,
    body: Bytes,
    pub(super) value: Bytes,
    fields: Vec<(String, String)>,
}

impl Read {
    /// Reads a call's request, and checks that it is one JSON object or array.
    pub(super) async fn whole(
        request: Request<Body>,
        at_most: u64,
        id: InvocationId,
        run_clock: Duration,
    ) -> Result<Self, CallError> {
        let (head, body) = request.into_parts();
        let body = body.collect(at_most).await.map_err(|error| {
            let (outcome, message) = broken_request(&error);
            CallError::new(outcome, message)
        })?;
        let value = value(&body)?;
        let fields = fields(&head.headers, id, run_clock);
        Ok(Self { head, body, value, fields })
    }

    /// The message of a `/run`.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.value.len() + 64 * (1 + self.fields.len()));
        message.extend_from_slice(b"{\"value\":");
        message.extend_from_slice(&self.value);
        for (name, text) in &self.fields {
            // A header's name has nothing in it that JSON would escape.
            message.extend_from_slice(b",\"");
            message.extend_from_slice(name.as_bytes());
            message.extend_from_slice(b"\":");
            write_text(&mut message, text);
        }
        message.push(b'}');
        message
    }

    /// The call as a request of its own: the value is its body, the fields are headers.
    pub(super) fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::full(self.value.clone()));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, text) in &self.fields {
            let name = HeaderName::try_from(format!("{FIELD}{}", name.replace('_', "-")));
            if let (Ok(name), Ok(text)) = (name, HeaderValue::try_from(text)) {
                headers.insert(name, text);
            }
        }
        request
    }

    /// The fields as the code sees them in its environment.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        let named = |(name, text): &(String, String)| (variable(name), text.clone());
        self.fields.iter().map(named).collect()
    }

    /// The request as it was, for another instance.
    pub(super) fn unsent(self) -> Box<Request<Body>> {
        Box::new(Request::from_parts(self.head, Body::full(self.body)))
    }
}

fn variable(field: &str) -> String {
    format!("__OW_{}", field.to_ascii_uppercase())
}

/// The JSON object or array that a body is; `{}` where there is nothing.
fn value(body: &Bytes) -> Result<Bytes, CallError> {
    let refuse = |why: String| Err(CallError::new(Outcome::PlatformError(PlatformFault::BadRequest), why));
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Bytes::from_static(b"{}"));
    }
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(value) if value.get().starts_with(['{', '[']) => Ok(body.slice_ref(value.get().as_bytes())),
        Ok(_) => refuse("the request's body is neither a JSON object nor an array".to_owned()),
        Err(error) => refuse(format!("the request's body is not JSON: {error}")),
    }
}

/// The fields beside the value: those of the headers, and ours.
fn fields(headers: &HeaderMap, id: InvocationId, run_clock: Duration) -> Vec<(String, String)> {
    let mut fields = Vec::with_capacity(8);
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(FIELD) else { continue };
        let name = name.replace('-', "_");
        if !name.is_empty() && !OURS.contains(&name.as_str()) {
            fields.push((name, String::from_utf8_lossy(value.as_bytes()).into_owned()));
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let deadline = now.as_millis().saturating_add(run_clock.as_millis());
    fields.push(("activation_id".to_owned(), id.0.simple().to_string()));
    fields.push(("deadline".to_owned(), deadline.to_string()));
    fields
}

/// The message of `/init`.
pub(super) fn init(brings: &Brings, main: Option<&str>) -> Vec<u8> {
    let main = brings.handler.as_deref().or(main).unwrap_or("main");
    let packed = brings.code.as_ref().map_or(0, |(_, bytes)| bytes.len());
    let mut message = Vec::with_capacity(packed * 4 / 3 + 1024);
    message.extend_from_slice(b"{\"value\":{\"name\":");
    write_text(&mut message, &brings.function);
    message.extend_from_slice(b",\"main\":");
    write_text(&mut message, main);
    let mut binary = false;
    if let Some((format, bytes)) = &brings.code {
        message.extend_from_slice(b",\"code\":");
        match std::str::from_utf8(bytes) {
            Ok(source) if *format == ArchiveFormat::Single => write_text(&mut message, source),
            _ => {
                binary = true;
                message.push(b'"');
                message.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                message.push(b'"');
            }
        }
    }
    message.extend_from_slice(if binary { b",\"binary\":true" } else { b",\"binary\":false" });
    message.extend_from_slice(b",\"env\":");
    write(&mut message, &brings.variables);
    message.extend_from_slice(b"}}");
    message
}

fn write_text(message: &mut Vec<u8>, text: &str) {
    write(message, text);
}

fn write(message: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Texts and maps of texts are always JSON, and memory always takes it.
    let _ = serde_json::to_writer(message, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    async fn read(request: Request<Body>) -> Result<Read, CallError> {
        Read::whole(request, 1000, InvocationId::new(), Duration::from_secs(60)).await
    }

    fn request(body: &str) -> Request<Body> {
        Request::post("/").body(Body::full(body.to_owned())).unwrap()
    }

    #[tokio::test]
    async fn the_value_is_one_object_or_array_as_it_came() {
        for (body, value) in [
            ("", "{}"),
            (" \n", "{}"),
            ("{}", "{}"),
            (" {\"a\": 1e400,\n \"a\": \"\\u0041\"} ", "{\"a\": 1e400,\n \"a\": \"\\u0041\"}"),
            ("[1, {}]", "[1, {}]"),
        ] {
            assert_eq!(read(request(body)).await.ok().unwrap().value, value);
        }
        for body in ["1", "\"text\"", "null", "{} {}", "{", "{a:1}", "\u{feff}{}", "[1,]"] {
            let error = read(request(body)).await.err().unwrap();
            assert_eq!(error.outcome, Outcome::PlatformError(PlatformFault::BadRequest), "{body}");
        }
        let deep = format!("{}{}", "[".repeat(400), "]".repeat(400));
        assert_eq!(read(request(&deep)).await.ok().unwrap().value, deep);
        let large = format!("[\"{}\"]", "x".repeat(1000));
        let error = read(request(&large)).await.err().unwrap();
        assert_eq!(error.outcome, Outcome::PlatformError(PlatformFault::TooLarge));
    }

    #[tokio::test]
    async fn fields_are_what_the_headers_say_and_what_we_say() {
        let mut request = request("{\"a\":1}");
        for (name, value) in [
            ("x-xebec-run-action-name", "/ns/\"pkg\"/a"),
            ("x-xebec-run-api-key", "a:b"),
            ("x-xebec-run-deadline", "1"),
            ("x-xebec-run-activation-id", "mine"),
            ("x-xebec-run-value", "{}"),
            ("x-xebec-run-", "nothing"),
            ("x-other", "other"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let id = InvocationId::new();
        let read = Read::whole(request, 1000, id, Duration::from_secs(60)).await.ok().unwrap();
        let message: Value = serde_json::from_slice(&read.message()).unwrap();
        let deadline: u128 = message["deadline"].as_str().unwrap().parse().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!(deadline > now && deadline <= now + 60_000, "{deadline} {now}");
        let expected = json!({
            "value": {"a": 1},
            "action_name": "/ns/\"pkg\"/a",
            "api_key": "a:b",
            "activation_id": id.0.simple().to_string(),
            "deadline": deadline.to_string(),
        });
        assert_eq!(message, expected);
        let variables = read.variables();
        let names: Vec<_> = variables.keys().map(String::as_str).collect();
        assert_eq!(names, ["__OW_ACTION_NAME", "__OW_ACTIVATION_ID", "__OW_API_KEY", "__OW_DEADLINE"]);
        assert_eq!(variables["__OW_API_KEY"], "a:b");
        let again = read.unsent();
        assert_eq!(again.headers()["x-xebec-run-api-key"], "a:b");
        assert_eq!(again.into_body().collect(100).await.unwrap(), "{\"a\":1}");
    }

    #[test]
    fn code_is_text_or_base64() {
        let init = |code, handler: Option<&str>, main| -> Value {
            let brings = Brings {
                function: "pkg/a\"b".to_owned(),
                handler: handler.map(str::to_owned),
                variables: [("A".to_owned(), "ä\n".to_owned())].into(),
                code,
            };
            serde_json::from_slice(&super::init(&brings, main)).unwrap()
        };
        let source = Some((ArchiveFormat::Single, Bytes::from_static("a = \"ä\"\n".as_bytes())));
        assert_eq!(
            init(source, None, None),
            json!({"value": {"name": "pkg/a\"b", "main": "main", "code": "a = \"ä\"\n", "binary": false, "env": {"A": "ä\n"}}})
        );
        let program = Some((ArchiveFormat::Single, Bytes::from_static(b"\x7fELF\xff")));
        let value = &init(program, None, Some("other"))["value"];
        assert_eq!(
            (&value["code"], &value["binary"], &value["main"]),
            (&json!("f0VMRv8="), &json!(true), &json!("other"))
        );
        let zip = Some((ArchiveFormat::Zip, Bytes::from_static(b"PK")));
        let value = &init(zip, Some("a.b"), Some("other"))["value"];
        assert_eq!(
            (&value["code"], &value["binary"], &value["main"]),
            (&json!("UEs="), &json!(true), &json!("a.b"))
        );
        let value = &init(None, None, None)["value"];
        assert_eq!((value.get("code"), &value["binary"]), (None, &json!(false)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_spliced(body in prop::collection::vec(any::<u8>(), 0..64)) {
            check(&Bytes::from(body));
        }

        #[test]
        fn anything_like_json_is_refused_or_spliced(body in "[\\[\\]{}\",:0-9a-z \\\\\n]{0,32}") {
            check(&Bytes::from(body));
        }
    }

    /// What is taken is what a whole parser takes, and stays what it was.
    fn check(body: &Bytes) {
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        match value(body) {
            Ok(value) if body.trim_ascii().is_empty() => assert_eq!(value, "{}"),
            Ok(value) => assert_eq!(serde_json::from_slice::<Value>(&value).ok(), parsed),
            Err(_) => assert!(parsed.is_none_or(|value| !value.is_object() && !value.is_array())),
        }
    }
}
