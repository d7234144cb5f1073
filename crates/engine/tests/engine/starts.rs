//! Starting: only what is needed, never in vain, and failures reach those who waited.

use crate::{
    driver::Script,
    world::{World, eventually, invocation, key},
};
use bytes::Bytes;
use futures_util::future::join_all;
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use xebec_core::{
    Body, Outcome,
    outcome::{FunctionFault, PlatformFault},
    policy::{Metric, Scaling},
    ports::{control::Control, invoker::Invoker},
    workload::{PackedCode, Workload},
};

const FAILED_INIT: Outcome = Outcome::FunctionError(FunctionFault::FailedInit);
const OVERLOADED: Outcome = Outcome::PlatformError(PlatformFault::Overloaded);

#[tokio::test(start_paused = true)]
async fn one_start_per_slot_that_is_needed() {
    let world = World::new();
    world.script.start_ms.store(100, SeqCst);
    world.deploy("f", |d| d.revision.limits.concurrency = 4).await;
    let calls = (0..6).map(|_| world.text("f", "/sleep?50"));
    join_all(calls).await;
    assert_eq!(world.script.starts(), 2, "six callers, four slots each");
}

#[tokio::test(start_paused = true)]
async fn never_more_instances_than_allowed_and_first_come_first_served() {
    let world = World::new();
    world.deploy("f", |d| d.policy.max_instances = 2).await;
    let world = Arc::new(world);
    let ended = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut calls = Vec::new();
    for n in 0..20 {
        let (world, ended) = (world.clone(), ended.clone());
        calls.push(tokio::spawn(async move {
            world.text("f", "/sleep?10").await;
            ended.lock().push(n);
        }));
        tokio::task::yield_now().await;
    }
    join_all(calls).await;
    assert_eq!(world.script.most.load(SeqCst), 2);
    let ended = ended.lock().clone();
    let order: Vec<_> = ended.chunks(2).map(|pair| pair.iter().min().copied().unwrap() / 2).collect();
    assert_eq!(order, (0..10).collect::<Vec<_>>(), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_answers_at_once_and_waits_end_at_the_clock() {
    let world = World::new();
    world
        .deploy("f", |d| {
            d.policy.max_instances = 1;
            d.policy.queue = 2;
            d.revision.limits.clocks.wait = Duration::from_secs(3);
        })
        .await;
    world.text("f", "/sleep?1").await;
    let world = Arc::new(world);
    let busy = tokio::spawn({
        let world = world.clone();
        async move { world.text("f", "/sleep?60000").await }
    });
    eventually("it is busy", || world.view("f").live.in_flight == 1).await;
    let begun = Instant::now();
    let calls = join_all((0..5).map(|_| async { (world.call("f", "/echo").await, Instant::now()) })).await;
    let (mut at_once, mut late) = (0, 0);
    for (call, at) in calls {
        let error = call.unwrap_err();
        assert_eq!(error.outcome, OVERLOADED);
        assert!(error.retry_after.is_some());
        match (at - begun).as_secs() {
            0 => at_once += 1,
            3 => late += 1,
            other => panic!("after {other} s"),
        }
    }
    assert_eq!((at_once, late), (3, 2));
    assert_eq!(busy.await.unwrap(), "slept");
    assert_eq!(world.view("f").live.waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_reaches_its_callers_with_the_log_tail() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.script.failing_starts.store(1, SeqCst);
    let error = world.call("f", "/echo").await.unwrap_err();
    assert_eq!(error.outcome, FAILED_INIT);
    assert!(error.message.contains("told to fail"), "{}", error.message);
    assert_eq!(error.log_tail, ["no such module"]);
    // The first failure is forgiven.
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_dies_or_never_listens_fails_its_callers() {
    let world = World::new();
    world.script.dies_at_start.store(true, SeqCst);
    world.deploy("dies", |_| {}).await;
    let begun = Instant::now();
    let error = world.call("dies", "/echo").await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(error.outcome, FAILED_INIT);
    assert!(error.message.contains("exited with code 3"), "{}", error.message);
    assert_eq!(error.log_tail, ["cannot open config.json"]);

    world.script.dies_at_start.store(false, SeqCst);
    world.script.never_ready.store(true, SeqCst);
    world.deploy("deaf", |d| d.revision.limits.clocks.start = Duration::from_secs(4)).await;
    let begun = Instant::now();
    let error = world.call("deaf", "/echo").await.unwrap_err();
    assert_eq!(error.outcome, FAILED_INIT);
    assert_eq!(begun.elapsed().as_secs(), 4);
    assert!(error.message.contains("within 4s"), "{}", error.message);
    eventually("nothing is left", || world.script.alive.load(SeqCst) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn repeated_failures_back_off_and_answer_quickly() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.script.failing_starts.store(u32::MAX, SeqCst);
    let mut waits = Vec::new();
    for _ in 0..50 {
        let begun = Instant::now();
        let error = world.call("f", "/echo").await.unwrap_err();
        assert_eq!(error.outcome, FAILED_INIT);
        assert!(begun.elapsed() < Duration::from_millis(100));
        assert_eq!(error.log_tail, ["no such module"]);
        waits.extend(error.retry_after);
    }
    assert_eq!(world.script.starts(), 2, "one forgiven, then it waits");
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1)) && !waits.is_empty());
    world.script.failing_starts.store(0, SeqCst);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_for_a_start_learn_that_it_failed() {
    let world = World::new();
    world.script.start_ms.store(100, SeqCst);
    world.script.failing_starts.store(u32::MAX, SeqCst);
    world.deploy("f", |d| d.policy.max_instances = 2).await;
    let begun = Instant::now();
    for call in join_all((0..30).map(|_| world.call("f", "/echo"))).await {
        assert_eq!(call.unwrap_err().outcome, FAILED_INIT);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(world.records().await.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_start_nobody_waits_for_is_given_up() {
    let world = World::new();
    world.script.start_ms.store(60_000, SeqCst);
    world.deploy("f", |d| d.revision.limits.clocks.start = Duration::from_secs(100)).await;
    assert!(timeout(Duration::from_secs(5), world.call("f", "/echo")).await.is_err());
    eventually("the start is given up", || world.script.starting.load(SeqCst) == 0).await;
    assert_eq!(world.script.alive.load(SeqCst), 0);
    assert_eq!(world.view("f").live.starting, 0);
    assert_eq!(world.outcomes().await, ["cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_little_time_does_not_wait_for_a_start() {
    let world = World::new();
    world.script.start_ms.store(60_000, SeqCst);
    world.deploy("f", |_| {}).await;
    let mut call = invocation("f", "/echo", Body::empty());
    call.timeout = Some(Duration::from_millis(200));
    let begun = Instant::now();
    assert_eq!(world.engine.invoke(call).await.unwrap_err().outcome, OVERLOADED);
    assert!(begun.elapsed() < Duration::from_millis(250));
}

#[tokio::test(start_paused = true)]
async fn blanks_are_kept_used_and_refilled() {
    let world = World::new();
    assert_eq!(world.script.blanks.load(SeqCst), 0, "none before the first deploy");
    world.deploy("f", |d| d.revision.environment = "blank".to_owned()).await;
    eventually("two blanks", || world.script.blanks.load(SeqCst) == 2).await;
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
    assert_eq!(world.script.specialized.load(SeqCst), 1);
    eventually("refilled", || world.script.blanks.load(SeqCst) == 2).await;
    let listed = world.engine.environments();
    assert_eq!(listed.iter().find(|found| found.name == "blank").unwrap().blanks, 2);

    // What brings its own command cannot be made of a blank.
    world
        .deploy("own", |d| {
            d.revision.environment = "blank".to_owned();
            d.revision.command = vec!["own".to_owned()];
        })
        .await;
    world.text("own", "/sleep?1").await;
    assert_eq!(world.script.specialized.load(SeqCst), 1);

    world.engine.remove(&key("own")).await.unwrap();
    world.engine.remove(&key("f")).await.unwrap();
    eventually("none is kept", || world.script.blanks.load(SeqCst) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn code_for_an_image_is_handed_over_by_the_contract() {
    let world = World::new();
    world.deploy("f", |d| d.revision.environment = "image".to_owned()).await;
    eventually("a blank", || world.script.blanks.load(SeqCst) == 1).await;
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
    assert_eq!(world.script.specialized.load(SeqCst), 1, "blanks of an image are for code, too");

    world
        .deploy("g", |d| {
            let Workload::Code { archive, format, bytes } = d.revision.workload else { panic!() };
            let code = Some(PackedCode { archive, format, bytes });
            d.revision.workload = Workload::Image { reference: "known/other".to_owned(), code };
        })
        .await;
    assert_eq!(world.text("g", "/sleep?1").await, "slept");
    world.deploy("h", |_| {}).await;
    assert_eq!(world.text("h", "/sleep?1").await, "slept");
    assert_eq!(world.script.specialized.load(SeqCst), 1);
    let code = |name: &str| Some(Bytes::from(format!("code of {name}")));
    // What needs no contract for its code has it prepared.
    assert_eq!(*world.script.brought.lock(), [code("f"), code("g"), None]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_prepared_any_more_is_prepared_again() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.script.forgot_prepared.store(true, SeqCst);
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
    assert_eq!(world.script.prepared.lock().len(), 2);
}

fn instances(script: &Arc<Script>) -> usize {
    script.alive.load(SeqCst)
}

#[tokio::test(start_paused = true)]
async fn the_minimum_is_kept_and_the_rest_scales_to_zero() {
    let world = World::new();
    world
        .deploy("f", |d| {
            d.policy.min_instances = 2;
            d.policy.keep_alive_seconds = Some(30);
        })
        .await;
    eventually("two without a call", || instances(&world.script) == 2).await;
    join_all((0..5).map(|_| world.text("f", "/sleep?100"))).await;
    assert_eq!(instances(&world.script), 5);
    eventually("back to two", || instances(&world.script) == 2).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(instances(&world.script), 2);

    let policy = xebec_core::policy::Policy { keep_alive_seconds: Some(30), ..Default::default() };
    world.engine.set_policy(&key("f"), policy).await.unwrap();
    let begun = Instant::now();
    eventually("then to none", || instances(&world.script) == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(40));
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
}

#[tokio::test(start_paused = true)]
async fn scaling_by_hand_and_by_rate() {
    let world = World::new();
    world
        .deploy("f", |d| {
            d.policy.scaling = Scaling { target: Some(10.0), ..Scaling::by(Metric::Rate) };
            d.policy.max_instances = 8;
        })
        .await;
    world.engine.scale(&key("f"), 3).await.unwrap();
    eventually("three by hand", || world.view("f").live.ready == 3).await;
    world.engine.scale(&key("f"), 100).await.unwrap();
    eventually("no more than allowed", || world.view("f").live.ready == 8).await;
    world.engine.scale(&key("f"), 0).await.unwrap();
    eventually("none", || world.view("f").live.ready == 0).await;

    for _ in 0..3000 {
        world.text("f", "/sleep?5").await;
        sleep(Duration::from_millis(15)).await;
    }
    let ready = world.view("f").live.ready;
    assert!((4..=6).contains(&ready), "50 calls per second, 10 for each instance: {ready}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_server_has_nothing_to_do() {
    let world = World::new();
    world.deploy("f", |d| d.policy.keep_alive_seconds = Some(5)).await;
    world.text("f", "/sleep?1").await;
    eventually("scaled to zero", || instances(&world.script) == 0).await;
    assert!(world.metrics().contains("function=\"f\""));
    sleep(Duration::from_secs(20 * 60)).await;
    assert!(!world.metrics().contains("function=\"f\""), "its series went");
    assert_eq!(world.view("f").live.invocations, 1, "what was counted stays");
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
    assert!(world.metrics().contains("function=\"f\""));
}

#[tokio::test(start_paused = true)]
async fn how_long_to_keep_is_learnt() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let idle_for = || async {
        let begun = Instant::now();
        eventually("scaled to zero", || instances(&world.script) == 0).await;
        begun.elapsed().as_secs()
    };
    world.text("f", "/sleep?1").await;
    let unknown = idle_for().await;
    assert!((600..605).contains(&unknown), "ten minutes while nothing is known: {unknown}");
    // Mostly called every minute: kept a little longer than that.
    for _ in 0..30 {
        world.text("f", "/sleep?1").await;
        sleep(Duration::from_secs(60)).await;
    }
    world.text("f", "/sleep?1").await;
    let learnt = idle_for().await;
    assert!((60..120).contains(&learnt), "{learnt}");
    assert!(world.script.starts() <= 3);
}

#[tokio::test(start_paused = true)]
async fn two_callers_get_a_second_instance_and_a_burst_is_forgotten() {
    let world = World::new();
    world.script.start_ms.store(200, SeqCst);
    world.deploy("f", |_| {}).await;
    for _ in 0..600 {
        world.text("f", "/sleep?5").await;
        sleep(Duration::from_millis(95)).await;
    }
    assert_eq!(world.script.starts(), 1, "one caller after the other needs one");
    let two = || async {
        for _ in 0..2000 {
            world.text("f", "/sleep?5").await;
        }
    };
    tokio::join!(two(), two());
    assert_eq!((world.view("f").live.ready, world.script.starts()), (2, 2));
    join_all((0..10).map(|_| world.text("f", "/sleep?500"))).await;
    assert!(world.view("f").live.ready > 5);
    sleep(Duration::from_secs(130)).await;
    assert_eq!(world.view("f").live.ready, 1, "the last one is kept for longer");
}

#[tokio::test(start_paused = true)]
async fn a_long_start_is_given_up_when_others_served_who_waited_for_it() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.text("f", "/sleep?1").await;
    world.script.start_ms.store(20_000, SeqCst);
    tokio::join!(world.text("f", "/sleep?5"), world.text("f", "/sleep?5"));
    assert_eq!(world.view("f").live.starting, 1);
    let begun = Instant::now();
    eventually("it is given up", || world.script.starting.load(SeqCst) == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!((world.view("f").live.ready, world.view("f").live.starting), (1, 0));
}
