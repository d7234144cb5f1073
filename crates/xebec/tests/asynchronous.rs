//! Calls that outlive their caller, as users of the command line make, see and steer them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::Value;
use std::time::{Duration, Instant};
use support::{Server, eventually, sink::Sink, text};

/// Deploys a function that is a program.
fn deploy(server: &Server, name: &str, program: &str, more: &str) {
    let manifest = format!("name = \"{name}\"\nenvironment = \"exec\"\ncommand = [\"{program}\"]\n{more}");
    server.deploy(&manifest, &[("unused", "x")]);
}

/// What a command prints as JSON.
fn json(server: &Server, arguments: &[&str]) -> Value {
    let printed = server.ok(&[arguments, &["-o", "json"]].concat());
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

/// The id that `invoke --async` prints.
fn submit(server: &Server, arguments: &[&str]) -> String {
    let printed = server.ok(&[&["invoke", "--async"], arguments].concat());
    let id = printed.trim().to_owned();
    assert_eq!(id.len(), 36, "not just an id: {printed:?}");
    id
}

#[test]
fn a_call_is_made_and_its_result_arrives() {
    let (server, sink) = (Server::start(), Sink::new());
    deploy(&server, "echo", "cat", "");
    let id = submit(&server, &["echo", "-d", "hello", "--callback", &sink.url("/done")]);
    eventually("the result arrives", || sink.count() == 1);
    let result: Value = serde_json::from_str(&sink.arrived()[0].text()).unwrap();
    assert_eq!((&result["id"], &result["outcome"]), (&Value::from(id.as_str()), &"success".into()));
    assert_eq!(result["answer"]["body"], "hello", "{result}");
    eventually("nothing is left in the queue", || {
        json(&server, &["queue", "ls"]) == Value::from(Vec::<Value>::new())
    });
    let waited = server.ok(&["invoke", "echo", "--async", "--wait", "-d", "x"]);
    assert!(waited.contains("success, status 200"), "{waited}");
    let gone = server.cli(&["queue", "show", &id]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone).contains("XB4021"), "{}", text(&gone));
}

#[test]
fn over_http_it_is_the_same() {
    let (server, sink) = (Server::start(), Sink::new());
    deploy(&server, "echo", "cat", "");
    let url = format!("{}/xebec/v1/functions/echo/invoke", server.url);
    let callback = sink.url("/done");
    let headers = [
        ("prefer", "respond-async"),
        ("x-xebec-callback", callback.as_str()),
        ("x-xebec-callback-form", "answer"),
    ];
    let (status, head, body) = support::exchange("POST", &url, &headers, b"hello");
    assert_eq!(status, 202, "{}", String::from_utf8_lossy(&body));
    assert_eq!(head["preference-applied"], "respond-async");
    let id = head["x-xebec-invocation"].to_str().unwrap().to_owned();
    eventually("the result arrives", || sink.count() == 1);
    let arrived = &sink.arrived()[0];
    assert_eq!((arrived.text().as_str(), arrived.path.as_str()), ("hello", "/done"));
    assert_eq!(arrived.header("x-xebec-invocation"), Some(id.as_str()));
    assert_eq!(arrived.header("x-xebec-status"), Some("200"));
}

#[test]
fn a_delayed_call_waits_and_can_be_taken_back() {
    let (server, sink) = (Server::start(), Sink::new());
    deploy(&server, "echo", "cat", "");
    let url = sink.url("/done");
    let began = Instant::now();
    submit(&server, &["echo", "-d", "late", "--delay", "4s", "--callback", &url]);
    let cancelled = submit(&server, &["echo", "-d", "never", "--delay", "4s", "--callback", &url]);
    let shown = server.ok(&["queue", "show", &cancelled]);
    assert!(shown.contains("waiting, due") && shown.contains("never"), "{shown}");
    let listed = json(&server, &["queue", "ls"]);
    assert_eq!((&listed[0]["waiting"], &listed[0]["delayed"]), (&2.into(), &2.into()), "{listed}");
    let said = server.ok(&["queue", "cancel", &cancelled]);
    assert!(said.contains("cancelled"), "{said}");
    eventually("the delayed call is made", || sink.count() > 0);
    assert!(began.elapsed() >= Duration::from_secs(4), "after {:?}", began.elapsed());
    eventually("nothing is left", || json(&server, &["queue", "ls"]) == Value::from(Vec::<Value>::new()));
    assert_eq!(sink.count(), 1, "what was taken back was made");
}

