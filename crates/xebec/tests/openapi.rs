//! The description of the native API against the server it describes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

#[path = "openapi/document.rs"]
mod document;
mod support;

use document::Document;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};
use support::{Server, eventually, xebec};

/// A call of the API. What goes over the wire is held against the description, and noted.
struct Api<'s> {
    server: &'s Server,
    document: Document,
    called: BTreeSet<String>,
}

impl<'s> Api<'s> {
    fn new(server: &'s Server) -> Self {
        let (status, text) = support::http("GET", &format!("{}/xebec/v1/openapi.json", server.url), &[], b"");
        assert_eq!(status, 200);
        Self {
            server,
            document: Document::new(serde_json::from_slice(&text).unwrap()),
            called: BTreeSet::new(),
        }
    }

    /// Sends bytes; status and body.
    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Vec<u8>) {
        let token = format!("Bearer {}", self.server.token());
        let with = [headers, &[("authorization", token.as_str())]].concat();
        self.exchange(method, path, &with, body)
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let url = format!("{}/xebec/v1{path}", self.server.url);
        let (status, head, answer) = support::exchange(method, &url, headers, body);
        let bare = url.split('?').next().unwrap().strip_prefix(&self.server.url).unwrap();
        let operation = self.document.operation(method, bare);
        self.document.check(&operation, status, &head, &answer);
        if status < 400 {
            self.document.check_request(&operation, body);
            self.called.insert(operation.name());
        }
        (status, answer)
    }

    /// Sends JSON, and wants this status; the JSON that came, if any.
    fn json(&mut self, method: &str, path: &str, body: &Value, wanted: u16) -> Value {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (status, answer) = self.send(method, path, &[], &bytes);
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(status, wanted, "{method} {path}: {text}");
        serde_json::from_slice(&answer).unwrap_or(Value::Null)
    }

    fn get(&mut self, path: &str) -> Value {
        self.json("GET", path, &Value::Null, 200)
    }

    fn refused(&mut self, method: &str, path: &str, body: &Value, wanted: u16, code: &str) {
        let answer = self.json(method, path, body, wanted);
        assert_eq!(answer["code"], code, "{method} {path}: {answer}");
    }
}

/// Answers what it was sent; prints a line; fails where that is `fail`.
const ECHO: &str =
    "#!/bin/sh\nbody=$(cat)\necho \"got $body\" >&2\n[ \"$body\" = fail ] && exit 3\nprintf %s \"$body\"\n";

fn archive(script: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "echo.sh", script.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn answers_are_as_described_and_everything_is_called() {
    let server = Server::start();
    let mut api = Api::new(&server);
    functions(&mut api);
    calls(&mut api);
    asynchronous(&mut api);
    schedules(&mut api);
    rest(&mut api);
    refusals(&mut api);
    api.json("DELETE", "/functions/echo", &Value::Null, 204);
    let all: BTreeSet<String> = api.document.operations().iter().map(document::Operation::name).collect();
    let left_out: Vec<&String> = all.difference(&api.called).collect();
    // An answer to HEAD has no body to check, and the other methods of a call are those that were made.
    assert!(left_out.is_empty(), "described, but never called: {left_out:?}");
}

fn manifest(api: &mut Api<'_>, name: &str, more: &Value) -> Value {
    let (status, stored) =
        api.send("POST", "/code", &[("content-type", "application/octet-stream")], &archive(ECHO));
    assert_eq!(status, 200);
    let stored: Value = serde_json::from_slice(&stored).unwrap();
    let mut manifest = json!({
        "name": name, "environment": "exec", "command": ["/app/echo.sh"], "contract": {"combine_output": false},
        "code": {"digest": stored["digest"], "format": "tar", "bytes": stored["bytes"]},
        "async": {"retry": {"attempts": 1}},
    });
    manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    manifest
}

fn functions(api: &mut Api<'_>) {
    let more = json!({
        "description": "says what it was told", "labels": {"team": "a"}, "annotations": {"b": "c"},
        "env": {"GREETING": "hi"}, "limits": {"memory": "64MiB", "timeout": "20s"},
        "scale": {"min": 0, "max": 4, "keep-alive": "5m"},
        "schedule": [{"name": "nightly", "cron": "0 3 * * *", "zone": "Europe/Berlin"}],
    });
    let first = manifest(api, "echo", &more);
    api.json("PUT", "/functions/echo", &first, 200);
    let mut second = first.clone();
    second["env"]["GREETING"] = "hello".into();
    second["async"] =
        json!({"retry": {"attempts": 1}, "on-failure": [{"to": "queue:failed", "headers": {"a": "b"}}]});
    let (status, events) =
        api.send("PUT", "/functions/echo", &[("accept", "text/event-stream")], second.to_string().as_bytes());
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&events).contains("\"done\""));
    assert_eq!(api.get("/functions").as_array().unwrap().len(), 1);
    assert_eq!(api.get("/functions/echo")["manifest"]["name"], "echo");
    assert_eq!(api.get("/functions/echo/revisions").as_array().unwrap().len(), 2);
    let split = json!({"shares": [{"revision": 1, "percent": 40}, {"revision": 2, "percent": 60}]});
    api.json("PUT", "/functions/echo/traffic", &split, 200);
    api.json("POST", "/functions/echo/rollback", &json!({"to": 2}), 200);
    api.json("POST", "/functions/echo/scale", &json!({"instances": 1}), 202);
}

