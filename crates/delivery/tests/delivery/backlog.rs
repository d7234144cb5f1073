//! What waits is told to the engine, for functions that are scaled by it.

use crate::support::{
    World, both,
    engine::{Answered, Seen, key},
    fine, policy, until,
};
use std::time::Duration;
use xebec_core::{
    message::{Form, Recipient, Wishes},
    policy::{Delivery as DeliveryPolicy, Metric, Policy, Scaling},
    ports::{deliveries::Deliveries as _, queue::Place},
};

async fn hang(_: Seen) -> Answered {
    std::future::pending().await
}

async fn told(world: &World, name: &str, waiting: u64) {
    until(&format!("{waiting} messages to be told"), async || {
        world.engine.backlogs.lock().unwrap().get(&key(name)) == Some(&waiting)
    })
    .await;
}

#[tokio::test]
async fn what_could_begin_is_told_of_those_who_are_scaled_by_it() {
    let world = World::new().await;
    let one = policy(DeliveryPolicy { concurrency: 1, ..DeliveryPolicy::default() });
    world.engine.deploy(&key("other"), one.clone(), hang);
    let scaled = Policy { scaling: Scaling::by(Metric::Queue), ..one };
    world.engine.deploy(&key("f"), scaled, hang);
    for name in ["f", "other"] {
        for queue in ["default", "default", "default", "another", "another"] {
            let wishes = Wishes { queue: Some(queue.into()), ..Wishes::default() };
            world.submit(name, "", wishes).await;
        }
        let late = Wishes { delay: Some(Duration::from_secs(3600)), ..Wishes::default() };
        world.submit(name, "", late).await;
    }
    // One of each lane runs, and one is not due.
    told(&world, "f", 3).await;
    world.delivery.pause(&Place::Function(key("f"))).await.unwrap();
    told(&world, "f", 0).await;
    world.delivery.resume(&Place::Function(key("f"))).await.unwrap();
    told(&world, "f", 3).await;
    assert!(!world.engine.backlogs.lock().unwrap().contains_key(&key("other")));
}

#[tokio::test]
async fn messages_without_a_target_are_told_to_who_consumes_them() {
    let world = World::new().await;
    let delivery = DeliveryPolicy { concurrency: 1, ..DeliveryPolicy::default() };
    world.engine.deploy(&key("sender"), policy(delivery.clone()), fine);
    let consuming = DeliveryPolicy { consumes: vec!["orders".into()], ..delivery };
    let scaled = Policy { scaling: Scaling::by(Metric::Queue), ..policy(consuming) };
    world.engine.deploy(&key("taker"), scaled, hang);
    for _ in 0..4 {
        let destinations = both(Recipient::Queue("orders".into()), Form::Answer);
        world.submit("sender", "", Wishes { destinations, ..Wishes::default() }).await;
    }
    told(&world, "taker", 3).await;
}