#[test]
fn the_same_idempotency_key_is_the_same_call() {
    let (server, sink) = (Server::start(), Sink::new());
    deploy(&server, "echo", "cat", "");
    let url = sink.url("/done");
    let call = ["echo", "-d", "once", "--idempotency-key", "order-7", "--callback", &url];
    let first = submit(&server, &call);
    assert_eq!(submit(&server, &call), first);
    eventually("the result arrives", || sink.count() == 1);
    // Also when it has ended.
    eventually("nothing is left", || json(&server, &["queue", "ls"]) == Value::from(Vec::<Value>::new()));
    assert_eq!(submit(&server, &call), first);
    let other = submit(&server, &["echo", "-d", "once", "--idempotency-key", "order-8", "--callback", &url]);
    assert_ne!(other, first);
    eventually("the other one's result arrives", || sink.count() == 2);
    assert_eq!(json(&server, &["queue", "ls"]).as_array().map(Vec::len), Some(0));
    assert_eq!(sink.count(), 2);
}

#[test]
fn dead_letters_are_seen_redriven_and_discarded() {
    let (server, sink) = (Server::start(), Sink::new());
    let retry = "[async.retry]\nattempts = 2\nmin-wait = \"10ms\"\n";
    deploy(&server, "task", "false", retry);
    let url = sink.url("/done");
    let id = submit(&server, &["task", "-d", "work", "--callback", &url]);
    let dead = || json(&server, &["queue", "ls", "--dead"]);
    eventually("it is a dead letter", || dead()[0]["id"] == id.as_str());
    assert_eq!((&dead()[0]["death"], &dead()[0]["history"]["failures"]), (&"exhausted".into(), &2.into()));
    assert!(dead()[0]["why"].as_str().is_some_and(|why| !why.is_empty()), "{}", dead());
    eventually("its failure is told", || sink.count() == 1);
    let table = server.ok(&["queue", "ls"]);
    assert!(table.contains("DEAD") && table.contains("task"), "{table}");
    let unsaid = server.cli(&["queue", "discard"]);
    assert_eq!(unsaid.status.code(), Some(2), "which must be said: {}", text(&unsaid));
    let waited = server.cli(&["invoke", "task", "--async", "--wait", "--attempts", "1", "-d", "x"]);
    assert_eq!(waited.status.code(), Some(1));
    assert!(text(&waited).contains("xebec queue redrive"), "{}", text(&waited));
    let discarded = server.ok(&["queue", "discard", dead()[1]["id"].as_str().unwrap()]);
    assert!(discarded.contains("discarded 1 dead letter\n"), "{discarded}");
    deploy(&server, "task", "cat", retry);
    let redriven = server.ok(&["queue", "redrive", "--function", "task"]);
    assert!(redriven.starts_with("1 dead letter"), "{redriven}");
    eventually("its success is told", || sink.count() == 2);
    assert!(sink.arrived()[1].text().contains("\"success\""), "{}", sink.arrived()[1].text());
    assert!(server.ok(&["queue", "ls", "--dead"]).contains("no dead letters"));
}

#[test]
fn a_pause_holds_until_it_ends() {
    let (mut server, sink) = (Server::start(), Sink::new());
    deploy(&server, "echo", "cat", "");
    let url = sink.url("/done");
    server.ok(&["queue", "pause", "default"]);
    let said = server.ok(&["queue", "ls"]);
    assert!(said.contains("the queue default is paused"), "also where nothing waits: {said}");
    submit(&server, &["echo", "-d", "a", "--callback", &url]);
    let lanes = json(&server, &["queue", "ls"]);
    assert_eq!((&lanes[0]["waiting"], &lanes[0]["paused"]), (&1.into(), &true.into()), "{lanes}");
    // It holds over a restart.
    server.terminate();
    server.wait();
    let server = Server::start_in(&server.data, &[]);
    // A call of another queue, accepted later, is made meanwhile.
    submit(&server, &["echo", "-d", "b", "--queue", "other", "--callback", &url]);
    eventually("the other queue goes on", || sink.count() == 1);
    assert!(sink.arrived()[0].text().contains("\"b\""));
    assert_eq!(json(&server, &["queue", "stats"])["default"]["waiting"], 1);
    server.ok(&["queue", "resume", "default"]);
    eventually("the pause has ended", || sink.count() == 2);
    server.ok(&["queue", "pause", "--function", "echo"]);
    submit(&server, &["echo", "-d", "c", "--callback", &url]);
    assert_eq!(json(&server, &["queue", "ls"])[0]["paused"], true);
    server.ok(&["queue", "resume", "--function", "echo"]);
    eventually("the function's pause has ended", || sink.count() == 3);
}