fn calls(api: &mut Api<'_>) {
    for path in ["/functions/echo/invoke", "/functions/echo/invoke/a"] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert_eq!(api.send(method, path, &[], b"").0, 200, "{method} {path}");
        }
    }
    assert_eq!(api.send("POST", "/functions/echo/invoke", &[], b"hello").1, b"hello");
    let (status, answer) = api.send("POST", "/functions/echo/invoke", &[], b"fail");
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &answer["outcome"]), (502, &"crash".into()));
    api.refused("POST", "/functions/nobody/invoke", &Value::Null, 404, "XB2002");
    let (status, _) = api.send("POST", "/functions/echo/invoke", &[("x-xebec-timeout-ms", "soon")], b"");
    assert_eq!(status, 400);

    let failed = answer["invocation"].as_str().unwrap();
    eventually("the calls are recorded", || {
        let records = api.get("/invocations?limit=500")["records"].as_array().unwrap().len();
        records >= 16
    });
    eventually("what it printed is there", || {
        !api.get(&format!("/invocations/{failed}"))["logs"].as_array().unwrap().is_empty()
    });
    api.get("/records?outcome=crash&limit=1");
    api.get(&format!("/records/{failed}"));
    let (_, lines) = api.send("GET", "/invocations", &[("accept", "application/x-ndjson")], b"");
    assert!(lines.split(|byte| *byte == b'\n').count() >= 16);
    let (status, lines) = api.send("GET", "/functions/echo/logs?tail=5", &[], b"");
    assert!(status == 200 && !lines.is_empty());
    api.refused("POST", &format!("/invocations/{failed}/replay"), &Value::Null, 422, "XB2018");
}

