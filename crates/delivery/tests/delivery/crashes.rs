//! Servers that end in the middle, again and again, before a queue that fails now and then.

use crate::support::{
    World, both,
    engine::{Answered, Seen, answer, key},
    fine, policy, quick, until,
};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio::runtime::Runtime;
use xebec_core::{
    InvocationId, InvokeError, Outcome,
    message::{Form, Guarantee, Recipient, Wishes},
    outcome::FunctionFault,
    policy::{Batch, Delivery as DeliveryPolicy, Policy},
    ports::{
        deliveries::Deliveries as _,
        queue::{EntryQuery, EntryState, Queue as _},
    },
    rules::retry::Death,
};
use xebec_delivery::DeliveryOptions;

const MESSAGES: usize = 60;
const CRASHES: usize = 8;

/// Answers well mostly, and otherwise in all sorts of ways.
async fn moody(seen: Seen) -> Answered {
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..15))).await;
    match rand::random_range(0..10) {
        0 => answer(503, ""),
        1 => {
            let crash = Outcome::FunctionError(FunctionFault::Crash);
            Err(Box::new(InvokeError::new(seen.id, crash, "it crashed")))
        }
        _ => answer(200, "done"),
    }
}

/// Which messages a call was for.
fn messages_of(seen: &Seen) -> Vec<InvocationId> {
    match serde_json::from_slice::<serde_json::Value>(&seen.body) {
        Ok(batch) => {
            let messages = batch["messages"].as_array().unwrap();
            messages.iter().map(|message| message["id"].as_str().unwrap().parse().unwrap()).collect()
        }
        Err(_) => vec![seen.id],
    }
}

async fn submit_all(world: &World) -> HashMap<InvocationId, Guarantee> {
    let mut all = HashMap::new();
    for n in 0..MESSAGES {
        let guarantee = if n % 3 == 0 { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce };
        let body = "x".repeat(if n % 5 == 0 { 100_000 } else { 10 });
        let destinations = both(Recipient::Function(key("told")), Form::Envelope);
        let wishes = Wishes { guarantee: Some(guarantee), destinations, ..Wishes::default() };
        all.insert(world.submit("f", body, wishes).await.id, guarantee);
    }
    all
}

async fn nothing_is_lost(batch: Option<Batch>) {
    let options = DeliveryOptions { sweep: Duration::from_millis(10), ..DeliveryOptions::default() };
    let world = World::still(options.clone());
    let delivery = DeliveryPolicy { retry: quick(100), batch, ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), moody);
    world.engine.deploy(&key("told"), Policy::default(), fine);
    let all = submit_all(&world).await;

    *world.faults.chance.lock().unwrap() = 0.05;
    for _ in 0..CRASHES {
        let server = Runtime::new().unwrap();
        let delivery = world.beside(options.clone());
        server.spawn(async move {
            delivery.start().await;
            std::future::pending::<()>().await;
        });
        tokio::time::sleep(Duration::from_millis(rand::random_range(5..40))).await;
        server.shutdown_background();
        world.queue.restart();
    }
    *world.faults.chance.lock().unwrap() = 0.0;
    world.delivery.start().await;
    until("all to be over", async || {
        let stats = world.delivery.queues(None).await.unwrap();
        stats.iter().all(|stats| stats.waiting + stats.running == 0)
    })
    .await;

    let mut ran: HashMap<InvocationId, usize> = HashMap::new();
    for seen in world.engine.calls(&key("f")) {
        messages_of(&seen).into_iter().for_each(|id| *ran.entry(id).or_default() += 1);
    }
    let mut results: HashMap<String, HashSet<InvocationId>> = HashMap::new();
    for seen in world.engine.calls(&key("told")) {
        results.entry(seen.header("x-xebec-result-of").to_owned()).or_default().insert(seen.id);
    }
    let mut dead = HashMap::new();
    let query = EntryQuery { limit: Some(1000), ..EntryQuery::default() };
    for entry in world.delivery.messages(&query).await.unwrap().entries {
        let EntryState::Dead { death, .. } = entry.state else { panic!("{entry:?}") };
        dead.insert(entry.message.id, death);
    }
    for (id, guarantee) in &all {
        let times = ran.get(id).copied().unwrap_or_default();
        match (guarantee, dead.get(id)) {
            (Guarantee::AtLeastOnce, None) => assert!(times >= 1, "{id} was over without having run"),
            (Guarantee::AtLeastOnce, Some(death)) => panic!("{id} died: {death}"),
            (Guarantee::AtMostOnce, None) => assert_eq!(times, 1, "{id}"),
            (Guarantee::AtMostOnce, Some(death)) => {
                assert!(times <= 1 && matches!(death, Death::Failed | Death::Interrupted), "{id} {death}");
            }
        }
        let told = results.get(&id.to_string()).map_or(0, HashSet::len);
        assert_eq!(told, 1, "the result of {id} is one message");
        assert!(world.records.of(*id).is_some(), "{id} has a record");
    }
    assert_eq!(dead.len(), dead.keys().filter(|id| all.contains_key(id)).count(), "no result is dead");
    // What crashes left behind is swept, what is named stays.
    world.blobs.blobs.lock().unwrap().values_mut().for_each(|blob| blob.1 = 9999);
    let named = world.queue.blobs().await.unwrap().len();
    until("the sweep", async || world.blobs.count() == named).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_servers_end_in_the_middle() {
    nothing_is_lost(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_batch_is_lost_either() {
    nothing_is_lost(Some(Batch { size: 8, wait_ms: 5 })).await;
}
