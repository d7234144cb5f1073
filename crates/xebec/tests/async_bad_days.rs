//! What goes wrong with calls that outlive their caller, on the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::Value;
use support::{
    Server, eventually, exchange, http,
    nats::Nats,
    sink::{Reply, Sink},
    small_disk::SmallDisk,
};

const CAT: &str = "environment = \"exec\"\ncommand = [\"cat\"]\n";

/// Results are tried again at once, so that tests need not wait.
const SOON: &str = "min-wait = \"10ms\"\nmax-wait = \"50ms\"\n";

fn cat(server: &Server, name: &str, more: &str) {
    server.deploy(&format!("name = \"{name}\"\n{CAT}{more}"), &[("unused", "x")]);
}

fn script(server: &Server, name: &str, code: &str, more: &str) {
    let manifest = format!("name = \"{name}\"\nenvironment = \"exec\"\ncommand = [\"/app/run\"]\n{more}");
    server.deploy(&manifest, &[("run", &format!("#!/bin/sh\n{code}\n"))]);
}

/// Hands a call over; status and the call's id.
fn submit(server: &Server, name: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let url = format!("{}/xebec/v1/functions/{name}/invoke", server.url);
    let headers = [&[("x-xebec-async", "true")], headers].concat();
    let (status, _, body) = exchange("POST", &url, &headers, body);
    let receipt: Value = serde_json::from_slice(&body).unwrap_or_default();
    (status, receipt["id"].as_str().unwrap_or_default().to_owned())
}

fn accepted(server: &Server, name: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let (status, id) = submit(server, name, headers, body);
    assert_eq!(status, 202, "{}", server.log());
    assert!(!id.is_empty());
    id
}

fn get(server: &Server, path: &str) -> Value {
    let (status, body) = http("GET", &format!("{}{path}", server.url), &[], b"");
    if status == 404 {
        return Value::Null;
    }
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

/// Why a message is a dead letter, once it is one.
fn death(server: &Server, id: &str) -> String {
    let mut death = String::new();
    eventually("it is a dead letter", || {
        let entry = get(server, &format!("/xebec/v1/messages/{id}"));
        death = entry["death"].as_str().unwrap_or_default().to_owned();
        !death.is_empty()
    });
    death
}

fn outcome(server: &Server, id: &str) -> Option<String> {
    let record = get(server, &format!("/xebec/v1/records/{id}"));
    record["outcome"].as_str().map(str::to_owned)
}

fn running(server: &Server, id: &str) -> bool {
    get(server, &format!("/xebec/v1/messages/{id}"))["state"] == "running"
}

#[test]
fn results_outlast_receivers_that_fail() {
    let server = Server::start();
    cat(&server, "f", "");
    // Each receiver fails in its own way first, and takes the second try.
    for what in ["an error", "a reset"] {
        let sink = Sink::with(move |number, _| match (number, what) {
            (0, "an error") => Reply::Status(503, "retry-after: 0\r\n".to_owned()),
            (0, _) => Reply::Reset,
            _ => Reply::Status(200, String::new()),
        });
        accepted(&server, "f", &[("x-xebec-callback", &sink.url("/result"))], b"the result");
        eventually(what, || sink.count() >= 2);
        let last = sink.arrived().pop().unwrap();
        assert!(last.text().contains("the result"), "{what}: {last:?}");
    }
}

#[test]
fn a_redirect_without_end_is_a_dead_letter() {
    let server = Server::start();
    cat(&server, "f", "");
    let sink = Sink::with(|_, _| Reply::Status(307, "location: /round\r\n".to_owned()));
    accepted(&server, "f", &[("x-xebec-callback", &sink.url("/result"))], b"x");
    let mut letter = Value::Null;
    eventually("the result is a dead letter", || {
        letter = get(&server, "/xebec/v1/messages?state=dead&queue=results")["messages"][0].clone();
        !letter.is_null()
    });
    assert!(letter["why"].as_str().unwrap().contains("sent on more than 5 times"), "{letter}");
    assert_eq!(sink.count(), 6);
}

#[test]
fn a_receiver_that_hangs_holds_up_nobody_else() {
    let server = Server::start();
    cat(&server, "f", "");
    let hanging = Sink::with(|_, _| Reply::Hang(support::PATIENCE));
    let healthy = Sink::new();
    for _ in 0..40 {
        accepted(&server, "f", &[("x-xebec-callback", &hanging.url("/"))], b"x");
    }
    for _ in 0..10 {
        accepted(&server, "f", &[("x-xebec-callback", &healthy.url("/"))], b"x");
    }
    eventually("the healthy one gets its results", || healthy.count() >= 10);
    assert!(hanging.count() < 40, "the hanging one does not take all there is");
}

#[test]
fn a_queue_of_failing_messages_beside_a_healthy_function() {
    let server = Server::start();
    let retry = format!("[async.retry]\nattempts = 3\n{SOON}");
    script(&server, "broken", "exit 3", &retry);
    cat(&server, "healthy", "");
    let broken: Vec<_> = (0..50).map(|_| accepted(&server, "broken", &[], b"x")).collect();
    let healthy: Vec<_> = (0..20).map(|_| accepted(&server, "healthy", &[], b"x")).collect();
    for id in &healthy {
        eventually("it is done", || outcome(&server, id).as_deref() == Some("success"));
    }
    for id in &broken {
        assert_eq!(death(&server, id), "exhausted");
        let record = get(&server, &format!("/xebec/v1/records/{id}"));
        assert_eq!(
            (&record["outcome"], &record["attempt"]),
            (&"function_error".into(), &3.into()),
            "{record}"
        );
    }
}

#[test]
fn a_message_that_takes_the_server_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(folder.path(), &[]);
    script(&server, "poison", "sleep 1000", "[limits]\ntimeout = \"20m\"\n[async.retry]\nattempts = 1\n");
    cat(&server, "healthy", "");
    let id = accepted(&server, "poison", &[], b"x");
    for _ in 0..5 {
        eventually("it runs", || running(&server, &id));
        server.kill();
        server = Server::start_in(folder.path(), &[]);
    }
    assert_eq!(death(&server, &id), "poison");
    assert!(outcome(&server, &id).is_some(), "there is a record that says so");
    let after = accepted(&server, "healthy", &[], b"x");
    eventually("others go on", || outcome(&server, &after).as_deref() == Some("success"));
}

