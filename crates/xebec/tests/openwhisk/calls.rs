//! Calls at the edges: waits that end, sizes, logs that are cut off, calls at the same time, throttles.

use crate::support::{
    Server, eventually,
    openwhisk::{Whisk, value},
};
use serde_json::{Value, json};

/// Answers after so many milliseconds.
const SLOW: &str =
    "function main ({ ms }) { return new Promise(done => setTimeout(() => done({ ms }), ms)) }";

#[test]
fn a_wait_that_ends_before_the_call() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    whisk.node("slow", SLOW);
    // Long enough that no stall of the machine lets it answer within the wait.
    let answer = whisk.post("actions/slow?blocking=true&result=true&timeout=100", &json!({"ms": 8000}));
    assert_eq!(answer.status, 202, "{answer}");
    let id = answer.json()["activationId"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("x-openwhisk-activation-id"), id);
    assert_eq!(answer.json(), json!({"activationId": id}));
    let record = whisk.activation(&id);
    assert_eq!(record["response"]["result"], json!({"ms": 8000}), "it ran on: {record}");
    for wrong in ["0", "60001", "-1", "soon"] {
        let answer = whisk.post(&format!("actions/slow?blocking=true&timeout={wrong}"), &json!({}));
        assert_eq!(answer.status, 400, "{wrong}: {answer}");
    }
    let sequence = json!({"exec": {"kind": "sequence", "components": ["/_/slow", "/_/slow"]}});
    whisk.put("actions/twice", &sequence).ok();
    let answer = whisk.post("actions/twice?blocking=true&timeout=100", &json!({"ms": 3000}));
    assert_eq!(answer.status, 202, "{answer}");
    let record = whisk.activation(answer.json()["activationId"].as_str().unwrap());
    assert_eq!(record["response"]["result"], json!({"ms": 3000}));
    assert_eq!(record["logs"].as_array().unwrap().len(), 2, "{record}");
}

#[test]
fn a_client_that_goes_away_changes_nothing() {
    use std::io::Write as _;
    let server = Server::start();
    let whisk = Whisk::new(&server);
    whisk.node("slow", SLOW);
    let body = json!({"ms": 3000}).to_string();
    let host = server.url.trim_start_matches("http://");
    let request = format!(
        "POST /api/v1/namespaces/_/actions/slow?blocking=true HTTP/1.1\r\nhost: {host}\r\nauthorization: {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        whisk.authorization(),
        body.len()
    );
    let mut connection = std::net::TcpStream::connect(host).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let recorded = || {
        let list = whisk.get("activations?name=slow&docs=true").ok();
        list.as_array().unwrap().iter().any(|record| record["response"]["result"] == json!({"ms": 3000}))
    };
    eventually("the call has begun", || whisk.in_flight("slow") || recorded());
    drop(connection);
    eventually("it is recorded", recorded);
}

#[test]
fn sizes() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    whisk.node("echo", "function main ({ n }) { return n ? { text: 'x'.repeat(n) } : {} }");
    let large = whisk.call("echo", &json!({"text": "x".repeat(1024 * 1024)}));
    assert_eq!(large.status, 413, "{}", large.status);
    let said = large.json()["error"].as_str().unwrap().to_owned();
    assert!(
        said.starts_with("Request larger than allowed: ") && said.ends_with(" > 1048576 bytes."),
        "{said}"
    );
    let fits = whisk.call("echo", &json!({"text": "x".repeat(1024 * 1024 - 100)}));
    assert_eq!(fits.status, 200, "{}", fits.text());

    let answer = whisk.call("echo", &json!({"n": 1024 * 1024}));
    assert_eq!(answer.status, 502, "{}", answer.status);
    let record = answer.json();
    assert_eq!(record["response"]["status"], "application error");
    let error = record["response"]["result"]["error"].as_str().unwrap();
    let begins = "The action produced a response that exceeded the allowed length: ";
    assert!(error.starts_with(begins) && error.contains(" > 1048576 bytes."), "{}", &error[..200]);
    assert!(error.contains("The truncated response was: {\"text\":\"xxx"), "{}", &error[..300]);

    let parameters = json!({
        "exec": {"kind": "nodejs:default", "code": "function main () {}"},
        "parameters": [{"key": "a", "value": "x".repeat(1024 * 1024)}],
    });
    let refused = whisk.put("actions/parameters", &parameters);
    assert_eq!(refused.status, 413, "{}", refused.text());
}

