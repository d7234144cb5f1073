//! Scaling: by processor time, by what waits in a queue, by calls; and what functions use.

use crate::world::{World, eventually, key};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use xebec_core::{
    policy::{Metric, Scaling},
    ports::control::{Control, Deployment},
};

/// Calls that go on until they are aborted.
fn hold(world: &Arc<World>, calls: usize) -> Vec<JoinHandle<()>> {
    let call = |_| {
        let world = world.clone();
        tokio::spawn(async move {
            let _ = world.call("f", "/for/ever").await;
        })
    };
    (0..calls).map(call).collect()
}

fn by(metric: Metric, target: f64) -> Scaling {
    Scaling { target: Some(target), ..Scaling::by(metric) }
}

async fn world(change: impl FnOnce(&mut Deployment)) -> Arc<World> {
    let world = World::new();
    world
        .deploy("f", |deployment| {
            deployment.revision.limits.concurrency = 100;
            deployment.revision.limits.clocks.run = Duration::from_secs(86_400);
            deployment.revision.limits.clocks.first_byte = Duration::from_secs(86_400);
            deployment.policy.max_instances = 8;
            deployment.policy.keep_alive_seconds = Some(20);
            change(deployment);
        })
        .await;
    Arc::new(world)
}

fn ready(world: &World) -> u32 {
    world.view("f").live.ready
}

#[tokio::test(start_paused = true)]
async fn by_processor_time() {
    let world = world(|d| d.policy.scaling = by(Metric::Cpu, 500.0)).await;
    world.script.busy_millis.store(1_800, SeqCst);
    let calls = hold(&world, 1);
    eventually("1800 thousandths of a core, 500 for each", || ready(&world) == 4).await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!((ready(&world), world.view("f").live.desired), (4, 4));
    let metrics = world.metrics();
    let series = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name) && line.contains("function=\"f\""));
        line.and_then(|line| line.rsplit_once(' ')).map(|(_, value)| value.parse::<f64>().unwrap())
    };
    let load = series("xebec_scaling_load").unwrap();
    assert!((1_700.0..1_900.0).contains(&load), "{load}");
    assert_eq!(series("xebec_scaling_target"), Some(500.0));
    assert_eq!(series("xebec_instances_desired"), Some(4.0));
    assert!(series("xebec_cpu_seconds_total").unwrap() > 300.0, "{metrics}");
    assert!(series("xebec_memory_bytes").unwrap() > 0.0, "{metrics}");

    world.script.busy_millis.store(400, SeqCst);
    eventually("400, 500 for each", || ready(&world) == 1).await;
    calls.iter().for_each(JoinHandle::abort);
    eventually("none, after its keep-alive", || ready(&world) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_wished_within_the_window_stays() {
    let scaling = Scaling { down_window_seconds: 300, ..by(Metric::Cpu, 500.0) };
    let world = world(|d| d.policy.scaling = scaling).await;
    world.script.busy_millis.store(1_800, SeqCst);
    let calls = hold(&world, 1);
    eventually("busy", || ready(&world) == 4).await;
    world.script.busy_millis.store(100, SeqCst);
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(290) {
        assert_eq!(ready(&world), 4, "after {:?}", quiet.elapsed());
        sleep(Duration::from_secs(1)).await;
    }
    eventually("the window has passed", || ready(&world) == 1).await;
    calls.iter().for_each(JoinHandle::abort);
    eventually("none", || ready(&world) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn by_what_waits_in_a_queue_without_any_call() {
    let world = world(|d| d.policy.scaling = by(Metric::Queue, 10.0)).await;
    // What does not go by a queue is told in vain.
    world.deploy("other", |_| {}).await;
    for _ in 0..120 {
        world.engine.note_backlog(&key("f"), 45);
        world.engine.note_backlog(&key("other"), 45);
        world.engine.note_backlog(&key("nobody"), 45);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(ready(&world), 5, "45 messages, 10 for each; kept however long they are idle");
    assert_eq!(world.view("other").live.ready, 0);
    world.engine.note_backlog(&key("f"), 1_000);
    eventually("as many as there may be", || ready(&world) == 8).await;
    // Nobody tells any more: that counts as an empty queue.
    eventually("to zero", || ready(&world) == 0).await;
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
}

#[tokio::test(start_paused = true)]
async fn a_queue_wants_no_more_than_messages_can_run() {
    let world = world(|d| {
        d.policy.scaling = by(Metric::Queue, 1.0);
        d.policy.delivery.concurrency = 3;
    })
    .await;
    for _ in 0..10 {
        world.engine.note_backlog(&key("f"), 1_000);
        sleep(Duration::from_secs(1)).await;
        assert!(ready(&world) <= 3, "{}", ready(&world));
    }
    assert_eq!(ready(&world), 3);
    let changed = xebec_core::policy::Policy { max_instances: 8, ..world.view("f").function.policy };
    let changed = xebec_core::policy::Policy { scaling: Scaling::default(), ..changed };
    world.engine.set_policy(&key("f"), changed).await.unwrap();
    world.engine.note_backlog(&key("f"), 1_000);
    eventually("it goes by its calls now", || ready(&world) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn calls_are_spread_over_what_is_wanted() {
    let capacity = Scaling { proportion: 1.0, ..by(Metric::Concurrency, 2.0) };
    let world = world(|d| d.policy.scaling = capacity).await;
    let calls = hold(&world, 8);
    eventually("8 calls, 2 for each", || ready(&world) == 4).await;
    let more = hold(&world, 6);
    let served = || {
        let mut served: Vec<u32> = world.script.served.lock().values().copied().collect();
        served.sort_unstable();
        served
    };
    eventually("the new ones go where there is most room", || served() == [2, 2, 2, 8]).await;
    calls.iter().chain(&more).for_each(JoinHandle::abort);
    eventually("none", || ready(&world) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_functions_use() {
    let world = world(|_| {}).await;
    assert_eq!(world.engine.usage(&key("nobody")).await, None);
    assert_eq!(world.engine.usage(&key("f")).await, Some(Default::default()));
    world.script.busy_millis.store(600, SeqCst);
    world.engine.scale(&key("f"), 3).await.unwrap();
    eventually("three", || ready(&world) == 3).await;
    sleep(Duration::from_secs(20)).await;
    let first = world.engine.usage(&key("f")).await.unwrap();
    assert_eq!(first.memory_bytes, 3 << 20);
    assert!((550.0..650.0).contains(&first.cpu_millis), "{first:?}");
    assert!((10.0..14.0).contains(&first.cpu_seconds), "{first:?}");
    assert_eq!(world.engine.usage(&key("f")).await, Some(first), "it was measured just now");
    let told = world.engine.usages();
    assert_eq!(told, [(key("f"), first)]);

    sleep(Duration::from_secs(5)).await;
    world.engine.scale(&key("f"), 0).await.unwrap();
    eventually("none", || ready(&world) == 0).await;
    sleep(Duration::from_secs(2)).await;
    let last = world.engine.usage(&key("f")).await.unwrap();
    assert_eq!((last.memory_bytes, last.cpu_millis), (0, 0.0));
    let since = last.cpu_seconds - first.cpu_seconds;
    // Three seconds, and up to twice as much: those that end later have the load of those that ended before.
    assert!((2.5..6.0).contains(&since), "what was used until the end counts, too: {since} s");
}