fn asynchronous(api: &mut Api<'_>) {
    api.json("POST", "/functions/echo/pause", &Value::Null, 204);
    api.json("POST", "/queues/slow/pause", &Value::Null, 204);
    assert_eq!(api.get("/pauses").as_array().unwrap().len(), 2);
    api.json("POST", "/queues/slow/resume", &Value::Null, 204);
    let submit = |api: &mut Api<'_>, body: &[u8]| {
        let headers =
            [("x-xebec-async", "true"), ("x-xebec-priority", "7"), ("x-xebec-callback", "queue:done")];
        let (status, receipt) = api.send("POST", "/functions/echo/invoke", &headers, body);
        assert_eq!(status, 202);
        let receipt: Value = serde_json::from_slice(&receipt).unwrap();
        receipt["id"].as_str().unwrap().to_owned()
    };
    let waits = submit(api, b"hello");
    assert_eq!(api.get(&format!("/messages/{waits}"))["body"]["text"], "hello");
    assert_eq!(api.send("GET", &format!("/messages/{waits}/body"), &[], b"").1, b"hello");
    assert_eq!(api.get("/queues")[0]["waiting"], 1);
    assert_eq!(api.get("/messages?state=waiting&function=echo")["messages"].as_array().unwrap().len(), 1);
    // A replay has what it needs in the message of the call while that waits or is dead.
    api.json("DELETE", &format!("/messages/{waits}"), &Value::Null, 200);
    let (fails, also) = (submit(api, b"fail"), submit(api, b"fail"));
    api.json("POST", "/functions/echo/resume", &Value::Null, 204);
    eventually("they are dead", || {
        api.get("/messages?state=dead&function=echo")["messages"].as_array().unwrap().len() == 2
    });
    eventually("its record is there", || {
        let (status, _) = api.send("GET", &format!("/invocations/{fails}"), &[], b"");
        status == 200
    });
    assert_eq!(api.get("/queues").as_array().unwrap().iter().filter(|lane| lane["dead"] == 2).count(), 1);
    let again = api.json("POST", &format!("/invocations/{fails}/replay"), &Value::Null, 202);
    assert_eq!(again["replay_of"], fails.as_str());
    let redriven = api.json("POST", "/dead-letters/redrive", &json!({"ids": [fails], "rate": 10}), 200);
    assert_eq!(redriven["count"], 1);
    let discarded = api.json("POST", "/dead-letters/discard", &json!({"ids": [also]}), 200);
    assert_eq!(discarded["count"], 1);
}

fn schedules(api: &mut Api<'_>) {
    let schedule = json!({"function": "echo", "every": "1h", "call": {"body": "x", "headers": {"a": "b"}}});
    api.json("PUT", "/schedules/hourly", &schedule, 200);
    let (status, _) =
        api.send("PUT", "/schedules/hourly", &[("if-none-match", "*")], schedule.to_string().as_bytes());
    assert_eq!(status, 409);
    assert_eq!(api.json("POST", "/schedules/hourly/pause", &Value::Null, 200)["schedule"]["paused"], true);
    api.json("POST", "/schedules/hourly/resume", &Value::Null, 200);
    api.json("POST", "/schedules/hourly/fire", &Value::Null, 202);
    eventually("that it fired is told", || !api.get("/schedules/hourly")["last"].is_null());
    assert_eq!(api.get("/schedules").as_array().unwrap().len(), 2, "the manifest's is there, too");
    api.refused("DELETE", "/schedules/echo.nightly", &Value::Null, 409, "XB2014");
    api.json("DELETE", "/schedules/hourly", &Value::Null, 204);
}

fn rest(api: &mut Api<'_>) {
    api.json("PUT", "/secrets/token", &json!({"value": "aHVudGVyMg=="}), 200);
    assert_eq!(api.get("/secrets")[0]["name"], "token");
    api.json("DELETE", "/secrets/token", &Value::Null, 204);
    let key =
        api.json("POST", "/keys", &json!({"note": "x", "role": "invoke", "expires_in_seconds": 3600}), 201);
    assert!(key["token"].is_string());
    assert!(!api.get("/keys").as_array().unwrap().is_empty());
    api.json("DELETE", &format!("/keys/{}", key["id"].as_str().unwrap()), &Value::Null, 204);
    assert!(api.get("/info")["drivers"].is_array());
    assert!(!api.get("/environments").as_array().unwrap().is_empty());
    api.json("POST", "/collect-garbage", &Value::Null, 200);
    let folder = tempfile::tempdir().unwrap();
    api.json("POST", "/backup", &json!({"directory": folder.path().join("copy")}), 200);
    assert_eq!(api.get("/openapi.json")["openapi"], "3.1.0");
    events(api);
}

/// The events go on until somebody hangs up.
fn events(api: &mut Api<'_>) {
    let operation = api.document.operation("GET", "/xebec/v1/events");
    let url = format!("{}/xebec/v1/events", api.server.url);
    let (token, more) = (api.server.token(), manifest(api, "brief", &json!({})));
    let (head, text) = support::block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut answer = client.get(url).bearer_auth(&token).send().await.unwrap();
        let head = (answer.status().as_u16(), answer.headers().clone());
        let put = format!("{}/xebec/v1/functions/brief", api.server.url);
        client.put(put).bearer_auth(&token).json(&more).send().await.unwrap().error_for_status().unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"\n\n") {
            text.extend_from_slice(&answer.chunk().await.unwrap().unwrap());
        }
        (head, text)
    });
    api.document.check(&operation, head.0, &head.1, &text);
    api.called.insert(operation.name());
    api.json("DELETE", "/functions/brief", &Value::Null, 204);
}

