//! A queue that is away, and forgets to answer.

use crate::support::{
    World, both,
    engine::{Seen, answer, key},
    faults::Fault::{After, Before},
    fine, submission, until,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use xebec_core::{
    message::{Form, Recipient, Wishes},
    policy::Policy,
    ports::{deliveries::Deliveries as _, queue::Place},
};
use xebec_delivery::DeliveryOptions;

#[tokio::test]
async fn settles_when_the_queue_is_back() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), fine);
    *world.faults.settle.lock().unwrap() = vec![Before; 3];
    let id = world.submit("f", "", Wishes::default()).await.id;
    world.over(id).await;
    assert_eq!(world.engine.calls(&key("f")).len(), 1, "it ran once");
}

#[tokio::test]
async fn a_settlement_whose_answer_is_lost_is_not_made_twice() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), |_: Seen| async { answer(200, vec![b'x'; 100_000]) });
    world.engine.deploy(&key("told"), Policy::default(), fine);
    *world.faults.settle.lock().unwrap() = vec![After];
    let told = Place::Function(key("told"));
    world.delivery.pause(&told).await.unwrap();
    let destinations = both(Recipient::Function(key("told")), Form::Answer);
    world.submit("f", "", Wishes { destinations, ..Wishes::default() }).await;
    let counted = "xebec_message_attempts_total{outcome=\"success\"} 1\n";
    until("the call to be counted", async || world.metrics().contains(counted)).await;
    until("the claim to end", async || world.metrics().contains("xebec_messages_in_flight 0\n")).await;
    assert!(world.metrics().contains("xebec_message_claims_lost_total 0\n"), "{}", world.metrics());
    world.delivery.resume(&told).await.unwrap();
    until("all to be over", async || world.delivery.queues(None).await.unwrap().is_empty()).await;
    assert_eq!(world.engine.calls(&key("f")).len(), 1);
    let told = world.engine.calls(&key("told"));
    assert_eq!((told.len(), told[0].body.len()), (1, 100_000), "once, and whole");
}

#[tokio::test]
async fn claims_when_the_queue_is_back() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), fine);
    *world.faults.claim.lock().unwrap() = vec![Before; 3];
    world.delivery.start().await;
    let id = world.submit("f", "", Wishes::default()).await.id;
    world.over(id).await;
}

#[tokio::test]
async fn a_message_that_was_not_accepted_leaves_nothing() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), fine);
    *world.faults.enqueue.lock().unwrap() = vec![Before];
    let refused = world.delivery.submit(submission("f", vec![1; 100_000], Wishes::default())).await;
    assert_eq!(refused.unwrap_err().code, "XB4023");
    assert_eq!(world.blobs.count(), 0);
}

/// The sender is told that it failed, and yet it was taken: then it must run with its body.
#[tokio::test]
async fn a_message_that_was_accepted_in_secret_keeps_its_body() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), fine);
    *world.faults.enqueue.lock().unwrap() = vec![After];
    let unknown = world.delivery.submit(submission("f", vec![1; 100_000], Wishes::default())).await;
    assert_eq!(unknown.unwrap_err().code, "XB4023");
    assert_eq!(world.blobs.count(), 1);
    world.delivery.start().await;
    until("the call", async || world.engine.calls(&key("f")).len() == 1).await;
    assert_eq!(world.engine.calls(&key("f"))[0].body.len(), 100_000);
}

#[tokio::test]
async fn a_call_goes_on_while_its_lease_cannot_be_extended() {
    let options = DeliveryOptions { lease: Duration::from_millis(600), ..DeliveryOptions::default() };
    let world = World::still(options);
    world.delivery.start().await;
    world.engine.deploy(&key("f"), Policy::default(), |_: Seen| async {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        answer(200, "")
    });
    *world.faults.extend.lock().unwrap() = vec![Before; 3];
    let id = world.submit("f", "", Wishes::default()).await.id;
    world.over(id).await;
    assert_eq!(world.engine.calls(&key("f")).len(), 1);
}

#[tokio::test]
async fn large_bodies_take_turns_in_memory() {
    let options = DeliveryOptions { body_memory_bytes: 400_000, ..DeliveryOptions::default() };
    let world = World::still(options);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (running.clone(), most.clone());
    world.engine.deploy(&key("f"), Policy::default(), move |_: Seen| {
        let (now, peak) = (now.clone(), peak.clone());
        async move {
            peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, SeqCst);
            answer(200, "")
        }
    });
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(world.submit("f", vec![1; 300_000], Wishes::default()).await.id);
    }
    // One that is larger than all the memory there is gets all of it.
    ids.push(world.submit("f", vec![1; 600_000], Wishes::default()).await.id);
    world.delivery.start().await;
    for id in ids {
        world.over(id).await;
    }
    assert_eq!(most.load(SeqCst), 1);
}
