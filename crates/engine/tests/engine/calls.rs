//! What callers see, and that each call is recorded once, however it ends.

use crate::world::{World, eventually, invocation, key};
use std::{collections::BTreeMap, sync::atomic::Ordering::SeqCst, time::Duration};
use tokio::time::{Instant, timeout};
use xebec_core::{
    Body, Digest, Outcome,
    auth::{Principal, Role},
    document::Expect,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    policy::Visibility,
    ports::{control::Control, invoker::Invoker},
    rules::traffic::{Share, Traffic},
};

fn platform(fault: PlatformFault) -> Outcome {
    Outcome::PlatformError(fault)
}

fn function(fault: FunctionFault) -> Outcome {
    Outcome::FunctionError(fault)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_and_recorded() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let answer = world.send("f", "/echo", Body::full("hello")).await.unwrap();
    assert!(answer.timing.cold);
    let revision = answer.revision;
    let instance = answer.instance.to_string();
    assert_eq!(answer.response.into_body().collect(100).await.unwrap(), "hello");
    assert!(!world.call("f", "/echo").await.unwrap().timing.cold);

    let records = world.records().await;
    assert_eq!(records.len(), 2);
    let first = &records[0];
    assert_eq!((first.outcome, first.status), (Outcome::Success, Some(200)));
    assert_eq!((first.revision, first.instance.as_deref()), (Some(revision), Some(&*instance)));
    assert_eq!((first.request_bytes, first.response_bytes), (5, 5));
    assert!(first.timing.run_us > 0 && first.timing.cold && !records[1].timing.cold);
    let live = world.view("f").live;
    assert_eq!((live.invocations, live.failures, live.cold_starts), (2, 0, 1));
    assert_eq!((live.ready, live.in_flight, live.waiting), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn answers_of_5xx_are_application_errors() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    for (status, name) in [(404, "success"), (500, "application_error"), (503, "application_error")] {
        world.text("f", &format!("/status?{status}")).await;
        assert_eq!(world.outcomes().await.last(), Some(&name), "{status}");
    }
    assert_eq!(world.view("f").live.failures, 2);
}

#[tokio::test(start_paused = true)]
async fn streams_are_recorded_when_they_end() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let answer = world.call("f", "/stream?3").await.unwrap();
    assert!(world.records().await.is_empty());
    assert_eq!(world.view("f").live.in_flight, 1);
    answer.response.into_body().collect(1000).await.unwrap();
    let records = world.records().await;
    assert_eq!((records.len(), records[0].response_bytes), (1, 15));
    assert!(records[0].timing.run_us >= 30_000);
    assert_eq!(world.view("f").live.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_a_crash() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let answer = world.call("f", "/break?2").await.unwrap();
    assert!(answer.response.into_body().collect(1000).await.is_err());
    assert_eq!(world.outcomes().await, ["crash"]);
}

#[tokio::test(start_paused = true)]
async fn dropping_an_answer_or_a_call_cancels_it() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    drop(world.call("f", "/stream?1000").await.unwrap());
    assert_eq!(world.outcomes().await, ["cancelled"]);
    assert!(timeout(Duration::from_millis(50), world.call("f", "/hang")).await.is_err());
    assert_eq!(world.outcomes().await, ["cancelled", "cancelled"]);
    // The contract lost both calls in the middle, so their instances are not used again.
    eventually("both instances gone", || world.script.destroyed.load(SeqCst) == 2).await;
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
    assert_eq!(world.view("f").live.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_byte_and_run_clocks() {
    let world = World::new();
    world
        .deploy("f", |d| {
            d.revision.limits.clocks.first_byte = Duration::from_secs(2);
            d.revision.limits.clocks.run = Duration::from_secs(5);
        })
        .await;
    let begun = Instant::now();
    let error = world.call("f", "/hang").await.unwrap_err();
    assert_eq!(error.outcome, function(FunctionFault::Timeout(Clock::FirstByte)));
    assert!(begun.elapsed() >= Duration::from_secs(2) && begun.elapsed() < Duration::from_secs(3));

    let begun = Instant::now();
    let answer = world.call("f", "/stream?100000").await.unwrap();
    assert!(answer.response.into_body().collect(u64::MAX).await.is_err());
    assert!(begun.elapsed() >= Duration::from_secs(5) && begun.elapsed() < Duration::from_secs(6));
    let records = world.records().await;
    assert_eq!(records[1].outcome, function(FunctionFault::Timeout(Clock::Run)));
    assert_eq!(records.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_timeout_shortens_the_clocks() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let mut call = invocation("f", "/hang", Body::empty());
    call.timeout = Some(Duration::from_millis(300));
    let begun = Instant::now();
    let error = world.engine.invoke(call).await.unwrap_err();
    assert_eq!(error.outcome, function(FunctionFault::Timeout(Clock::Run)));
    assert!(begun.elapsed() < Duration::from_millis(400));
}

#[tokio::test(start_paused = true)]
async fn crashes_name_the_exit_and_the_last_lines() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let error = world.call("f", "/crash").await.unwrap_err();
    assert_eq!(error.outcome, function(FunctionFault::Crash));
    assert_eq!((error.exit_code, error.log_tail.as_slice()), (Some(101), &["panicked".to_owned()][..]));
    assert!(error.message.contains("exited with code 101"), "{}", error.message);
    let error = world.call("f", "/oom").await.unwrap_err();
    assert_eq!(error.outcome, function(FunctionFault::OutOfMemory));
    assert_eq!(world.outcomes().await, ["crash", "out_of_memory"]);
    // The next one gets a fresh instance.
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
    eventually("the dead are destroyed", || world.script.destroyed.load(SeqCst) == 2).await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_not_sent_go_to_another_instance() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.script.turned_away.store(2, SeqCst);
    let answer = world.send("f", "/echo", Body::full("once")).await.unwrap();
    assert_eq!(answer.response.into_body().collect(100).await.unwrap(), "once");
    assert_eq!(world.script.starts(), 3);
    world.script.turned_away.store(9, SeqCst);
    let error = world.send("f", "/echo", Body::full("once")).await.unwrap_err();
    assert_eq!(error.outcome, function(FunctionFault::Crash));
    assert_eq!(world.outcomes().await, ["success", "crash"]);
}

#[tokio::test(start_paused = true)]
async fn requests_over_the_limit() {
    let world = World::new();
    world.deploy("f", |d| d.revision.limits.request_bytes = 10).await;
    let error = world.send("f", "/echo", Body::full("01234567890")).await.unwrap_err();
    assert_eq!(error.outcome, platform(PlatformFault::TooLarge));
    assert_eq!(world.script.starts(), 0, "nothing is started for it");

    let pieces = (0..3).map(|_| Ok::<_, std::io::Error>(http_body::Frame::data("12345".into())));
    let streamed = Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(pieces)));
    let error = world.send("f", "/echo", streamed).await.unwrap_err();
    assert_eq!(error.outcome, platform(PlatformFault::TooLarge));
    assert_eq!(world.outcomes().await, ["too_large", "too_large"]);

    let pieces = (0..2).map(|_| Ok::<_, std::io::Error>(http_body::Frame::data("12345".into())));
    let streamed = Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(pieces)));
    let answer = world.send("f", "/echo", streamed).await.unwrap();
    assert_eq!(answer.response.into_body().collect(100).await.unwrap(), "1234512345");
    assert_eq!(world.records().await[2].request_bytes, 10);
}

