//! Leases, cancelling, stopping, and who is served how.

use crate::support::{
    World,
    engine::{Answered, Seen, answer, key},
    fine, policy, quick, until,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use xebec_core::{
    InvocationId, Tenant,
    message::{Guarantee, Lane, Target, Wishes},
    policy::{Delivery as DeliveryPolicy, Policy},
    ports::{
        clock::Clock as _,
        deliveries::Deliveries as _,
        queue::{EntryState, Place},
    },
    rules::retry::{Death, History},
};
use xebec_delivery::DeliveryOptions;

async fn hang(_: Seen) -> Answered {
    std::future::pending().await
}

async fn begun(world: &World, name: &str, count: usize) {
    until("the calls to begin", async || world.engine.calls(&key(name)).len() >= count).await;
}

#[tokio::test]
async fn cancels_what_runs() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), hang);
    let id = world.submit("f", vec![1; 100_000], Wishes::default()).await.id;
    begun(&world, "f", 1).await;
    let asked = Instant::now();
    let entry = world.delivery.cancel(&id).await.unwrap();
    assert!(matches!(entry.state, EntryState::Running { cancelled: true, .. }), "{entry:?}");
    world.over(id).await;
    assert!(asked.elapsed() < Duration::from_secs(5), "it does not wait for the lease");
    assert_eq!(world.engine.dropped.load(SeqCst), 1);
    let record = world.records.of(id).unwrap();
    assert_eq!(record.outcome.name(), "cancelled");
    assert_eq!(record.message.unwrap(), "it was cancelled while it ran");
    until("the body to go", async || world.blobs.count() == 0).await;
}

/// One server runs it, another one is asked to cancel it.
#[tokio::test]
async fn cancels_what_runs_elsewhere() {
    let options = DeliveryOptions { lease: Duration::from_millis(300), ..DeliveryOptions::default() };
    let world = World::still(options);
    world.delivery.start().await;
    world.engine.deploy(&key("f"), Policy::default(), hang);
    let id = world.submit("f", "", Wishes::default()).await.id;
    begun(&world, "f", 1).await;
    let other = world.beside(DeliveryOptions::default());
    other.cancel(&id).await.unwrap();
    world.over(id).await;
    assert_eq!(world.engine.dropped.load(SeqCst), 1);
}

#[tokio::test]
async fn a_long_call_keeps_its_lease() {
    let options = DeliveryOptions { lease: Duration::from_millis(150), ..DeliveryOptions::default() };
    let world = World::still(options);
    world.delivery.start().await;
    world.engine.deploy(&key("f"), Policy::default(), |_: Seen| async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        answer(200, "")
    });
    let id = world.submit("f", "", Wishes::default()).await.id;
    world.over(id).await;
    assert_eq!(world.engine.calls(&key("f")).len(), 1);
}

#[tokio::test]
async fn a_claim_that_is_lost_is_abandoned() {
    let options = DeliveryOptions { lease: Duration::from_millis(600), ..DeliveryOptions::default() };
    let world = World::still(options);
    world.delivery.start().await;
    world.engine.deploy(&key("f"), Policy::default(), |seen: Seen| async move {
        if seen.attempt == 1 { hang(seen).await } else { answer(200, "") }
    });
    let id = world.submit("f", "", Wishes::default()).await.id;
    begun(&world, "f", 1).await;
    // The server sleeps for longer than its lease.
    world.clock.advance(Duration::from_secs(60));
    world.over(id).await;
    assert_eq!(world.engine.calls(&key("f")).iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2]);
    until("the first to be dropped", async || world.engine.dropped.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn stopping_hands_back_what_runs() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), |seen: Seen| async move {
        if seen.body == "slow" { hang(seen).await } else { answer(200, "") }
    });
    let often = world.submit("f", "slow", Wishes::default()).await.id;
    let guarantee = Some(Guarantee::AtMostOnce);
    let once = world.submit("f", "slow", Wishes { guarantee, ..Wishes::default() }).await.id;
    begun(&world, "f", 2).await;
    world.delivery.shutdown(Duration::from_millis(50)).await;
    let entry = world.entry(often).await.unwrap();
    assert!(matches!(entry.state, EntryState::Waiting { due } if due <= world.clock.now()), "{entry:?}");
    assert_eq!(entry.history, History::default(), "it counts nothing");
    assert_eq!(world.dead(once).await.0, Death::Interrupted);
    assert_eq!(world.engine.dropped.load(SeqCst), 2);
    let id = world.submit("f", "", Wishes::default()).await.id;
    assert!(world.entry(id).await.is_some(), "it still accepts, and runs nothing");

    world.engine.deploy(&key("f"), Policy::default(), fine);
    let next = world.beside(DeliveryOptions::default());
    next.start().await;
    world.over(often).await;
    world.over(id).await;
}