fn refusals(api: &mut Api<'_>) {
    let none = Value::Null;
    api.refused("GET", "/functions/nobody", &none, 404, "XB2002");
    api.refused("GET", "/functions?tenant=No", &none, 400, "XB1001");
    api.refused("PUT", "/functions/other", &json!({"name": "echo", "image": "x"}), 400, "XB1001");
    api.refused("PUT", "/functions/other", &json!({"name": "other", "memmory": 1}), 400, "XB1008");
    let unknown = manifest(api, "other", &json!({"environment": "cobol"}));
    api.refused("PUT", "/functions/other", &unknown, 422, "XB2004");
    api.refused(
        "PUT",
        "/functions/echo/traffic",
        &json!({"shares": [{"revision": 1, "percent": 40}]}),
        400,
        "XB2007",
    );
    api.refused("GET", "/messages/not-an-id", &none, 400, "XB1014");
    api.refused("GET", "/messages/01970000-0000-7000-8000-000000000001", &none, 404, "XB4021");
    api.refused("GET", "/invocations?limit=many", &none, 400, "XB1009");
    api.refused("POST", "/dead-letters/discard", &json!({}), 400, "XB1013");
    api.refused("PUT", "/schedules/none", &json!({"function": "echo"}), 400, "XB1012");
    api.refused("PUT", "/secrets/token", &json!({"value": "?"}), 400, "XB1011");
    api.refused("DELETE", "/keys/none", &none, 404, "XB5002");
    api.refused("POST", "/backup", &json!({"directory": "relative"}), 400, "XB1012");
    let large = json!({"value": "x".repeat(3 << 20)});
    api.refused("PUT", "/secrets/token", &large, 413, "XB1007");
    // From the first key on, who manages must have one.
    let key = api.json("POST", "/keys", &json!({"role": "invoke"}), 201);
    let token = format!("Bearer {}", key["token"].as_str().unwrap());
    for path in ["/functions", "/functions/echo", "/info"] {
        assert_eq!(api.exchange("GET", path, &[("authorization", "Bearer wrong")], b"").0, 401);
    }
    assert_eq!(api.exchange("GET", "/functions", &[("authorization", &token)], b"").0, 403);
}

#[test]
fn each_path_takes_the_methods_that_are_described() {
    let server = Server::start();
    let api = Api::new(&server);
    for (path, described) in api.document.methods() {
        if path.contains("/invoke") {
            // Those take any.
            continue;
        }
        let filled = path.replace("{name}", "x").replace("{id}", "01970000-0000-7000-8000-000000000001");
        let (status, head, body) = support::exchange("TRACE", &format!("{}{filled}", server.url), &[], b"");
        assert_eq!(status, 405, "{path}: {}", String::from_utf8_lossy(&body));
        let allowed = head["allow"].to_str().unwrap().split(',').map(|method| method.trim().to_owned());
        // What takes GET takes HEAD.
        let allowed: BTreeSet<String> = allowed.filter(|method| method != "HEAD").collect();
        assert_eq!(allowed, described, "{path}");
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(error["code"], "XB1006");
    }
}

#[test]
fn the_description_holds_together() {
    let server = Server::start();
    let api = Api::new(&server);
    api.document.holds_together();
    let printed = Command::new(xebec()).arg("openapi").output().unwrap();
    assert!(printed.status.success());
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed, api.document.json, "what is printed is what is served");
}

#[test]
fn others_find_the_description_valid() {
    let probe =
        Command::new("python3").args(["-c", "import openapi_spec_validator"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        xebec_skipped::skipped!("there is no openapi-spec-validator (a Python package) on this machine");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, Command::new(xebec()).arg("openapi").output().unwrap().stdout).unwrap();
    let validator =
        Command::new("python3").args(["-m", "openapi_spec_validator"]).arg(&file).output().unwrap();
    assert!(validator.status.success(), "{}", support::text(&validator));
}
