//! Calls that outlive their caller, and what waits, over the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use http::Request;
use serde_json::json;
use std::time::Duration;
use support::{World, confined};
use xebec_core::{
    Error, FunctionKey, Tenant,
    auth::{Access, Principal, Role},
    error::ErrorKind,
    message::{Field, Form, Guarantee, Recipient},
    ports::{door::Door as _, queue::Place},
    rules::retry::Retry,
};

const INVOKE: &str = "/xebec/v1/functions/hello/invoke";

fn world() -> World {
    let world = World::new();
    world.engine.put("default", "native", "hello");
    world
}

#[tokio::test]
async fn a_call_is_accepted_and_told_where_it_stands() {
    let world = world();
    let headers = [("x-xebec-async", "true"), ("authorization", "Bearer x"), ("x-mine", "kept")];
    let back = world.send("POST", &format!("{INVOKE}/a/b?c=d"), &headers, "body").await;
    assert_eq!(back.status, 202, "{}", back.body);
    let entry = world.deliveries.only();
    let id = entry.message.id.to_string();
    assert_eq!(back.json(), json!({"id": id, "duplicate": false}));
    assert_eq!(back.header("x-xebec-invocation"), id);
    assert_eq!(back.header("location"), format!("/xebec/v1/messages/{id}"));
    assert_eq!(entry.message.call.uri, "/a/b?c=d");
    assert_eq!(&entry.message.inline()[..], b"body");
    let seen: Vec<_> = entry.message.call.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(seen, ["x-mine"]);
    assert!(world.engine.calls.lock().unwrap().is_empty(), "nobody waited");
}

#[tokio::test]
async fn prefer_says_the_same() {
    let world = world();
    let back = world.send("POST", INVOKE, &[("prefer", "respond-async, wait=5")], "").await;
    assert_eq!(back.status, 202);
    assert_eq!(back.header("preference-applied"), "respond-async");
    assert!(world.deliveries.only().message.call.headers.is_empty());
    let waits = world.send("POST", INVOKE, &[("x-xebec-async", "false")], "").await;
    assert_eq!((waits.status.as_u16(), waits.body.as_str()), (200, "hello"));
}

#[tokio::test]
async fn wishes_arrive() {
    let world = world();
    let headers = [
        ("x-xebec-async", "1"),
        ("x-xebec-delay", "30s"),
        ("x-xebec-expiry", "1h"),
        ("x-xebec-queue", "slow_ones"),
        ("x-xebec-priority", "9"),
        ("x-xebec-key", "customer-7"),
        ("idempotency-key", "order-1"),
        ("x-xebec-callback", "https://example.org/done"),
        ("x-xebec-callback-form", "answer"),
        ("x-xebec-at-most-once", "true"),
        ("x-xebec-attempts", "3"),
    ];
    let back = world.send("POST", INVOKE, &headers, "").await;
    assert_eq!(back.status, 202, "{}", back.body);
    let (wishes, principal) = world.deliveries.wishes.lock().unwrap()[0].clone();
    assert_eq!(principal, Principal::Local);
    assert_eq!(wishes.delay, Some(Duration::from_secs(30)));
    assert_eq!(wishes.expiry, Some(Duration::from_secs(3600)));
    assert_eq!(wishes.queue.as_deref(), Some("slow_ones"));
    assert_eq!(wishes.priority, Some(9));
    assert_eq!(wishes.key.as_deref(), Some("customer-7"));
    let idempotency = wishes.idempotency.unwrap();
    assert_eq!((&*idempotency.key, idempotency.window_ms), ("order-1", 24 * 3600 * 1000));
    assert_eq!(wishes.guarantee, Some(Guarantee::AtMostOnce));
    assert_eq!(wishes.retry, Some(Retry { attempts: 3, ..Retry::default() }));
    for destinations in [&wishes.destinations.on_success, &wishes.destinations.on_failure] {
        assert_eq!(destinations.len(), 1);
        assert_eq!(destinations[0].to, Recipient::Url("https://example.org/done".into()));
        assert_eq!(destinations[0].form, Form::Answer);
        assert!(destinations[0].headers.contains(&("x-xebec-invocation".into(), Field::Id)));
    }
    assert!(world.deliveries.only().message.call.headers.is_empty(), "the function sees none of them");
    let again = world.send("POST", INVOKE, &headers, "").await.json();
    assert_eq!(again["duplicate"], true);
}