#[test]
fn a_log_is_cut_off_at_its_limit() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    let code = "function main () { for (let i = 0; i < 3000; i++) console.log('x'.repeat(1000)); return { done: true } }";
    whisk.action("talks", "nodejs:default", code, &json!({"limits": {"logs": 1}}));
    let record = whisk.call("talks", &json!({})).ok();
    assert_eq!(record["response"]["result"], json!({"done": true}));
    let record = whisk.activation(record["activationId"].as_str().unwrap());
    let logs = record["logs"].as_array().unwrap();
    let last = logs.last().unwrap().as_str().unwrap();
    let says = "Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes.";
    assert!(last.contains(says), "{last}");
    let bytes: usize = logs.iter().map(|line| line.as_str().unwrap().len()).sum();
    assert!((512 * 1024..2 * 1024 * 1024).contains(&bytes), "{bytes} bytes in {} lines", logs.len());
    whisk.action("mute", "nodejs:default", code, &json!({"limits": {"logs": 0}}));
    let mute = whisk.call("mute", &json!({})).ok();
    let mute = whisk.activation(mute["activationId"].as_str().unwrap());
    assert!(mute["logs"].as_array().unwrap().len() <= 1, "{mute}");
}

#[test]
fn calls_at_the_same_time() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    // Each call waits until the other is there, so they end only if one instance takes both at once.
    let code = "let waiting = []\nfunction main ({ n }) { return new Promise(done => {\n  waiting.push(() => done({ n, pid: process.pid }))\n  \
                if (waiting.length === 2) { for (const wake of waiting) wake(); waiting = [] }\n}) }";
    whisk.action("pair", "nodejs:default", code, &json!({"limits": {"concurrency": 2, "timeout": 60000}}));
    let results: Vec<Value> = std::thread::scope(|scope| {
        let call = |n| whisk.result("pair", &json!({ "n": n }));
        let second = scope.spawn(move || call(1));
        vec![call(0), second.join().unwrap()]
    });
    assert_eq!((&results[0]["n"], &results[1]["n"]), (&json!(0), &json!(1)), "each gets its own answer");
    assert_eq!(results[0]["pid"], results[1]["pid"]);
    let wrong = whisk.put("actions/pair?overwrite=true", &json!({"limits": {"concurrency": 100_000}}));
    assert_eq!(wrong.status, 400, "{wrong}");
}

#[test]
fn deadlines_and_what_a_record_says_of_time() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    whisk.action("late", "nodejs:default", SLOW, &json!({"limits": {"timeout": 500}}));
    let record = whisk.call("late", &json!({"ms": 60_000})).json();
    assert_eq!(
        record["response"]["result"]["error"],
        "The action exceeded its time limits of 500 milliseconds."
    );
    assert_eq!(value(&record["annotations"], "timeout"), &json!(true), "{record}");
    assert_eq!(value(&record["annotations"], "limits")["timeout"], 500);
    whisk.action("stuck", "nodejs:default", "while (true) {}", &json!({"limits": {"timeout": 500}}));
    let record = whisk.call("stuck", &json!({})).json();
    assert_eq!(
        record["response"]["result"]["error"],
        "The action exceeded its time limits of 500 milliseconds during initialization."
    );
    // The instance that hung is gone; the next call gets another one.
    whisk.node("late", SLOW);
    assert_eq!(whisk.result("late", &json!({"ms": 1})), json!({"ms": 1}));
}

#[test]
fn throttles_and_a_namespaces_own_limits() {
    let server = Server::start();
    let whisk = Whisk::new(&server);
    whisk.node("quick", "function main () { return {} }");
    whisk.put("triggers/t", &json!({})).ok();
    whisk.put("rules/r", &json!({"trigger": "/_/t", "action": "/_/quick"})).ok();
    let own = json!({
        "invocationsPerMinute": 0, "firesPerMinute": 0, "allowedKinds": ["nodejs:20"], "maxActionTimeout": 1000,
    });
    let shown = whisk.put("limits", &own).ok();
    assert_eq!(
        (&shown["invocationsPerMinute"], &shown["maxActionTimeout"]),
        (&json!(0), &json!(1000)),
        "{shown}"
    );
    let refused = "Too many requests in the last minute (count: 1, allowed: 0).";
    whisk.call("quick", &json!({})).refused(429, refused);
    whisk.post("actions/quick", &json!({})).refused(429, refused);
    whisk.post("triggers/t", &json!({})).refused(429, refused);
    let python =
        whisk.put("actions/py", &json!({"exec": {"kind": "python:default", "code": "def main(args): pass"}}));
    assert_eq!(python.status, 403, "{python}");
    let long = whisk.put("actions/quick?overwrite=true", &json!({"limits": {"timeout": 1001}}));
    assert_eq!(long.status, 400, "{long}");
    whisk.delete("limits").ok();
    whisk.call("quick", &json!({})).ok();
}