#[test]
fn schedules_fire_each_second_and_survive_kills() {
    let sink = Sink::new();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start_in(&data, &[]);
    let own = format!("[async]\non-success = \"{}\"\n", sink.url("/made"));
    deploy(&server, "echo", "cat", &own);
    let made =
        server.ok(&["schedule", "create", "tick", "--function", "echo", "--every", "1s", "-d", "tock"]);
    assert!(made.contains("tick fires"), "{made}");
    let again = server.cli(&["schedule", "create", "tick", "--function", "echo", "--every", "1s"]);
    assert_eq!(again.status.code(), Some(1), "it is there already: {}", text(&again));
    eventually("it fires three times", || sink.count() >= 3);
    assert!(sink.arrived()[0].text().contains("tock"));
    server.kill();
    let before = sink.count();
    let server = Server::start_in(&data, &[]);
    eventually("it fires after a kill", || sink.count() >= before + 2);
    let listed = server.ok(&["schedule", "ls"]);
    assert!(listed.contains("every 1s") && listed.contains("ago)"), "{listed}");
    server.ok(&["schedule", "pause", "tick"]);
    assert!(server.ok(&["schedule", "ls"]).contains("paused"));
    eventually("nothing is left", || json(&server, &["queue", "ls"]) == Value::from(Vec::<Value>::new()));
    let paused = sink.count();
    let fired = server.ok(&["schedule", "fire", "tick"]);
    assert_eq!(fired.trim().len(), 36, "{fired}");
    eventually("it fires by hand", || sink.count() > paused);
    server.ok(&["schedule", "rm", "tick"]);
    assert!(server.ok(&["schedule", "ls"]).contains("no schedules"));
}

#[test]
fn schedules_of_a_manifest_change_with_it() {
    let (server, sink) = (Server::start(), Sink::new());
    let own = format!("[async]\non-success = \"{}\"\n", sink.url("/made"));
    let schedule = "[[schedule]]\nname = \"often\"\ncron = \"* * * * * *\"\ncall = { body = \"cron\" }\n";
    deploy(&server, "echo", "cat", &format!("{own}{schedule}"));
    eventually("it fires", || sink.count() >= 2);
    assert!(sink.arrived()[0].text().contains("cron"));
    let listed = server.ok(&["schedule", "ls"]);
    assert!(listed.contains("echo.often") && listed.contains("cron * * * * * *"), "{listed}");
    let refused = server.cli(&["schedule", "rm", "echo.often"]);
    assert!(text(&refused).contains("XB2014"), "{}", text(&refused));
    deploy(&server, "echo", "cat", &own);
    assert!(server.ok(&["schedule", "ls"]).contains("no schedules"));
    let wrong = support::function(
        "name = \"echo\"\nenvironment = \"exec\"\ncommand = [\"cat\"]\n[[schedule]]\nname = \"a\"\ncron = \"61 * * * *\"\n",
        &[("unused", "x")],
    );
    let refused = server.cli(&["deploy", wrong.path().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("XB1012"), "{}", text(&refused));
}

#[test]
fn top_shows_functions_and_queues() {
    let server = Server::start();
    deploy(&server, "echo", "cat", "");
    server.ok(&["invoke", "echo", "-d", "x"]);
    submit(&server, &["echo", "--delay", "1h"]);
    let frame = server.ok(&["top", "--once", "--interval", "200ms"]);
    for part in ["FUNCTION", "CALLS/S", "P99", "echo", "QUEUE", "WAITING", "default"] {
        assert!(frame.contains(part), "{part} is missing:\n{frame}");
    }
    let frame = json(&server, &["top", "--interval", "200ms"]);
    assert_eq!(
        (&frame["functions"][0]["name"], &frame["functions"][0]["calls"]),
        (&"echo".into(), &1.into())
    );
    assert_eq!(
        (&frame["queues"][0]["queue"], &frame["queues"][0]["delayed"]),
        (&"default".into(), &1.into())
    );
}
