//! Results that go to functions.

use crate::support::{
    World, both,
    engine::{Seen, answer, key},
    fine, policy, quick, to, until,
};
use http::Response;
use std::time::Duration;
use xebec_core::{
    Body,
    auth::Principal,
    message::{Destination, Destinations, Field, Form, Recipient, Wishes},
    policy::{Delivery as DeliveryPolicy, Policy, Visibility},
    ports::{
        deliveries::Deliveries as _,
        queue::{EntryQuery, EntryState},
    },
    rules::{hops::MAX_HOPS, retry::Death},
};

#[tokio::test]
async fn an_envelope_tells_of_the_call() {
    let world = World::new().await;
    let delivery = DeliveryPolicy { retry: quick(2), ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), |seen: Seen| async move {
        match &seen.body[..] {
            b"good" => Ok(Response::builder().header("x-a", "1").body(Body::full(&b"\xff\x00"[..])).unwrap()),
            _ => answer(500, "it broke"),
        }
    });
    world.engine.deploy(&key("told"), Policy::default(), fine);
    let wishes = || Wishes {
        destinations: both(Recipient::Function(key("told")), Form::Envelope),
        ..Wishes::default()
    };
    let good = world.submit("f", "good", wishes()).await.id;
    until("the result", async || world.engine.calls(&key("told")).len() == 1).await;
    let seen = world.engine.calls(&key("told")).pop().unwrap();
    let told = seen.json();
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!((seen.header("x-xebec-outcome"), seen.header("x-xebec-hops")), ("success", "1"));
    assert_eq!((&told["id"], &told["outcome"]), (&good.to_string().into(), &"success".into()));
    assert_eq!(told["function"]["name"], "f");
    assert_eq!((&told["attempt"], &told["attempts"]), (&1.into(), &2.into()));
    assert_eq!((&told["answer"]["status"], &told["answer"]["body_base64"]), (&200.into(), &"/wA=".into()));
    assert_eq!(told["answer"]["headers"]["x-a"], "1");
    assert!(told.get("death").is_none() && told.get("message").is_none());

    let bad = world.submit("f", "bad", wishes()).await.id;
    world.dead(bad).await;
    until("the result", async || world.engine.calls(&key("told")).len() == 2).await;
    let told = world.engine.calls(&key("told")).pop().unwrap().json();
    assert_eq!((&told["id"], &told["outcome"]), (&bad.to_string().into(), &"application_error".into()));
    assert_eq!((&told["death"], &told["attempt"]), (&"exhausted".into(), &2.into()));
    assert_eq!(told["message"], "the function answered 500");
    assert_eq!((&told["answer"]["status"], &told["answer"]["body"]), (&500.into(), &"it broke".into()));
}

#[tokio::test]
async fn an_answer_travels_as_it_came() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), |_: Seen| async {
        let response = Response::builder().status(201).header("x-a", "1").header("connection", "close");
        Ok(response.body(Body::full("made")).unwrap())
    });
    world.engine.deploy(&key("told"), Policy::default(), fine);
    let headers = vec![
        ("x-call-id".into(), Field::Id),
        ("x-function-name".into(), Field::FunctionName),
        ("x-function-status".into(), Field::Status),
        ("x-duration-seconds".into(), Field::Seconds),
        ("x-outcome".into(), Field::Outcome),
        ("x-retry".into(), Field::Retries),
        ("x-retry-max".into(), Field::Attempts),
        ("x-text".into(), Field::Text("same".into())),
    ];
    let destination = Destination { to: Recipient::Function(key("told")), form: Form::Answer, headers };
    let destinations = Destinations { on_success: vec![destination], on_failure: Vec::new() };
    let id = world.submit("f", "", Wishes { destinations, ..Wishes::default() }).await.id;
    until("the result", async || world.engine.calls(&key("told")).len() == 1).await;
    let seen = world.engine.calls(&key("told")).pop().unwrap();
    assert_eq!((&*seen.method, &seen.body[..], seen.header("x-a")), ("POST", &b"made"[..], "1"));
    assert!(!seen.headers.contains_key("connection"));
    for (name, value) in [
        ("x-call-id", &*id.to_string()),
        ("x-function-name", "f"),
        ("x-function-status", "201"),
        ("x-outcome", "success"),
        ("x-retry", "0"),
        ("x-retry-max", "5"),
        ("x-text", "same"),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    let seconds = seen.header("x-duration-seconds");
    assert_eq!(seconds.split_once('.').unwrap().1.len(), 6, "{seconds}");
}