#[tokio::test(start_paused = true)]
async fn unknown_functions_and_revisions() {
    let world = World::new();
    let error = world.call("nobody", "/").await.unwrap_err();
    assert_eq!(error.outcome, platform(PlatformFault::NotFound));
    assert!(error.message.contains("\"nobody\""));
    world.deploy("f", |_| {}).await;
    let mut call = invocation("f", "/echo", Body::empty());
    call.revision = Some(Digest::of("other"));
    assert_eq!(world.engine.invoke(call).await.unwrap_err().outcome, platform(PlatformFault::NotFound));
    assert!(!world.metrics().contains("nobody"), "no series for what does not exist");
}

#[tokio::test(start_paused = true)]
async fn functions_that_ask_for_a_credential() {
    let world = World::new();
    world.deploy("f", |d| d.policy.visibility = Visibility::Authenticated).await;
    let error = world.call("f", "/echo").await.unwrap_err();
    assert_eq!(error.outcome, platform(PlatformFault::Forbidden));
    let other = Some(xebec_core::Tenant::new("other"));
    for (tenant, good) in [(None, true), (other, false)] {
        let mut call = invocation("f", "/echo", Body::empty());
        call.principal = Principal::Key { id: "k".into(), role: Role::Invoke, tenant };
        assert_eq!(world.engine.invoke(call).await.is_ok(), good);
    }
    assert_eq!(world.outcomes().await, ["forbidden", "success", "forbidden"]);
}

#[tokio::test(start_paused = true)]
async fn traces_begin_with_the_call() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let call = invocation("f", "/echo", Body::empty());
    let id = call.id;
    let answer = world.engine.invoke(call).await.unwrap();
    let trace = answer.response.headers()["traceparent"].to_str().unwrap();
    assert!(trace.starts_with(&format!("00-{}-", id.0.simple())), "{trace}");
}

