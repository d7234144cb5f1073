//! Random weeks of a pool's life on paused time: whatever comes, calls end in time, slots are not lost, and
//! nothing is started without need.

use crate::world::{World, eventually, invocation};
use proptest::prelude::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use xebec_core::{Body, ports::invoker::Invoker};

/// What one caller does.
#[derive(Clone, Debug)]
struct Caller {
    after_ms: u64,
    path: String,
    gives_up_after_ms: Option<u64>,
    hurries_ms: Option<u64>,
}

#[derive(Clone, Debug)]
struct Life {
    concurrency: u32,
    max_instances: u32,
    queue: u32,
    start_ms: u32,
    failing_starts: u32,
    turned_away: u32,
    callers: Vec<Caller>,
}

fn caller() -> impl Strategy<Value = Caller> {
    let path = prop_oneof![
        6 => (0u64..400).prop_map(|ms| format!("/sleep?{ms}")),
        3 => (1u64..20).prop_map(|pieces| format!("/stream?{pieces}")),
        1 => Just("/crash".to_owned()),
        1 => Just("/oom".to_owned()),
        1 => (1u64..5).prop_map(|pieces| format!("/break?{pieces}")),
        1 => Just("/hang".to_owned()),
    ];
    let gives_up = proptest::option::weighted(0.15, 0u64..500);
    let hurries = proptest::option::weighted(0.15, 1u64..500);
    (0u64..2_000, path, gives_up, hurries).prop_map(|(after_ms, path, gives_up_after_ms, hurries_ms)| {
        Caller { after_ms, path, gives_up_after_ms, hurries_ms }
    })
}

fn life() -> impl Strategy<Value = Life> {
    let callers = proptest::collection::vec(caller(), 1..60);
    (1u32..5, 1u32..5, 0u32..20, 0u32..300, 0u32..4, 0u32..4, callers).prop_map(
        |(concurrency, max_instances, queue, start_ms, failing_starts, turned_away, callers)| Life {
            concurrency,
            max_instances,
            queue,
            start_ms,
            failing_starts,
            turned_away,
            callers,
        },
    )
}

/// The longest a caller may take: wait or start, then first byte, then run, and some.
const IN_TIME: Duration = Duration::from_secs(3 + 2 + 4 + 1);