#[tokio::test]
async fn wishes_that_make_no_sense_are_named() {
    let world = world();
    for (name, value) in [
        ("x-xebec-delay", "soon"),
        ("x-xebec-expiry", "-3s"),
        ("x-xebec-priority", "10"),
        ("x-xebec-attempts", "0"),
        ("x-xebec-attempts", "many"),
        ("x-xebec-callback", "ftp://example.org"),
        ("x-xebec-callback", "nowhere"),
        ("x-xebec-callback-form", "xml"),
        ("x-xebec-at-most-once", "maybe"),
        ("x-xebec-idempotency-window", "1h"),
        ("x-xebec-key", ""),
        ("x-xebec-timeout-ms", "100"),
    ] {
        let back = world.send("POST", INVOKE, &[("x-xebec-async", "true"), (name, value)], "").await;
        let message = back.error(400, "XB1011");
        assert!(message.contains(name), "{name}: {message}");
    }
    let key = "k".repeat(257);
    let back = world.send("POST", INVOKE, &[("x-xebec-async", "true"), ("idempotency-key", &key)], "").await;
    back.error(400, "XB1011");
    let waits = world.send("POST", INVOKE, &[("x-xebec-delay", "5s")], "").await;
    assert!(waits.error(400, "XB1011").contains("x-xebec-delay"));
    assert!(world.deliveries.entries.lock().unwrap().is_empty());
    assert!(world.engine.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn refusals_keep_their_codes() {
    let world = world();
    let back =
        world.send("POST", "/xebec/v1/functions/nobody/invoke", &[("x-xebec-async", "true")], "").await;
    back.error(404, "XB2002");
    let refuse = |kind, code| *world.deliveries.refusal.lock().unwrap() = Some(Error::new(kind, code, "no"));
    refuse(ErrorKind::Forbidden, "XB5003");
    world.send("POST", INVOKE, &[("x-xebec-async", "true")], "").await.error(401, "XB5003");
    refuse(ErrorKind::Unavailable, "XB4020");
    let full = world.send("POST", INVOKE, &[("x-xebec-async", "true")], "").await;
    full.error(503, "XB4020");
    assert_eq!(full.header("retry-after"), "1");
    let bare = World::bare();
    bare.engine.put("default", "native", "hello");
    bare.send("POST", INVOKE, &[("x-xebec-async", "true")], "").await.error(503, "XB2016");
    bare.send("GET", "/xebec/v1/queues", &[], "").await.error(503, "XB2016");
    bare.send("GET", "/xebec/v1/schedules", &[], "").await.error(503, "XB2017");
}

#[tokio::test]
async fn calling_is_no_management() {
    let world = world();
    let access = |path: &str| {
        let request = Request::builder().uri(path).header("x-xebec-async", "true").body(()).unwrap();
        world.door.access(&request.into_parts().0)
    };
    assert_eq!(access(INVOKE), Access::Invocation);
    for path in [
        "/xebec/v1/queues",
        "/xebec/v1/messages",
        "/xebec/v1/schedules/a/fire",
        "/xebec/v1/dead-letters/redrive",
    ] {
        assert_eq!(access(path), Access::Management, "{path}");
    }
}

#[tokio::test]
async fn messages_are_listed_and_shown() {
    let world = world();
    let headers = [("x-xebec-async", "true"), ("x-xebec-queue", "slow"), ("x-mine", "v")];
    let id = world.send("POST", &format!("{INVOKE}/p"), &headers, "héllo").await.json()["id"].clone();
    let id = id.as_str().unwrap();
    let list = world
        .send("GET", "/xebec/v1/messages?state=waiting&queue=slow&function=hello&limit=7", &[], "")
        .await;
    let listed = &list.json()["messages"][0];
    assert_eq!(listed["id"], id);
    assert_eq!((&listed["state"], &listed["queue"]), (&json!("waiting"), &json!("slow")));
    assert!(listed.get("headers").is_none() && listed.get("body").is_none(), "{listed}");
    let query = world.deliveries.queries.lock().unwrap()[0].clone();
    assert_eq!(query.which.tenant, Some(Tenant::default()));
    assert_eq!(query.which.function, Some(FunctionKey::new(&Tenant::default(), "native", "hello")));
    assert_eq!((query.state.as_deref(), query.limit), (Some("waiting"), Some(7)));
    let shown = world.send("GET", &format!("/xebec/v1/messages/{id}"), &[], "").await.json();
    assert_eq!(shown["headers"], json!([["x-mine", "v"]]));
    assert_eq!(shown["body"], json!({"text": "héllo", "more": false}));
    assert_eq!((&shown["method"], &shown["uri"]), (&json!("POST"), &json!("/p")));
    let body = world.send("GET", &format!("/xebec/v1/messages/{id}/body"), &[], "").await;
    assert_eq!((body.body.as_str(), body.header("content-type")), ("héllo", "application/octet-stream"));
    world.deliveries.bury(&id.parse().unwrap(), "it broke");
    let dead = world.send("GET", &format!("/xebec/v1/messages/{id}"), &[], "").await.json();
    assert_eq!(
        (&dead["state"], &dead["death"], &dead["why"]),
        (&json!("dead"), &json!("exhausted"), &json!("it broke"))
    );
    assert_eq!(
        world.send("DELETE", &format!("/xebec/v1/messages/{id}"), &[], "").await.json()["state"],
        "dead"
    );
    world.send("GET", &format!("/xebec/v1/messages/{id}"), &[], "").await.error(404, "XB4021");
    world.send("DELETE", &format!("/xebec/v1/messages/{id}"), &[], "").await.error(404, "XB4021");
}

#[tokio::test]
async fn tenants_see_and_touch_only_their_own() {
    let world = World::new();
    world.engine.put("a", "native", "hello");
    let back = world.send("POST", &format!("{INVOKE}?tenant=a"), &[("x-xebec-async", "true")], "x").await;
    let id = back.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(back.header("location"), format!("/xebec/v1/messages/{id}?tenant=a"));
    let mine = confined("a", Role::Manage);
    let other = confined("b", Role::Manage);
    let message = format!("/xebec/v1/messages/{id}");
    for path in [message.clone(), format!("{message}/body")] {
        let path = path.as_str();
        let of = |tenant: &str| format!("{path}?tenant={tenant}");
        let as_mine = world.send_as(mine.clone(), "GET", &of("a"), &[], "").await;
        assert_eq!(as_mine.status, 200);
        world.send_as(other.clone(), "GET", &of("a"), &[], "").await.error(403, "XB5004");
        world.send_as(other.clone(), "GET", &of("b"), &[], "").await.error(404, "XB4021");
    }
    world
        .send_as(other.clone(), "DELETE", &format!("{message}?tenant=b"), &[], "")
        .await
        .error(404, "XB4021");
    let lists = world.send_as(other.clone(), "GET", "/xebec/v1/messages?tenant=b", &[], "").await.json();
    assert_eq!(lists["messages"], json!([]));
    assert_eq!(
        world.send_as(other.clone(), "GET", "/xebec/v1/queues?tenant=b", &[], "").await.json(),
        json!([])
    );
    let queues = world.send_as(mine.clone(), "GET", "/xebec/v1/queues?tenant=a", &[], "").await.json();
    assert_eq!((&queues[0]["queue"], &queues[0]["waiting"]), (&json!("default"), &json!(1)));
    let all = r#"{"all":true}"#;
    world.send_as(other.clone(), "POST", "/xebec/v1/dead-letters/redrive?tenant=b", &[], all).await;
    assert_eq!(world.deliveries.selections.lock().unwrap()[0].0.tenant, Some(Tenant::new("b")));
    let caller = confined("a", Role::Invoke);
    world.send_as(caller, "GET", "/xebec/v1/queues?tenant=a", &[], "").await.error(403, "XB5004");
    assert_eq!(world.deliveries.entries.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn which_dead_letters_must_be_said() {
    let world = world();
    let redrive = "/xebec/v1/dead-letters/redrive";
    let discard = "/xebec/v1/dead-letters/discard";
    for path in [redrive, discard] {
        world.send("POST", path, &[], "").await.error(400, "XB1013");
        world.send("POST", path, &[], r#"{"all":true,"queue":"a"}"#).await.error(400, "XB1013");
        world.send("POST", path, &[], r#"{"al":true}"#).await.error(400, "XB1008");
    }
    world.send("POST", redrive, &[], r#"{"all":true,"rate":0}"#).await.error(400, "XB1013");
    world.send("POST", discard, &[], r#"{"all":true,"rate":5}"#).await.error(400, "XB1013");
    assert!(world.deliveries.selections.lock().unwrap().is_empty());
    let back = world.send("POST", redrive, &[], r#"{"queue":"slow","function":"hello","rate":5}"#).await;
    assert_eq!(back.json(), json!({"count": 3}));
    let (which, rate) = world.deliveries.selections.lock().unwrap()[0].clone();
    assert_eq!((which.queue.as_deref(), rate), (Some("slow"), Some(5)));
    assert_eq!(which.function, Some(FunctionKey::new(&Tenant::default(), "native", "hello")));
    assert_eq!(
        world.send("POST", discard, &[], r#"{"function":"removed"}"#).await.json(),
        json!({"count": 2})
    );
}

#[tokio::test]
async fn queues_and_functions_pause() {
    let world = world();
    world.engine.put("default", "openfaas", "theirs");
    for path in
        ["queues/slow/pause", "functions/theirs/pause", "queues/slow/resume", "functions/removed/resume"]
    {
        assert_eq!(world.send("POST", &format!("/xebec/v1/{path}"), &[], "").await.status, 204, "{path}");
    }
    let slow = Place::Queue { tenant: Tenant::default(), name: "slow".into() };
    let function = |door, name| Place::Function(FunctionKey::new(&Tenant::default(), door, name));
    let expected = [
        (slow.clone(), true),
        (function("openfaas", "theirs"), true),
        (slow, false),
        (function("native", "removed"), false),
    ];
    assert_eq!(world.deliveries.places.lock().unwrap()[..], expected);
    let pauses = world.send("GET", "/xebec/v1/pauses", &[], "").await.json();
    assert_eq!(pauses, serde_json::json!([{ "function": "theirs" }]), "the queue's pause has ended");
    world.send("POST", "/xebec/v1/functions/nobody/pause", &[], "").await.error(404, "XB2002");
}

#[tokio::test]
async fn schedules_are_made_changed_fired_and_deleted() {
    let world = world();
    let path = "/xebec/v1/schedules/nightly";
    let wanted = r#"{"function":"hello","cron":"0 3 * * *","zone":"Europe/Berlin","missed":"skip","call":{"body":"x"}}"#;
    let made = world.send("PUT", path, &[("if-none-match", "*")], wanted).await;
    assert_eq!(made.status, 200, "{}", made.body);
    assert_eq!(made.json()["schedule"]["zone"], "Europe/Berlin");
    world.send("PUT", path, &[("if-none-match", "*")], wanted).await.error(409, "XB4001");
    assert_eq!(world.send("PUT", path, &[], wanted).await.status, 200);
    assert_eq!(
        world.send("GET", "/xebec/v1/schedules", &[], "").await.json()[0]["function"]["name"],
        "hello"
    );
    assert_eq!(
        world.send("POST", &format!("{path}/pause"), &[], "").await.json()["schedule"]["paused"],
        true
    );
    assert_eq!(
        world.send("POST", &format!("{path}/resume"), &[], "").await.json()["schedule"]["paused"],
        false
    );
    let fired = world.send("POST", &format!("{path}/fire"), &[], "").await;
    assert_eq!(fired.status, 202);
    assert!(fired.header("location").starts_with("/xebec/v1/messages/"));
    let other = confined("b", Role::Manage);
    world.send_as(other.clone(), "GET", &format!("{path}?tenant=b"), &[], "").await.error(404, "XB2015");
    world.send_as(other, "DELETE", path, &[], "").await.error(403, "XB5004");
    assert_eq!(world.send("DELETE", path, &[], "").await.status, 204);
    world.send("GET", path, &[], "").await.error(404, "XB2015");
    for (wrong, code) in [
        (r#"{"function":"hello"}"#, "XB1012"),
        (r#"{"function":"hello","cron":"@daily","every":"5m"}"#, "XB1012"),
        (r#"{"function":"hello","every":"5m","zone":"UTC"}"#, "XB1012"),
        (r#"{"function":"hello","at":"tomorrow"}"#, "XB1012"),
        (r#"{"function":"hello","cron":"never"}"#, "XB1012"),
        (r#"{"function":"hello","name":"other","every":"5m"}"#, "XB1012"),
        (r#"{"function":"hello","evry":"5m"}"#, "XB1008"),
        (r#"{"every":"5m"}"#, "XB1008"),
    ] {
        world.send("PUT", path, &[], wrong).await.error(400, code);
    }
    world.send("PUT", path, &[], r#"{"function":"nobody","every":"5m"}"#).await.error(404, "XB2002");
    world
        .send("PUT", "/xebec/v1/schedules/No", &[], r#"{"function":"hello","every":"5m"}"#)
        .await
        .error(400, "XB1001");
}

#[tokio::test]
async fn a_manifest_says_how_messages_are_made() {
    let world = world();
    let written = json!({
        "name": "worker", "image": "i",
        "async": {
            "queue": "work", "consumes": ["orders"], "concurrency": 4, "guarantee": "at-most-once",
            "expiry": "3600s", "dead-letters": false,
            "on-success": "function:hello",
            "on-failure": ["queue:failed", {"to": "https://example.org", "form": "answer", "headers": {"x-a": "b"}}],
            "retry": {"attempts": 7, "codes": [503], "outcomes": ["timeout"], "min-wait": "2s", "max-wait": "60s",
                      "jitter": "full", "honour-retry-after": false, "patience": "600s"},
            "batch": {"size": 50},
        },
        "schedule": [{"name": "tick", "every": "5m"}],
    });
    let back = world.send("PUT", "/xebec/v1/functions/worker", &[], &written.to_string()).await;
    assert_eq!(back.status, 200, "{}", back.body);
    let policy = world.engine.policy(&FunctionKey::new(&Tenant::default(), "native", "worker"));
    let delivery = &policy.delivery;
    assert_eq!((&*delivery.queue, delivery.concurrency), ("work", 4));
    assert_eq!(delivery.consumes, ["orders"]);
    assert_eq!(delivery.guarantee, Guarantee::AtMostOnce);
    assert_eq!((delivery.expiry_ms, delivery.dead_letters), (Some(3_600_000), false));
    let retry = &delivery.retry;
    assert_eq!((retry.attempts, &retry.codes[..], retry.honour_retry_after), (7, &[503][..], false));
    assert_eq!((retry.min_wait_ms, retry.max_wait_ms, retry.patience_ms), (2000, 60_000, 600_000));
    let batch = delivery.batch.unwrap();
    assert_eq!((batch.size, batch.wait_ms), (50, 1000));
    let hello = FunctionKey::new(&Tenant::default(), "native", "hello");
    assert_eq!(delivery.destinations.on_success[0].to, Recipient::Function(hello));
    assert_eq!(delivery.destinations.on_failure[0].to, Recipient::Queue("failed".into()));
    assert_eq!(delivery.destinations.on_failure[1].form, Form::Answer);
    assert_eq!(policy.schedules[0].name, "tick");
    let read = world.send("GET", "/xebec/v1/functions/worker", &[], "").await.json();
    assert_eq!(read["manifest"], written, "what was written is read back");
}

#[tokio::test]
async fn a_manifest_that_makes_no_sense_names_the_field() {
    let world = world();
    for (part, code, named) in [
        (json!({"async": {"queue": "a b"}}), "XB1001", "async.queue"),
        (json!({"async": {"concurrency": 0}}), "XB1004", "async.concurrency"),
        (json!({"async": {"consumes": ["a", "a"]}}), "XB1004", "async.consumes"),
        (json!({"async": {"expiry": "9000h"}}), "XB1004", "async.expiry"),
        (json!({"async": {"retry": {"attempts": 0}}}), "XB1004", "async.retry.attempts"),
        (json!({"async": {"retry": {"codes": [42]}}}), "XB1004", "async.retry.codes"),
        (json!({"async": {"retry": {"outcomes": ["boredom"]}}}), "XB1004", "async.retry.outcomes"),
        (
            json!({"async": {"retry": {"min-wait": "10s", "max-wait": "5s"}}}),
            "XB1004",
            "async.retry.max-wait",
        ),
        (json!({"async": {"batch": {"size": 10_001}}}), "XB1004", "async.batch.size"),
        (json!({"async": {"batch": {"size": 10, "wait": "1h"}}}), "XB1004", "async.batch.wait"),
        (json!({"async": {"on-failure": "hello"}}), "XB1004", "async.on-failure"),
        (json!({"async": {"on-success": "http://"}}), "XB1004", "async.on-success"),
        (json!({"async": {"batch": {"size": "many"}}}), "XB1008", "many"),
        (json!({"schedule": [{"name": "a", "cron": "never"}]}), "XB1012", "never"),
        (json!({"schedule": [{"name": "a"}]}), "XB1012", "exactly one"),
        (json!({"schedule": [{"name": "a", "every": "5m"}, {"name": "a", "every": "6m"}]}), "XB1012", "two"),
    ] {
        let mut manifest = json!({"name": "worker", "image": "i"});
        manifest.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        let back = world.send("PUT", "/xebec/v1/functions/worker", &[], &manifest.to_string()).await;
        let message = back.error(400, code);
        assert!(message.contains(named), "{named}: {message}");
    }
    let bare = World::bare();
    let manifest = json!({"name": "worker", "image": "i", "schedule": [{"name": "a", "every": "5m"}]});
    bare.send("PUT", "/xebec/v1/functions/worker", &[], &manifest.to_string()).await.error(503, "XB2017");
}