#[tokio::test(start_paused = true)]
async fn traffic_is_split_by_weight_and_rolled_back() {
    let world = World::new();
    let old = world.deploy("f", |_| {}).await.function.revisions[0].digest;
    let function = world.deploy("f", |d| d.revision.handler = Some("new".to_owned())).await.function;
    let new = function.latest().unwrap().digest;
    assert_eq!(function.traffic, Traffic::all_to(new));
    let share = |revision, percent| Share { revision, percent };
    let split = Traffic::new(vec![share(old, 20), share(new, 80)]).unwrap();
    world.engine.set_traffic(&key("f"), split).await.unwrap();
    let mut hits: BTreeMap<Digest, u32> = BTreeMap::new();
    for _ in 0..2000 {
        *hits.entry(world.call("f", "/echo").await.unwrap().revision).or_default() += 1;
    }
    assert!((300..500).contains(&hits[&old]), "{hits:?}");

    world.engine.set_traffic(&key("f"), Traffic::all_to(old)).await.unwrap();
    assert_eq!(world.call("f", "/echo").await.unwrap().revision, old);
    eventually("the other revision's instances go", || world.view("f").live.ready == 1).await;
    // It can still be called by name.
    let mut call = invocation("f", "/echo", Body::empty());
    call.revision = Some(new);
    assert_eq!(world.engine.invoke(call).await.unwrap().revision, new);
    eventually("and goes again", || world.view("f").live.ready == 1).await;

    let unknown = Traffic::all_to(Digest::of("unknown"));
    assert_eq!(world.engine.set_traffic(&key("f"), unknown).await.unwrap_err().code, "XB2007");
}

#[tokio::test(start_paused = true)]
async fn a_removed_function_ends_its_calls_by_itself() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let answer = world.call("f", "/stream?20").await.unwrap();
    world.engine.remove(&key("f")).await.unwrap();
    assert_eq!(world.call("f", "/echo").await.unwrap_err().outcome, platform(PlatformFault::NotFound));
    assert_eq!(answer.response.into_body().collect(1000).await.unwrap().len(), 100);
    eventually("its instance goes", || world.script.alive.load(SeqCst) == 0).await;
    assert_eq!(world.engine.remove(&key("f")).await.unwrap_err().code, "XB2002");
    // A new one of that name starts afresh.
    let function = world.deploy("f", |d| d.expect = Expect::Absent).await.function;
    assert_eq!(function.revisions[0].number, 1);
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_calls_end_and_takes_no_more() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let answer = world.call("f", "/stream?50").await.unwrap();
    let reading = tokio::spawn(answer.response.into_body().collect(1000));
    let engine = world.engine.clone();
    let stopping = tokio::spawn(async move { engine.shutdown(Duration::from_secs(10)).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let error = world.call("f", "/echo").await.unwrap_err();
    assert_eq!(error.outcome, platform(PlatformFault::Unavailable));
    assert_eq!(reading.await.unwrap().unwrap().len(), 250);
    stopping.await.unwrap();
    assert_eq!(world.script.alive.load(SeqCst), 0);
    let recorded: Vec<_> = world.records.all.lock().iter().map(|record| record.outcome.name()).collect();
    assert_eq!(recorded, ["unavailable", "success"]);
}

#[tokio::test(start_paused = true)]
async fn clocks_without_end_are_no_trouble() {
    let world = World::new();
    world
        .deploy("f", |d| {
            let clocks = &mut d.revision.limits.clocks;
            clocks.wait = Duration::MAX;
            clocks.start = Duration::MAX;
            clocks.first_byte = Duration::MAX;
            clocks.run = Duration::MAX;
        })
        .await;
    let mut call = invocation("f", "/stream?3", Body::empty());
    call.timeout = Some(Duration::MAX);
    let answer = world.engine.invoke(call).await.unwrap();
    assert_eq!(answer.response.into_body().collect(100).await.unwrap().len(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_calls_ends_at_sixteen() {
    use xebec_core::rules::hops::{HOPS_HEADER, MAX_HOPS, value};
    let world = World::new();
    world.deploy("f", |_| {}).await;
    assert_eq!(world.text("f", "/header?x-xebec-hops").await, "1", "one call led to what the function calls");
    let after = |hops: u8| {
        let mut call = invocation("f", "/header?x-xebec-hops", Body::empty());
        call.request.headers_mut().insert(HOPS_HEADER, value(hops));
        let engine = &world.engine;
        async move { engine.invoke(call).await }
    };
    let last = after(MAX_HOPS - 1).await.unwrap().response.into_body();
    assert_eq!(last.collect(100).await.unwrap(), "16");
    let refused = after(MAX_HOPS).await.unwrap_err();
    assert_eq!(refused.outcome, platform(PlatformFault::Loop));
    assert!(refused.message.contains("16 calls"), "{}", refused.message);
    assert_eq!(world.outcomes().await.last(), Some(&"loop"), "it is recorded");
}