#[tokio::test]
async fn stopping_lets_calls_end_within_the_grace() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), |_: Seen| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        answer(200, "")
    });
    let id = world.submit("f", "", Wishes::default()).await.id;
    begun(&world, "f", 1).await;
    let began = Instant::now();
    world.delivery.shutdown(Duration::from_secs(20)).await;
    assert!(world.entry(id).await.is_none());
    assert!(began.elapsed() < Duration::from_secs(5));
    let idle = World::new().await;
    let began = Instant::now();
    idle.delivery.shutdown(Duration::from_secs(20)).await;
    assert!(began.elapsed() < Duration::from_secs(2), "nothing to wait for");
}

#[tokio::test]
async fn a_failing_function_does_not_hold_up_another() {
    let options = DeliveryOptions { claims: 8, tenant_claims: 6, ..DeliveryOptions::default() };
    let world = World::still(options);
    world.delivery.start().await;
    let few = DeliveryPolicy { concurrency: 2, ..DeliveryPolicy::default() };
    world.engine.deploy(&key("stuck"), policy(few), hang);
    let bad = DeliveryPolicy { retry: quick(1000), ..DeliveryPolicy::default() };
    world.engine.deploy(&key("bad"), policy(bad), |_: Seen| async { answer(500, "") });
    world.engine.deploy(&key("good"), Policy::default(), fine);
    for _ in 0..50 {
        world.submit("stuck", "", Wishes::default()).await;
        world.submit("bad", "", Wishes::default()).await;
    }
    for _ in 0..20 {
        let id = world.submit("good", "", Wishes::default()).await.id;
        world.over(id).await;
    }
    assert_eq!(world.engine.calls(&key("stuck")).len(), 2, "its lane has no more");
}

#[tokio::test]
async fn no_tenant_takes_all_claims() {
    let options = DeliveryOptions { claims: 8, tenant_claims: 6, ..DeliveryOptions::default() };
    let world = World::still(options);
    world.delivery.start().await;
    world.engine.deploy(&key("stuck"), Policy::default(), hang);
    for _ in 0..50 {
        world.submit("stuck", "", Wishes::default()).await;
    }
    begun(&world, "stuck", 6).await;
    let other = xebec_core::FunctionKey::new(&Tenant::new("other"), "native", "f");
    world.engine.deploy(&other, Policy::default(), fine);
    let mut call = crate::support::submission("f", "", Wishes::default());
    call.function = other;
    let id = world.delivery.submit(call).await.unwrap().id;
    world.over(id).await;
    assert_eq!(world.engine.calls(&key("stuck")).len(), 6);
}

#[tokio::test]
async fn lanes_follow_policies() {
    let world = World::new().await;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let deploy = |concurrency| {
        let (running, most) = (running.clone(), most.clone());
        let delivery = DeliveryPolicy { concurrency, ..DeliveryPolicy::default() };
        world.engine.deploy(&key("f"), policy(delivery), move |_: Seen| {
            let (running, most) = (running.clone(), most.clone());
            async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                running.fetch_sub(1, SeqCst);
                answer(200, "")
            }
        });
    };
    deploy(3);
    let queue = |name: &str| Wishes { queue: Some(name.into()), ..Wishes::default() };
    let run = async |name: &str| -> usize {
        most.store(0, SeqCst);
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(world.submit("f", "", queue(name)).await.id);
        }
        for id in ids {
            world.over(id).await;
        }
        most.load(SeqCst)
    };
    assert_eq!(run("default").await, 3);
    assert_eq!(run("another").await, 3, "in each of its lanes");
    deploy(1);
    assert_eq!(run("default").await, 1);
    assert_eq!(run("another").await, 1);
}

