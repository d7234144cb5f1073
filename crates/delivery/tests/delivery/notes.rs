//! What a door wants kept of a call goes with its message, whatever becomes of it.

use crate::support::{
    World,
    engine::{Answered, Seen, answer, key},
    fine, policy, quick, submission, until,
};
use http::Response;
use serde_json::json;
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use xebec_core::{
    Body, InvocationId, Outcome, Tenant,
    message::{Guarantee, Submission, Wishes},
    policy::{Batch, Delivery as DeliveryPolicy, Policy},
    ports::{
        deliveries::Deliveries as _,
        queue::{Ask, Queue as _},
    },
    record::{Filed, Note, Noted, Remarks},
    rules::retry::Retry,
};
use xebec_delivery::DeliveryOptions;

fn note() -> Note {
    Note {
        filed: Some(Filed { tenant: Tenant::new("ann"), name: "f".into() }),
        cause: None,
        details: json!({ "kind": "fake" }),
        answer_bytes: 100,
    }
}

async fn submit(world: &World, wishes: Wishes) -> InvocationId {
    let submission = Submission { note: Some(Arc::new(note())), ..submission("f", "body", wishes) };
    world.delivery.submit(submission).await.unwrap().id
}

fn assert_noted(world: &World, id: InvocationId, outcome: &str) {
    let record = world.records.of(id).unwrap();
    assert_eq!(record.outcome.name(), outcome, "{record:?}");
    assert_eq!(record.noted.as_deref(), Some(&Noted::from(note())), "{outcome}");
}

async fn hang(_: Seen) -> Answered {
    std::future::pending().await
}

#[tokio::test]
async fn a_note_goes_with_every_attempt() {
    let world = World::new().await;
    let delivery = DeliveryPolicy { retry: quick(2), ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), async |seen: Seen| {
        answer(if seen.attempt == 1 { 503 } else { 200 }, "")
    });
    let id = submit(&world, Wishes::default()).await;
    world.over(id).await;
    let notes: Vec<_> = world.engine.calls(&key("f")).into_iter().map(|seen| seen.note).collect();
    assert_eq!(notes, [Some(Arc::new(note())), Some(Arc::new(note()))]);
    assert_noted(&world, id, "success");
}

#[tokio::test]
async fn each_of_a_batch_has_its_note() {
    for together in [1, 3] {
        let world = World::still(DeliveryOptions::default());
        let batch = Some(Batch { size: 8, wait_ms: 1 });
        let delivery = DeliveryPolicy { batch, ..DeliveryPolicy::default() };
        world.engine.deploy(&key("f"), policy(delivery), fine);
        let mut all = Vec::new();
        for _ in 0..together {
            all.push(submit(&world, Wishes::default()).await);
        }
        world.delivery.start().await;
        for id in all {
            world.over(id).await;
            assert_noted(&world, id, "success");
        }
    }
}

#[tokio::test]
async fn what_never_ran_has_its_note() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let expired = submit(&world, Wishes { expiry: Some(Duration::from_secs(5)), ..Wishes::default() }).await;
    let cancelled =
        submit(&world, Wishes { delay: Some(Duration::from_secs(900)), ..Wishes::default() }).await;
    world.delivery.cancel(&cancelled).await.unwrap();
    assert_noted(&world, cancelled, "cancelled");
    world.clock.advance(Duration::from_secs(6));
    world.delivery.start().await;
    world.dead(expired).await;
    assert_noted(&world, expired, "overloaded");
    world.engine.undeploy(&key("f"));
    assert!(world.engine.calls(&key("f")).is_empty());
}

#[tokio::test]
async fn what_is_cancelled_while_it_runs_has_its_note() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), hang);
    let id = submit(&world, Wishes::default()).await;
    until("the call to begin", async || !world.engine.calls(&key("f")).is_empty()).await;
    world.delivery.cancel(&id).await.unwrap();
    world.over(id).await;
    assert_eq!(world.engine.dropped.load(SeqCst), 1);
    assert_noted(&world, id, "cancelled");
}

#[tokio::test]
async fn what_a_crash_interrupted_has_its_note_and_runs_no_second_time() {
    let world = World::still(DeliveryOptions::default());
    let delivery = DeliveryPolicy { dead_letters: false, ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), fine);
    let id = submit(&world, Wishes { guarantee: Some(Guarantee::AtMostOnce), ..Wishes::default() }).await;
    // Whoever claimed it ended.
    let ask = Ask { most: 9, lease: Duration::from_secs(30), wait: Duration::from_secs(60) };
    assert_eq!(world.queue.claim(ask).await.unwrap().len(), 1);
    world.queue.restart();
    world.delivery.start().await;
    world.over(id).await;
    assert!(world.engine.calls(&key("f")).is_empty());
    assert_noted(&world, id, "internal");
    assert!(world.records.of(id).unwrap().message.unwrap().contains("at most once"));
}

#[tokio::test]
async fn how_a_call_ended_may_be_said_beside_its_answer() {
    let world = World::new().await;
    let retry = Retry { outcomes: vec!["application_error".into()], ..quick(2) };
    let delivery = DeliveryPolicy { retry, ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), async |seen: Seen| {
        let mut response = Response::new(Body::full("fine, really"));
        let outcome = (seen.attempt == 1).then_some(Outcome::ApplicationError);
        response.extensions_mut().insert(Remarks { outcome, details: json!({}) });
        Ok(response)
    });
    let id = world.submit("f", "", Wishes::default()).await.id;
    world.over(id).await;
    assert_eq!(world.engine.calls(&key("f")).len(), 2, "what was said to have failed was tried again");
}
