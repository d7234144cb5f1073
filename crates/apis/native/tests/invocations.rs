//! Invocations over the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use http::{HeaderMap, HeaderValue, Request};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use support::{World, confined};
use xebec_core::{
    Body, FunctionKey, InvocationId, Outcome, Tenant,
    auth::{Principal, Role},
    invocation::Timing,
    message::{Call, Payload, Source},
    outcome::FunctionFault,
    ports::door::Door as _,
    record::{Followed, InvocationRecord},
};

const PATH: &str = "/xebec/v1/invocations";
const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");

fn record(tenant: &str, number: i64) -> InvocationRecord {
    InvocationRecord {
        id: InvocationId::new(),
        function: FunctionKey::new(&Tenant::new(tenant), "native", "hello"),
        revision: None,
        instance: None,
        received: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number),
        timing: Timing::default(),
        outcome: match number % 10 {
            0 => Outcome::FunctionError(FunctionFault::Crash),
            _ => Outcome::Success,
        },
        status: Some(200),
        message: None,
        request_bytes: number.unsigned_abs(),
        response_bytes: 0,
        attempt: 0,
        noted: None,
    }
}

/// 1200 calls of one tenant, one of another.
fn world() -> World {
    let world = World::new();
    world.engine.put("default", "native", "hello");
    let mut history = world.engine.history.lock().unwrap();
    history.extend((0..1200).rev().map(|number| record("default", number)));
    history.push(record("red", 0));
    drop(history);
    world
}

/// The numbers of records that came as lines.
fn numbers(body: &str) -> Vec<u64> {
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["request_bytes"].as_u64().unwrap();
    body.lines().map(line).collect()
}

#[tokio::test]
async fn pages_are_filtered() {
    let world = world();
    for path in [PATH, "/xebec/v1/records"] {
        let page = world.send("GET", &format!("{path}?outcome=crash&limit=2"), &[], "").await.json();
        assert_eq!(page["records"][0]["request_bytes"], 1190);
        assert_eq!(page["records"].as_array().unwrap().len(), 2);
        let next = format!("{path}?outcome=crash&limit=2&cursor={}", page["cursor"].as_str().unwrap());
        assert_eq!(world.send("GET", &next, &[], "").await.json()["records"][0]["request_bytes"], 1170);
    }
    let window = format!("{PATH}?function=hello&since=1970-01-01T00:00:05Z&until=1970-01-01T00:00:07Z");
    assert_eq!(world.send("GET", &window, &[], "").await.json()["records"].as_array().unwrap().len(), 2);
    let none = world.send("GET", &format!("{PATH}?attempt=1"), &[], "").await.json();
    assert_eq!(none["records"], json!([]));
    // Records outlive their function, and its name may never have been one.
    let gone = world.send("GET", &format!("{PATH}?function=gone"), &[], "").await;
    assert_eq!((gone.status.as_u16(), &gone.json()["records"]), (200, &json!([])));
    let red =
        world.send_as(confined("red", Role::Manage), "GET", &format!("{PATH}?tenant=red"), &[], "").await;
    assert_eq!(red.json()["records"].as_array().unwrap().len(), 1);
    world.send_as(confined("red", Role::Manage), "GET", PATH, &[], "").await.error(403, "XB5004");
}

#[tokio::test]
async fn exports_have_all_that_match_in_order() {
    let world = world();
    let all = world.send("GET", PATH, &[NDJSON], "").await;
    assert_eq!(all.header("content-type"), NDJSON.1);
    assert_eq!(numbers(&all.body), (0..1200).rev().collect::<Vec<_>>());
    for limit in [1, 500, 501, 1199, 1200, 5000] {
        let some = world.send("GET", &format!("{PATH}?limit={limit}"), &[NDJSON], "").await;
        assert_eq!(numbers(&some.body).len(), limit.min(1200), "{limit}");
    }
    let crashes = world.send("GET", &format!("{PATH}?outcome=crash"), &[NDJSON], "").await;
    assert_eq!(numbers(&crashes.body).len(), 120);
}

#[tokio::test]
async fn an_export_that_fails_breaks_off() {
    let world = world();
    *world.engine.pages.lock().unwrap() = Some(2);
    let mut request = Request::get(PATH).header(NDJSON.0, NDJSON.1).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Principal::Local);
    let response = world.door.handle(request).await;
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect(1 << 20).await.is_err(), "a part was taken for all");
    world.send("GET", PATH, &[NDJSON], "").await.error(500, "XB4003");
}