#[tokio::test]
async fn pausing_holds_and_resuming_lets_go() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let place = Place::Function(key("f"));
    world.delivery.pause(&place).await.unwrap();
    let id = world.submit("f", "", Wishes::default()).await.id;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(world.engine.calls(&key("f")).is_empty());
    assert!(world.delivery.queues(None).await.unwrap()[0].paused);
    world.delivery.resume(&place).await.unwrap();
    world.over(id).await;
}

#[tokio::test]
async fn whoever_consumes_a_queue_gets_its_messages() {
    use crate::support::{both, to};
    use xebec_core::message::{Destinations, Form, Recipient};
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let destinations = both(Recipient::Queue("inbox".into()), Form::Answer);
    let id = world.submit("f", "", Wishes { destinations, ..Wishes::default() }).await.id;
    world.over(id).await;
    let lane = Lane { tenant: Tenant::default(), queue: "inbox".into(), target: Target::Consumer };
    let waiting = async || {
        let stats = world.delivery.queues(None).await.unwrap();
        stats.iter().find(|stats| stats.lane == lane).map_or(0, |stats| stats.waiting)
    };
    assert_eq!(waiting().await, 1, "nobody consumes it");
    let consuming = || {
        let consumes = vec!["inbox".into()];
        policy(DeliveryPolicy { consumes, ..DeliveryPolicy::default() })
    };
    world.engine.deploy(&key("z"), consuming(), fine);
    until("it to be consumed", async || waiting().await == 0).await;
    until("the call", async || world.engine.calls(&key("z")).len() == 1).await;
    let seen = &world.engine.calls(&key("z"))[0];
    assert_eq!((&seen.body[..], seen.header("x-xebec-hops")), (&b"fine"[..], "1"));
    assert_eq!(seen.header("x-xebec-result-of"), id.to_string());

    world.engine.deploy(&key("a"), consuming(), fine);
    let on_success = to(Recipient::Queue("inbox".into()), Form::Answer);
    let send = async || {
        let destinations = Destinations { on_success: on_success.clone(), on_failure: Vec::new() };
        world.over(world.submit("f", "", Wishes { destinations, ..Wishes::default() }).await.id).await;
    };
    until("the first by key to take over", async || {
        send().await;
        !world.engine.calls(&key("a")).is_empty()
    })
    .await;
    world.engine.undeploy(&key("a"));
    world.engine.undeploy(&key("z"));
    until("the lane to close", async || {
        send().await;
        waiting().await > 0
    })
    .await;
}

#[tokio::test]
async fn deletes_bodies_that_no_message_names() {
    let options = DeliveryOptions { sweep: Duration::from_millis(20), ..DeliveryOptions::default() };
    let world = World::still(options);
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let delay = Some(Duration::from_secs(9999));
    let id = world.submit("f", vec![1; 100_000], Wishes { delay, ..Wishes::default() }).await.id;
    let put = |name: &str, age| {
        let digest = xebec_core::Digest::of(name);
        world.blobs.blobs.lock().unwrap().insert(digest, (bytes::Bytes::from("x"), age));
    };
    world.blobs.blobs.lock().unwrap().values_mut().for_each(|blob| blob.1 = 9999);
    put("old", 3600);
    put("young", 3599);
    world.delivery.start().await;
    until("the sweep", async || world.blobs.count() == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.blobs.count(), 2);
    assert!(world.delivery.body(&id).await.is_ok());
}

/// From accepting to beginning, with a queue that costs nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn begins_at_once() {
    let world = World::new().await;
    let (began, mut times) = tokio::sync::mpsc::unbounded_channel();
    world.engine.deploy(&key("f"), Policy::default(), move |seen: Seen| {
        began.send((seen.id, Instant::now())).unwrap();
        async { answer(200, "") }
    });
    let mut waits = Vec::new();
    for _ in 0..100 {
        let asked = Instant::now();
        let id: InvocationId = world.submit("f", "", Wishes::default()).await.id;
        let (of, at) = times.recv().await.unwrap();
        assert_eq!(of, id);
        waits.push(at.duration_since(asked));
        world.over(id).await;
    }
    waits.sort_unstable();
    eprintln!("from submit to start: p50 {:?}, p99 {:?}", waits[50], waits[98]);
    assert!(waits[50] < Duration::from_millis(20), "{:?}", waits[50]);
}