async fn lives(life: Life) -> Result<(), TestCaseError> {
    let world = Arc::new(World::new());
    world.script.start_ms.store(life.start_ms, SeqCst);
    world.script.failing_starts.store(life.failing_starts, SeqCst);
    world.script.turned_away.store(life.turned_away, SeqCst);
    world
        .deploy("f", |d| {
            d.policy.max_instances = life.max_instances;
            d.policy.queue = life.queue;
            d.policy.keep_alive_seconds = Some(20);
            d.revision.limits.concurrency = life.concurrency;
            d.revision.limits.clocks.wait = Duration::from_secs(3);
            d.revision.limits.clocks.start = Duration::from_secs(1);
            d.revision.limits.clocks.first_byte = Duration::from_secs(2);
            d.revision.limits.clocks.run = Duration::from_secs(4);
        })
        .await;
    let (there, peak) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut calls = Vec::new();
    for caller in life.callers.clone() {
        let (world, there, peak) = (world.clone(), there.clone(), peak.clone());
        calls.push(tokio::spawn(async move {
            sleep(Duration::from_millis(caller.after_ms)).await;
            peak.fetch_max(there.fetch_add(1, SeqCst) + 1, SeqCst);
            let begun = Instant::now();
            let mut call = invocation("f", &caller.path, Body::full("x"));
            call.timeout = caller.hurries_ms.map(Duration::from_millis);
            let whole = async {
                if let Ok(answer) = world.engine.invoke(call).await {
                    let _ = answer.response.into_body().collect(u64::MAX).await;
                }
            };
            let patience = caller.gives_up_after_ms.map_or(Duration::from_secs(600), Duration::from_millis);
            let _ = timeout(patience, whole).await;
            there.fetch_sub(1, SeqCst);
            begun.elapsed()
        }));
    }
    let (watched, max) = (world.clone(), life.max_instances);
    let watching = tokio::spawn(async move {
        loop {
            let live = watched.view("f").live;
            assert!(live.ready + live.starting <= max, "{live:?} where {max} are allowed");
            sleep(Duration::from_millis(7)).await;
        }
    });
    for call in calls {
        let took = call.await.map_err(|error| TestCaseError::fail(error.to_string()))?;
        // Attempts on other instances wait anew.
        prop_assert!(took <= IN_TIME * 3, "a caller waited {took:?}");
    }

    prop_assert!(!watching.is_finished(), "there were more instances than allowed");
    watching.abort();
    let live = world.view("f").live;
    prop_assert_eq!((live.in_flight, live.waiting), (0, 0));
    prop_assert_eq!(world.records().await.len(), life.callers.len(), "each call is recorded once");

    // All slots are there again: as many calls at a time as the instances hold are served.
    world.script.failing_starts.store(0, SeqCst);
    world.script.turned_away.store(0, SeqCst);
    sleep(Duration::from_secs(61)).await;
    let all = life.concurrency * life.max_instances;
    let fits = all.min(life.queue + 1);
    world.text("f", "/sleep?1").await;
    let again = (0..fits).map(|_| world.call("f", "/sleep?100"));
    for call in futures_util::future::join_all(again).await {
        prop_assert!(call.is_ok(), "{:?}", call.err());
    }
    eventually("everything scales to zero", || world.script.alive.load(SeqCst) == 0).await;
    prop_assert_eq!(world.script.starting.load(SeqCst), 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pool_lives_through_anything(life in life()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(lives(life))?;
    }

    /// With calls that all go well, instances never outnumber the callers there were at a time.
    #[test]
    fn nothing_is_started_without_need(
        callers in proptest::collection::vec((0u64..3_000, 1u64..300), 1..60),
        max_instances in 1u32..8,
        start_ms in 0u32..300,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = Arc::new(World::new());
            world.script.start_ms.store(start_ms, SeqCst);
            world.deploy("f", |d| d.policy.max_instances = max_instances).await;
            let (there, peak) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
            let calls: Vec<_> = callers
                .into_iter()
                .map(|(after, ms)| {
                    let (world, there, peak) = (world.clone(), there.clone(), peak.clone());
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(after)).await;
                        peak.fetch_max(there.fetch_add(1, SeqCst) + 1, SeqCst);
                        world.text("f", &format!("/sleep?{ms}")).await;
                        there.fetch_sub(1, SeqCst);
                    })
                })
                .collect();
            for call in calls {
                call.await.map_err(|error| TestCaseError::fail(error.to_string()))?;
            }
            let most = world.script.most.load(SeqCst);
            let peak = peak.load(SeqCst);
            prop_assert!(most <= max_instances.min(peak) as usize, "{most} instances for {peak} callers");
            Ok(())
        })?;
    }
}

/// The same on real threads and real time, where locks and wake-ups can race.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_between_threads() {
    let world = Arc::new(World::new());
    world
        .deploy("f", |d| {
            d.policy.max_instances = 3;
            d.revision.limits.concurrency = 2;
            d.policy.keep_alive_seconds = Some(1);
        })
        .await;
    let callers = (0..32u64).map(|caller| {
        let world = world.clone();
        tokio::spawn(async move {
            for call in 0..100 {
                match (caller + call) % 8 {
                    0 => drop(timeout(Duration::from_micros(300), world.call("f", "/sleep?3")).await),
                    1 => drop(world.call("f", "/stream?2").await),
                    2 => assert_eq!(world.text("f", "/sleep?1").await, "slept"),
                    _ => drop(world.call("f", "/status?200").await.unwrap()),
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        timeout(Duration::from_secs(60), caller).await.expect("a caller hangs").unwrap();
    }
    let live = world.view("f").live;
    assert_eq!((live.in_flight, live.waiting), (0, 0));
    assert_eq!(world.records().await.len(), 3200);
    eventually("everything scales to zero", || world.script.alive.load(SeqCst) == 0).await;
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
}
