//! Flows on the real server, which is killed in the middle of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use std::{io::Write as _, net::TcpStream};
use support::{
    Server, eventually,
    openwhisk::{Whisk, value},
};

/// Does not answer within a test.
const NEVER: &str = "function main () { return new Promise(done => setTimeout(done, 290000)) }";
const QUICK: &str = "function main (params) { return { n: (params.n || 0) + 1 } }";

/// A server with some actions that answer at once and one that does not.
fn with_actions(folder: &std::path::Path) -> Server {
    let server = Server::start_in(folder, &[]);
    let whisk = Whisk::new(&server);
    for name in ["first", "second", "last"] {
        whisk.node(name, QUICK);
    }
    whisk.action("never", "nodejs:default", NEVER, &json!({"limits": {"timeout": 300_000}}));
    server
}

fn sequence(whisk: &Whisk<'_>, name: &str, components: &[&str]) {
    let components: Vec<_> = components.iter().map(|name| format!("/_/{name}")).collect();
    whisk
        .put(&format!("actions/{name}"), &json!({"exec": {"kind": "sequence", "components": components}}))
        .ok();
}

/// Calls without waiting for the result.
fn accepted(whisk: &Whisk<'_>, name: &str) -> String {
    let answer = whisk.post(&format!("actions/{name}"), &json!({}));
    assert_eq!(answer.status, 202, "{answer}");
    answer.json()["activationId"].as_str().unwrap().to_owned()
}

/// The ids of an action's records, oldest first.
fn records(whisk: &Whisk<'_>, name: &str) -> Vec<String> {
    let listed = whisk.get(&format!("activations?name={name}&limit=200")).ok();
    let ids = listed.as_array().unwrap().iter().rev();
    ids.map(|record| record["activationId"].as_str().unwrap().to_owned()).collect()
}

fn has_records(whisk: &Whisk<'_>, name: &str, count: usize) {
    eventually(&format!("{count} records of {name}"), || records(whisk, name).len() == count);
}

/// A record that says that its run was interrupted after these steps.
#[track_caller]
fn interrupted(whisk: &Whisk<'_>, id: &str, steps: &[String]) -> Value {
    let record = whisk.activation(id);
    assert_eq!(record["response"]["status"], "whisk internal error", "{record}");
    let error = record["response"]["result"]["error"].as_str().unwrap();
    assert!(error.contains("it was interrupted"), "{error}");
    assert_eq!(record["logs"], json!(steps), "{record}");
    for step in steps {
        assert_eq!(whisk.activation(step)["cause"], id);
    }
    record
}

#[test]
fn a_sequence_that_was_interrupted_has_one_record_and_runs_no_further() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_actions(folder.path());
    let whisk = Whisk::new(&server);
    sequence(&whisk, "inner", &["second", "never", "last"]);
    sequence(&whisk, "outer", &["first", "inner", "last"]);
    let id = accepted(&whisk, "outer");
    has_records(&whisk, "second", 1);
    assert_eq!(whisk.get(&format!("activations/{id}")).status, 404, "it runs still");
    server.kill();

    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    let inner = records(&whisk, "inner");
    assert_eq!(inner.len(), 1, "{inner:?}");
    let steps = [records(&whisk, "first"), inner.clone()].concat();
    interrupted(&whisk, &id, &steps);
    interrupted(&whisk, &inner[0], &records(&whisk, "second"));
    assert_eq!(records(&whisk, "outer"), [id.as_str()]);
    // The queue has nothing more to do, and nothing was made again.
    eventually("the queue to be empty", || !server.ok(&["queue", "messages", "-o", "json"]).contains(&id));
    assert_eq!(whisk.result("first", &json!({})), json!({"n": 1}));
    for (name, count) in [("first", 2), ("second", 1), ("never", 0), ("last", 0), ("inner", 1), ("outer", 1)]
    {
        has_records(&whisk, name, count);
    }
    // It is as it was after one more start.
    let record = whisk.activation(&id);
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    assert_eq!(whisk.activation(&id), record);
    sequence(&whisk, "fine", &["first", "second"]);
    assert_eq!(whisk.result("fine", &json!({})), json!({"n": 2}));
}

#[test]
fn so_has_a_conductor_and_a_call_that_had_turned_into_202() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_actions(folder.path());
    let whisk = Whisk::new(&server);
    let code = "function main (params) {
        return params.n ? { action: 'never' } : { action: 'first', state: { kept: 1 } }
    }";
    let annotations = json!({"annotations": [{"key": "conductor", "value": true}]});
    whisk.action("conductor", "nodejs:default", code, &annotations);
    let answer = whisk.post("actions/conductor?blocking=true&timeout=300", &json!({}));
    assert_eq!(answer.status, 202, "{answer}");
    let id = answer.json()["activationId"].as_str().unwrap().to_owned();
    has_records(&whisk, "conductor", 2);
    server.kill();

    let server = Server::start_in(folder.path(), &[]);
    let whisk = Whisk::new(&server);
    let runs: Vec<_> = records(&whisk, "conductor").into_iter().filter(|run| *run != id).collect();
    assert_eq!(runs.len(), 2, "it was asked twice");
    let steps = [runs[0].clone(), records(&whisk, "first")[0].clone(), runs[1].clone()];
    let record = interrupted(&whisk, &id, &steps);
    assert_eq!(value(&record["annotations"], "conductor"), &json!(true), "{record}");
    has_records(&whisk, "first", 1);
    has_records(&whisk, "never", 0);
}

/// A caller who goes away does not end what was begun.
#[test]
fn a_sequence_goes_on_without_its_caller() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_actions(folder.path());
    let whisk = Whisk::new(&server);
    let slow = "function main (params) { return new Promise(done => setTimeout(() => done(params), 1000)) }";
    whisk.node("slow", slow);
    sequence(&whisk, "chain", &["first", "slow", "last"]);
    let address = server.url.strip_prefix("http://").unwrap();
    let mut caller = TcpStream::connect(address).unwrap();
    write!(
        caller,
        "POST /api/v1/namespaces/_/actions/chain?blocking=true HTTP/1.1\r\nhost: {address}\r\nauthorization: {}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
        whisk.authorization()
    )
    .unwrap();
    has_records(&whisk, "first", 1);
    drop(caller);
    has_records(&whisk, "chain", 1);
    let record = whisk.activation(&records(&whisk, "chain")[0]);
    assert_eq!(record["response"]["result"], json!({"n": 2}), "{record}");
    assert_eq!(record["logs"].as_array().unwrap().len(), 3, "{record}");
    assert!(record["duration"].as_u64().unwrap() >= 1000, "what its steps took: {record}");
    assert_eq!(value(&record["annotations"], "topmost"), &json!(true));
}
