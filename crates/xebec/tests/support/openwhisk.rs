//! OpenWhisk's door, spoken to with plain HTTP.

use super::{PATIENCE, Server, eventually, exchange, exchange_within};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{process::Command, time::Duration};

/// What clients have in their configuration; a server without keys takes any.
pub const KEY: &str = "0a1b2c3d-0000-4000-8000-5e6f70819203:\
                       abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ab";

/// A command that goes to the server under test by no detour, and finds no configuration of someone's own.
pub fn plain(command: Command) -> Command {
    let mut command = super::clean(command);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().to_lowercase();
        if ["__ow_", "ow_", "wsk_", "whisk_"].iter().any(|theirs| name.starts_with(theirs))
            || ["proxy", "http_proxy", "https_proxy", "all_proxy", "node_options"].contains(&name.as_str())
        {
            command.env_remove(&name);
            command.env_remove(name.to_uppercase());
        }
    }
    command
}

/// An answer of the door's.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("this is no JSON: {self}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// What must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status < 300, "{self}");
        self.json()
    }

    /// An error in OpenWhisk's form with this status and text.
    #[track_caller]
    pub fn refused(&self, status: u16, text: &str) {
        assert_eq!(self.status, status, "{self}");
        let body = self.json();
        assert_eq!(body["error"], text, "{self}");
        assert_eq!(body["code"], self.header("x-request-id"), "the id of the transaction: {self}");
        assert!(!self.header("x-request-id").is_empty(), "{self}");
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{:?}\n{}", self.status, self.headers, self.text())
    }
}

/// A user of the door's.
pub struct Whisk<'a> {
    pub server: &'a Server,
    pub key: String,
}

impl<'a> Whisk<'a> {
    pub fn new(server: &'a Server) -> Self {
        Self { server, key: KEY.to_owned() }
    }

    pub fn authorization(&self) -> String {
        format!("Basic {}", STANDARD.encode(&self.key))
    }

    /// A request below `/api/v1/namespaces/_/`.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.send_with(method, path, &[], body.map(Value::to_string).unwrap_or_default().as_bytes())
    }

    /// The same with more headers and any body.
    pub fn send_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send_within(PATIENCE, method, path, headers, body)
    }

    /// The same of an answer that may take so long.
    pub fn send_within(
        &self,
        patience: Duration,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let authorization = self.authorization();
        let mut all = vec![("authorization", authorization.as_str())];
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            all.push(("content-type", "application/json"));
        }
        all.extend(headers);
        let url = format!("{}/api/v1/namespaces/_/{path}", self.server.url);
        let (status, headers, body) = exchange_within(patience, method, &url, &all, body);
        Answer { status, headers, body }
    }

    /// A request to any path, with nothing added to it.
    pub fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let (status, headers, body) = exchange(method, &format!("{}{path}", self.server.url), headers, body);
        Answer { status, headers, body }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None)
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, Some(body))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None)
    }

    /// Puts up an action of source; what `more` has is laid over its body.
    #[track_caller]
    pub fn action(&self, name: &str, kind: &str, code: &str, more: &Value) {
        let mut body = json!({"exec": {"kind": kind, "code": code}});
        merge(&mut body, more);
        self.put(&format!("actions/{name}?overwrite=true"), &body).ok();
    }

    /// Puts up a Node action.
    #[track_caller]
    pub fn node(&self, name: &str, code: &str) {
        self.action(name, "nodejs:default", code, &json!({}));
    }

    /// A web action in Node.
    #[track_caller]
    pub fn web(&self, name: &str, code: &str, annotations: &Value) {
        let mut list = vec![json!({"key": "web-export", "value": true})];
        list.extend(
            annotations.as_object().unwrap().iter().map(|(key, value)| json!({"key": key, "value": value})),
        );
        self.action(name, "nodejs:default", code, &json!({ "annotations": list }));
    }

    /// A blocking call.
    pub fn call(&self, name: &str, parameters: &Value) -> Answer {
        self.post(&format!("actions/{name}?blocking=true"), parameters)
    }

    /// The bare result of a blocking call that must succeed.
    #[track_caller]
    pub fn result(&self, name: &str, parameters: &Value) -> Value {
        self.post(&format!("actions/{name}?blocking=true&result=true"), parameters).ok()
    }

    /// A record, as soon as it is there.
    pub fn activation(&self, id: &str) -> Value {
        let mut record = Value::Null;
        eventually(&format!("activation {id}"), || {
            let answer = self.get(&format!("activations/{id}"));
            assert!(matches!(answer.status, 200 | 404), "{answer}");
            record = answer.json();
            answer.status == 200
        });
        record
    }

    /// Whether a call of this action runs just now.
    pub fn in_flight(&self, name: &str) -> bool {
        let token = format!("Bearer {}", self.server.token());
        let metrics = self.raw("GET", "/metrics", &[("authorization", &token)], b"").text();
        let series = format!("door=\"openwhisk\",function=\"{name}\"}}");
        metrics.lines().any(|line| {
            line.starts_with("xebec_in_flight") && line.contains(&series) && !line.ends_with(" 0")
        })
    }

    /// The caller's namespace.
    pub fn namespace(&self) -> String {
        let authorization = self.authorization();
        let answer = self.raw("GET", "/api/v1/namespaces", &[("authorization", &authorization)], b"");
        answer.ok()[0].as_str().unwrap().to_owned()
    }
}

/// Lays one object over another.
pub fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// An annotation's or a parameter's value.
pub fn value<'a>(list: &'a Value, key: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let entries = list.as_array().unwrap_or_else(|| panic!("this is no list: {list}"));
    entries.iter().find(|entry| entry["key"] == key).map_or(&NONE, |entry| &entry["value"])
}
