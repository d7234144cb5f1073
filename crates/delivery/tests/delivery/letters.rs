//! Functions that want no dead letters: what finally failed leaves its record, and nothing else.

use crate::support::{
    World, both,
    engine::{Answered, Seen, answer, key},
    fine, policy, quick, until,
};
use std::time::Duration;
use xebec_core::{
    InvocationId,
    message::{Form, Guarantee, Recipient, Wishes},
    policy::{Batch, Delivery as DeliveryPolicy, Policy},
    ports::deliveries::Deliveries as _,
};
use xebec_delivery::DeliveryOptions;

fn without_letters() -> DeliveryPolicy {
    DeliveryPolicy { dead_letters: false, retry: quick(2), ..DeliveryPolicy::default() }
}

async fn fail(_: Seen) -> Answered {
    answer(500, "no")
}

fn told(wishes: Wishes) -> Wishes {
    Wishes { destinations: both(Recipient::Function(key("told")), Form::Envelope), ..wishes }
}

/// Waits for the result of a call; returns why it died.
async fn death_of(world: &World, id: InvocationId) -> String {
    let found = || {
        let calls = world.engine.calls(&key("told"));
        calls.into_iter().find(|seen| seen.header("x-xebec-result-of") == id.to_string())
    };
    until("the result", async || found().is_some()).await;
    found().unwrap().json()["death"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn what_finally_failed_leaves_only_its_record() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), policy(without_letters()), fail);
    world.engine.deploy(&key("told"), Policy::default(), fine);
    let exhausted = world.submit("f", vec![1; 100_000], told(Wishes::default())).await.id;
    let guarantee = Some(Guarantee::AtMostOnce);
    let once = world.submit("f", "", told(Wishes { guarantee, ..Wishes::default() })).await.id;
    let expiry = Some(Duration::from_secs(5));
    let expired = world.submit("f", "", told(Wishes { expiry, ..Wishes::default() })).await.id;
    world.clock.advance(Duration::from_secs(6));
    world.delivery.start().await;
    for (id, death, outcome) in [
        (exhausted, "exhausted", "application_error"),
        (once, "failed", "application_error"),
        (expired, "expired", "overloaded"),
    ] {
        world.over(id).await;
        assert_eq!((death_of(&world, id).await.as_str(), world.outcome(id).as_str()), (death, outcome));
    }
    assert_eq!(world.engine.calls(&key("f")).len(), 3, "two attempts and one");
    until("the body to go", async || world.blobs.count() == 0).await;
    until("the results to be over", async || world.delivery.queues(None).await.unwrap().is_empty()).await;
    let metrics = world.metrics();
    assert!(!metrics.contains("xebec_dead_letters_total{"), "{metrics}");
}

#[tokio::test]
async fn what_was_promised_holds_when_the_function_is_gone() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), policy(without_letters()), fine);
    let id = world.submit("f", "", Wishes::default()).await.id;
    world.engine.undeploy(&key("f"));
    world.delivery.start().await;
    world.over(id).await;
    assert_eq!(world.outcome(id), "not_found");
}

#[tokio::test]
async fn nothing_stays_of_a_batch_either() {
    let world = World::still(DeliveryOptions::default());
    let batch = Some(Batch { size: 4, wait_ms: 1 });
    world.engine.deploy(&key("f"), policy(DeliveryPolicy { batch, ..without_letters() }), fail);
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(world.submit("f", "", Wishes::default()).await.id);
    }
    world.delivery.start().await;
    for id in all {
        world.over(id).await;
        assert_eq!(world.outcome(id), "application_error");
    }
}