#[tokio::test]
async fn large_answers_are_kept_and_endless_ones_cut() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), |seen: Seen| async move {
        let bytes: usize = std::str::from_utf8(&seen.body).unwrap().parse().unwrap();
        answer(200, vec![b'a'; bytes])
    });
    world.engine.deploy(&key("told"), Policy::default(), fine);
    for (sent, arrives, truncated) in [(500_000, 500_000, ""), (3_000_000, 1024 * 1024, "true")] {
        let wishes = Wishes {
            destinations: both(Recipient::Function(key("told")), Form::Answer),
            ..Wishes::default()
        };
        world.engine.seen.lock().unwrap().clear();
        let id = world.submit("f", sent.to_string(), wishes).await.id;
        world.over(id).await;
        until("the result", async || world.engine.calls(&key("told")).len() == 1).await;
        let seen = world.engine.calls(&key("told")).pop().unwrap();
        assert_eq!((seen.body.len(), seen.header("x-xebec-truncated")), (arrives, truncated));
        until("its blob to go", async || world.blobs.count() == 0).await;
    }
}

#[tokio::test]
async fn the_owner_may_configure_what_the_sender_may_not() {
    let world = World::new().await;
    let private = Policy { visibility: Visibility::Authenticated, ..Policy::default() };
    world.engine.deploy(&key("private"), private, fine);
    let destinations = both(Recipient::Function(key("private")), Form::Envelope);
    world.engine.deploy(
        &key("f"),
        policy(DeliveryPolicy { destinations, ..DeliveryPolicy::default() }),
        fine,
    );
    let mut call = crate::support::submission("f", "", Wishes::default());
    call.principal = Principal::Anonymous;
    world.delivery.submit(call).await.unwrap();
    until("the result", async || world.engine.calls(&key("private")).len() == 1).await;
}

/// A function whose results go to itself.
#[tokio::test]
async fn a_loop_of_results_ends() {
    let world = World::new().await;
    let destinations =
        Destinations { on_success: to(Recipient::Function(key("f")), Form::Answer), on_failure: Vec::new() };
    let delivery = DeliveryPolicy { destinations, ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), fine);
    world.submit("f", "", Wishes::default()).await;
    let query = EntryQuery { state: Some("dead".into()), ..EntryQuery::default() };
    until("the loop to be found", async || {
        !world.delivery.messages(&query).await.unwrap().entries.is_empty()
    })
    .await;
    let entries = world.delivery.messages(&query).await.unwrap().entries;
    assert_eq!(entries.len(), 1);
    assert!(matches!(entries[0].state, EntryState::Dead { death: Death::Loop, .. }), "{entries:?}");
    assert_eq!(world.engine.calls(&key("f")).len(), usize::from(MAX_HOPS));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.delivery.queues(None).await.unwrap().len(), 1, "nothing else is left");
}

#[tokio::test]
async fn a_destination_that_cannot_be_is_counted() {
    let world = World::new().await;
    let foreign = xebec_core::FunctionKey::new(&xebec_core::Tenant::new("other"), "native", "g");
    let mut destinations = both(Recipient::Url("nonsense".into()), Form::Answer);
    destinations.on_success.extend(to(Recipient::Function(foreign), Form::Answer));
    world.engine.deploy(
        &key("f"),
        policy(DeliveryPolicy { destinations, ..DeliveryPolicy::default() }),
        fine,
    );
    let id = world.submit("f", "", Wishes::default()).await.id;
    world.over(id).await;
    let mut metrics = String::new();
    world.delivery.metrics(&mut metrics);
    assert!(metrics.contains("xebec_results_total{result=\"failed\"} 2\n"), "{metrics}");
}
