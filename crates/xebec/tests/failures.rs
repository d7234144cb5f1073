//! The catalogue of outcomes: the same failing functions through every door, and what each makes of them.
//!
//! A function of the native door is called by OpenFaaS' address as well; an action that fails in the same way is put
//! up through OpenWhisk's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::json;
use std::{io::Write as _, net::TcpStream};
use support::{Server, eventually, exchange, has, openwhisk::Whisk};

/// What a door answers: the status, and what its body has in it.
type Wanted = (u16, &'static str);

/// One way to fail.
struct Failure {
    name: &'static str,
    /// The function's manifest without its name, and its code; `None`: there is no such function.
    native: Option<(&'static str, &'static [(&'static str, &'static str)])>,
    /// The action's code and limits.
    action: Option<(&'static str, &'static str)>,
    /// How large a body it is called with.
    body: usize,
    answers: Answers,
}

struct Answers {
    native: Wanted,
    openfaas: Wanted,
    openwhisk: Wanted,
    /// The record's status, where there is a record.
    record: &'static str,
}

const NODE: &str = "environment = \"node\"\n";

const CATALOGUE: &[Failure] = &[
    Failure {
        name: "says-so",
        native: Some((
            NODE,
            &[(
                "handler.js",
                "module.exports = async (event, context) => context.status(500).fail('no such luck')",
            )],
        )),
        action: Some(("function main () { return { error: 'no such luck' } }", "{}")),
        body: 0,
        answers: Answers {
            native: (500, "no such luck"),
            openfaas: (500, "no such luck"),
            openwhisk: (502, "\"error\":\"no such luck\""),
            record: "application error",
        },
    },
    Failure {
        name: "timeout",
        native: Some((
            "environment = \"node\"\nlimits = { timeout = \"500ms\", first-byte-timeout = \"500ms\" }\n",
            &[("handler.js", "module.exports = () => new Promise(() => {})")],
        )),
        action: Some(("function main () { return new Promise(() => {}) }", r#"{"timeout": 500}"#)),
        body: 0,
        answers: Answers {
            native: (504, "XB2110"),
            openfaas: (504, ""),
            openwhisk: (502, "The action exceeded its time limits of 500 milliseconds."),
            record: "action developer error",
        },
    },
    Failure {
        name: "crash",
        native: Some((NODE, &[("handler.js", "module.exports = async () => process.exit(3)")])),
        action: Some(("function main () { process.exit(3) }", "{}")),
        body: 0,
        answers: Answers {
            native: (502, "XB2111"),
            openfaas: (500, ""),
            openwhisk: (502, "The action did not produce a valid response and exited unexpectedly."),
            record: "action developer error",
        },
    },
    Failure {
        name: "bad-init",
        native: Some((NODE, &[("handler.js", "module.exports = (")])),
        action: Some(("function main (", "{}")),
        body: 0,
        answers: Answers {
            native: (502, "XB2113"),
            openfaas: (500, "SyntaxError"),
            openwhisk: (502, "SyntaxError"),
            record: "action developer error",
        },
    },
    Failure {
        name: "bad-response",
        native: Some((
            "environment = \"http\"\ncommand = [\"node\", \"/app/serve.js\"]\n",
            &[(
                "serve.js",
                "require('net').createServer(socket => {\n  socket.on('error', () => {})\n  \
                 socket.once('data', () => socket.end('this is no HTTP\\r\\n\\r\\n'))\n}).listen(process.env.PORT)\n",
            )],
        )),
        action: Some(("function main () { return 'this is no object' }", "{}")),
        body: 0,
        answers: Answers {
            native: (502, "XB2114"),
            openfaas: (500, ""),
            openwhisk: (502, "\"status\":\"action developer error\""),
            record: "action developer error",
        },
    },
    Failure {
        name: "not-found",
        native: None,
        action: None,
        body: 0,
        answers: Answers {
            native: (404, "XB2002"),
            openfaas: (404, "not-found"),
            openwhisk: (404, "The requested resource does not exist."),
            record: "",
        },
    },
    Failure {
        name: "too-large",
        native: Some((
            "environment = \"node\"\nlimits = { request = \"1MiB\" }\n",
            &[("handler.js", "module.exports = async () => 'fine'")],
        )),
        action: Some(("function main () { return {} }", "{}")),
        body: 1024 * 1024 + 1,
        answers: Answers {
            native: (413, "XB2122"),
            openfaas: (413, ""),
            openwhisk: (413, "Request larger than allowed: "),
            record: "",
        },
    },
];

/// A JSON object of so many bytes.
fn body(bytes: usize) -> Vec<u8> {
    let mut body = b"{\"x\":\"".to_vec();
    body.resize(bytes.saturating_sub(2).max(body.len()), b'x');
    body.extend(b"\"}");
    body
}

/// Calls by one of the native addresses, and compares.
fn hold(door: &str, url: &str, failure: &Failure, wanted: Wanted) -> Vec<String> {
    let (status, _, answer) =
        exchange("POST", url, &[("content-type", "application/json")], &body(failure.body));
    differs(door, failure.name, status, &answer, wanted)
}

fn differs(door: &str, name: &str, status: u16, answer: &[u8], (wanted, says): Wanted) -> Vec<String> {
    let answer = String::from_utf8_lossy(answer);
    match status == wanted && answer.contains(says) {
        true => Vec::new(),
        false => {
            vec![format!("{name} through {door}: {status} {answer}\n   in place of {wanted} with {says:?}")]
        }
    }
}

#[test]
fn each_outcome_through_each_door() {
    if !has("node") {
        return;
    }
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let mut wrong = Vec::new();
    for failure in CATALOGUE {
        let Failure { name, answers, .. } = failure;
        if let Some((manifest, files)) = failure.native {
            server.deploy(&format!("name = \"{name}\"\n{manifest}"), files);
        }
        if let Some((code, limits)) = failure.action {
            let limits: serde_json::Value = serde_json::from_str(limits).unwrap();
            whisk.action(name, "nodejs:default", code, &json!({ "limits": limits }));
        }
        let native = format!("{}/xebec/v1/functions/{name}/invoke", server.url);
        wrong.extend(hold("the native door", &native, failure, answers.native));
        wrong.extend(hold("OpenFaaS' door", &server.function(name), failure, answers.openfaas));
        let answer =
            whisk.send_with("POST", &format!("actions/{name}?blocking=true"), &[], &body(failure.body));
        wrong.extend(differs("OpenWhisk's door", name, answer.status, &answer.body, answers.openwhisk));
        if !answers.record.is_empty() {
            let record = answer.json();
            assert_eq!(record["response"]["status"], answers.record, "{name}: {record}");
            let id = record["activationId"].as_str().unwrap().to_owned();
            assert_eq!(whisk.activation(&id)["response"]["status"], answers.record, "{name}");
        } else {
            assert_eq!(answer.json()["code"], answer.header("x-request-id"), "{name}: {answer}");
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), server.log());
}

/// A call whose answer nobody waits for; it is over when this is dropped.
fn begun(server: &Server, path: &str) -> TcpStream {
    let host = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn overload_through_each_door() {
    if !has("node") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("xebec.toml"), "[openwhisk]\nconcurrent-invocations = 3\n").unwrap();
    let server = Server::start_in(folder.path(), &[]);
    let code = "module.exports = () => new Promise(() => {})";
    let manifest = "name = \"busy\"\nenvironment = \"node\"\nscale = { max = 1, queue = 1 }\n\
        limits = { concurrency = 1, timeout = \"10m\", first-byte-timeout = \"10m\", wait-timeout = \"10m\" }\n";
    server.deploy(manifest, &[("handler.js", code)]);
    let token = format!("Bearer {}", server.token());
    let live = |what: &str| {
        let url = format!("{}/xebec/v1/functions/busy", server.url);
        let (_, _, body) = exchange("GET", &url, &[("authorization", &token)], b"");
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["live"][what].as_u64().unwrap()
    };
    let _first = begun(&server, "/function/busy");
    eventually("it is busy", || live("in_flight") == 1);
    let _second = begun(&server, "/function/busy");
    eventually("one waits", || live("waiting") == 1);
    let native = format!("{}/xebec/v1/functions/busy/invoke", server.url);
    for (door, url, says) in
        [("the native door", native, "XB2120"), ("OpenFaaS' door", server.function("busy"), "")]
    {
        let (status, headers, answer) = exchange("POST", &url, &[], b"");
        assert_eq!(differs(door, "overloaded", status, &answer, (429, says)), [""; 0]);
        assert!(headers.contains_key("retry-after"), "{door}: {headers:?}");
    }

    let whisk = Whisk::new(&server);
    let slow = "function main () { return new Promise(done => setTimeout(done, 290000)) }";
    whisk.action(
        "slow",
        "nodejs:default",
        slow,
        &json!({"limits": {"timeout": 300_000, "concurrency": 100}}),
    );
    let allowed = whisk.get("limits").ok()["concurrentInvocations"].as_u64().unwrap();
    for n in 0..allowed {
        let answer = whisk.post("actions/slow?blocking=true&timeout=1", &json!({}));
        assert_eq!(answer.status, 202, "{n} of {allowed}: {answer}");
    }
    let answer = whisk.call("slow", &json!({}));
    assert_eq!(answer.status, 429, "{answer}");
    assert!(
        answer.json()["error"].as_str().unwrap().starts_with("Too many concurrent requests in flight"),
        "{answer}"
    );
}