#[test]
fn at_most_once_is_not_begun_again_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    script(&server, "once", "sleep 1000", "[limits]\ntimeout = \"20m\"\n");
    let id = accepted(&server, "once", &[("x-xebec-at-most-once", "true")], b"x");
    eventually("it runs", || running(&server, &id));
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    assert_eq!(death(&server, &id), "interrupted");
    let record = get(&server, &format!("/xebec/v1/records/{id}"));
    assert_eq!(record["outcome"], "platform_error", "{record}");
}

#[test]
fn a_chain_without_end_is_a_dead_letter() {
    let server = Server::start();
    cat(&server, "ring", "[async]\non-success = [\"function:ring\"]\n");
    accepted(&server, "ring", &[], b"round and round");
    let mut letter = Value::Null;
    eventually("the chain ends", || {
        letter = get(&server, "/xebec/v1/messages?state=dead")["messages"][0].clone();
        !letter.is_null()
    });
    assert_eq!(letter["death"], "loop", "{letter}");
    let calls = get(&server, "/xebec/v1/records?limit=100")["records"].as_array().unwrap().clone();
    let made = calls.iter().filter(|call| call["outcome"] == "success").count();
    assert_eq!(made, 16, "that many calls are in order");
}

#[test]
fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let server = Server::start_in(&disk.path().join("data"), &[]);
    cat(&server, "f", "");
    server.ok(&["queue", "pause", "default"]);
    let sink = Sink::new();
    let callback = [("x-xebec-callback", &*sink.url("/"))];
    let mut kept: Vec<_> = (0..20).map(|_| accepted(&server, "f", &callback, b"kept")).collect();
    let filler = disk.fill();
    let mut refused = None;
    for _ in 0..200 {
        let (status, id) = submit(&server, "f", &callback, &[b'x'; 60_000]);
        match status {
            202 => kept.push(id),
            status => {
                refused = Some(status);
                break;
            }
        }
    }
    let listed = server.ok(&["queue", "ls"]);
    std::fs::remove_file(&filler).unwrap();
    server.ok(&["queue", "resume", "default"]);
    let all = || sink.count() >= kept.len();
    eventually("what was accepted is called", all);
    let after = submit(&server, "f", &callback, b"again").0;
    drop(server);
    assert_eq!(refused, Some(503), "it says that it is full");
    assert!(listed.contains("default"), "reads go on: {listed}");
    assert_eq!(after, 202, "it goes on when there is room again");
}

#[test]
fn wishes_that_cannot_be_met_are_refused_by_name() {
    let server = Server::start();
    cat(&server, "f", "");
    for (header, value) in [
        ("x-xebec-delay", "soon"),
        ("x-xebec-delay", "1000000h"),
        ("x-xebec-priority", "11"),
        ("x-xebec-callback", "ftp://nowhere"),
        ("x-xebec-key", ""),
    ] {
        let url = format!("{}/xebec/v1/functions/f/invoke", server.url);
        let (status, body) = http("POST", &url, &[("x-xebec-async", "true"), (header, value)], b"x");
        let said = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, 400, "{header}: {value}: {said}");
        let field = header.trim_start_matches("x-xebec-");
        assert!(said.contains(field), "{header}: {value}: {said}");
    }
    let (status, _) = submit(&server, "nobody", &[], b"x");
    assert_eq!(status, 404);
}

#[test]
fn a_nats_server_that_does_not_sync_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(nats) = Nats::start(&folder.path().join("nats"), "\"2m\"") else { return };
    let data = folder.path().join("data");
    let said = Server::try_start_in(&data, &nats.arguments().each_ref().map(String::as_str))
        .err()
        .expect("it is refused");
    assert!(said.contains("sync_interval: always"), "{said}");
}

#[test]
fn nats_away_is_said_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut nats) = Nats::start(&folder.path().join("nats"), "always") else { return };
    let data = folder.path().join("data");
    let server = Server::start_in(&data, &nats.arguments().each_ref().map(String::as_str));
    cat(&server, "f", "");
    let sink = Sink::new();
    let callback = [("x-xebec-callback", &*sink.url("/")), ("x-xebec-delay", "1s")];
    for _ in 0..20 {
        accepted(&server, "f", &callback, b"x");
    }
    nats.kill();
    let mut refused = 0;
    eventually("it says that the queue is away", || {
        refused = submit(&server, "f", &[], b"x").0;
        refused != 202
    });
    assert_eq!(refused, 503);
    assert_eq!(http("POST", &server.function("f"), &[], b"sync").1, b"sync", "calls that wait need no queue");
    nats.restart();
    eventually("what was accepted is called", || sink.count() >= 20);
    eventually("more is accepted", || submit(&server, "f", &[], b"x").0 == 202);
}