#[tokio::test]
async fn followers_get_what_was_then_what_comes_and_what_they_missed() {
    let world = world();
    let coming = [
        Followed::Record(Box::new(record("default", 1200))),
        Followed::Missed { missed: 7 },
        Followed::Record(Box::new(record("default", 1208))),
    ];
    world.engine.coming.lock().unwrap().extend(coming.clone());
    let back = world.send("GET", &format!("{PATH}?follow=true&limit=2"), &[], "").await;
    let lines: Vec<Value> = back.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = lines.iter().map(|line| line["request_bytes"].as_u64()).collect();
    assert_eq!(seen, [Some(1198), Some(1199), Some(1200), None, Some(1208)]);
    assert_eq!(lines[3], json!({"missed": 7}));
    world.engine.coming.lock().unwrap().extend(coming);
    let only_new = world.send("GET", &format!("{PATH}?follow=true"), &[], "").await;
    assert_eq!(only_new.body.lines().count(), 3);
}

#[tokio::test]
async fn one_is_shown_with_its_lines() {
    let world = world();
    let id = world.engine.history.lock().unwrap()[0].id;
    let shown = world.send("GET", &format!("{PATH}/{id}"), &[], "").await.json();
    assert_eq!((&shown["id"], &shown["replayable"]), (&json!(id), &json!(false)));
    assert_eq!(shown["logs"][0]["text"], "a line");
    let of_red = world.engine.history.lock().unwrap()[1200].id;
    for hidden in [of_red, InvocationId::new()] {
        world.send("GET", &format!("{PATH}/{hidden}"), &[], "").await.error(404, "XB2009");
        world.send("POST", &format!("{PATH}/{hidden}/replay"), &[], "").await.error(404, "XB2009");
    }
}

#[tokio::test]
async fn calls_are_made_again_where_their_request_is_at_hand() {
    let world = world();
    let (kept, unkept) = {
        let history = world.engine.history.lock().unwrap();
        (history[0].id, history[1].id)
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-a", HeaderValue::from_static("1"));
    headers.insert("x-xebec-hops", HeaderValue::from_static("16"));
    let body = Payload::Inline("hello".into());
    let call = Call { method: "PUT".into(), uri: "/a?b=c".into(), headers, body };
    world.engine.kept.lock().unwrap().insert(kept, call);
    assert_eq!(world.send("GET", &format!("{PATH}/{kept}"), &[], "").await.json()["replayable"], true);
    let back = world.send("POST", &format!("{PATH}/{kept}/replay"), &[], "").await;
    let entry = world.deliveries.only();
    assert_eq!(
        (back.status.as_u16(), back.json()),
        (202, json!({"id": entry.message.id, "replay_of": kept}))
    );
    assert_ne!(entry.message.id, kept);
    assert_eq!(entry.message.source, Source::Replay(kept));
    let call = &entry.message.call;
    assert_eq!(
        (call.method.as_str(), call.uri.as_str(), &entry.message.inline()[..]),
        ("PUT", "/a?b=c", &b"hello"[..])
    );
    assert_eq!(call.headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-a"]);
    world.send("POST", &format!("{PATH}/{unkept}/replay"), &[], "").await.error(422, "XB2018");
}

#[tokio::test]
async fn dead_letters_are_made_again_from_the_queue() {
    let world = world();
    let invoke = "/xebec/v1/functions/hello/invoke/x";
    let accepted = world.send("POST", invoke, &[("x-xebec-async", "true")], "body").await;
    assert_eq!(accepted.status, 202);
    let dead = world.deliveries.only().message.id;
    world.deliveries.bury(&dead, "it crashed");
    let record = InvocationRecord { id: dead, attempt: 5, ..record("default", 2000) };
    world.engine.history.lock().unwrap().insert(0, record);
    let back = world.send("POST", &format!("{PATH}/{dead}/replay"), &[], "").await;
    assert_eq!(back.status, 202, "{}", back.body);
    let entries = world.deliveries.entries.lock().unwrap();
    assert_eq!(entries.len(), 2, "the dead letter stays");
    let again = entries.values().find(|entry| entry.message.id != dead).unwrap();
    assert_eq!((again.message.call.uri.as_str(), &again.message.inline()[..]), ("/x", &b"body"[..]));
    assert_eq!(again.message.source, Source::Replay(dead));
}
