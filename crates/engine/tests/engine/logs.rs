//! What functions print.

use crate::{
    driver::MARK,
    world::{World, eventually, invocation, key},
};
use futures_util::StreamExt as _;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use xebec_core::{
    Body, InvocationId,
    log::{CUT_OFF, LogLine, LogQuery, LogStream},
    ports::{control::Control, invoker::Invoker},
};

fn of(name: &str) -> LogQuery {
    LogQuery { function: Some(key(name)), ..LogQuery::default() }
}

async fn read(world: &World, query: LogQuery) -> Vec<LogLine> {
    world.engine.logs(query, false).await.unwrap().collect().await
}

#[tokio::test(start_paused = true)]
async fn lines_are_read_back_at_once_and_belong_to_their_call() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.deploy("g", |_| {}).await;
    world.text("g", "/log?2").await;
    let call = invocation("f", "/log?3", Body::empty());
    let id = call.id;
    world.engine.invoke(call).await.unwrap();
    let lines = read(&world, of("f")).await;
    let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["line 0", "line 1", "line 2"]);
    assert!(lines.iter().all(|line| line.invocation == Some(id) && line.stream == LogStream::Stdout));
    let query = LogQuery { invocation: Some(id), ..LogQuery::default() };
    assert_eq!(read(&world, query).await.len(), 3);
    world.engine.remove(&key("f")).await.unwrap();
    assert!(read(&world, of("f")).await.is_empty());
    assert_eq!(read(&world, of("g")).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn lines_of_several_calls_belong_to_the_instance() {
    let world = World::new();
    world.deploy("f", |d| d.revision.limits.concurrency = 2).await;
    let sleeping = world.text("f", "/sleep?100");
    let printing = async {
        sleep(Duration::from_millis(50)).await;
        world.text("f", "/log?1").await
    };
    tokio::join!(sleeping, printing);
    let lines = read(&world, of("f")).await;
    assert_eq!((lines.len(), lines[0].invocation), (1, None));
}

#[tokio::test(start_paused = true)]
async fn who_follows_misses_nothing_and_sees_nothing_twice() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.text("f", "/log?5").await;
    let mut following = world.engine.logs(of("f"), true).await.unwrap();
    world.text("f", "/log?5").await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(timeout(Duration::from_secs(5), following.next()).await.unwrap().unwrap().text);
    }
    let round = ["line 0", "line 1", "line 2", "line 3", "line 4"];
    assert_eq!(seen, [round, round].concat());
    assert!(timeout(Duration::from_secs(5), following.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_held_back_and_said_so() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.text("f", "/log?50000").await;
    sleep(Duration::from_secs(5)).await;
    world.text("f", "/log?1").await;
    let lines = read(&world, of("f")).await;
    let own = lines.iter().filter(|line| line.stream == LogStream::Stdout).count();
    assert_eq!(own, 2001, "a burst of twice the rate, then nothing for a moment");
    let said: Vec<_> = lines
        .iter()
        .filter(|line| line.stream == LogStream::Platform)
        .map(|line| line.text.as_str())
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains("more than 1000 lines per second") && said[1] == "48000 lines were dropped",
        "{said:?}"
    );
    assert!(world.metrics().contains("xebec_log_lines_dropped_total 48000"));
}

#[tokio::test(start_paused = true)]
async fn starts_that_fail_and_crashes_are_in_the_log() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.script.failing_starts.store(1, std::sync::atomic::Ordering::SeqCst);
    world.call("f", "/echo").await.unwrap_err();
    world.call("f", "/crash").await.unwrap_err();
    let lines = read(&world, of("f")).await;
    let said: Vec<_> = lines
        .iter()
        .filter(|line| line.stream == LogStream::Platform)
        .map(|line| line.text.as_str())
        .collect();
    assert_eq!(
        said,
        ["start failed: told to fail", "the instance exited with code 101 with a call in flight"]
    );
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

async fn call(world: &World, name: &str, path: &str) -> InvocationId {
    let call = invocation(name, path, Body::empty());
    let id = call.id;
    // However it ends.
    drop(world.engine.invoke(call).await);
    id
}

async fn lines_of(world: &World, id: InvocationId) -> Vec<LogLine> {
    read(world, LogQuery { invocation: Some(id), ..LogQuery::default() }).await
}

#[tokio::test(start_paused = true)]
async fn a_call_may_print_so_much() {
    let world = World::new();
    world.deploy("f", |d| d.revision.limits.log_bytes = Some(20)).await;
    world.deploy("none", |d| d.revision.limits.log_bytes = Some(0)).await;
    for _ in 0..2 {
        let id = call(&world, "f", "/log?50000").await;
        let lines = lines_of(&world, id).await;
        let said = format!("{CUT_OFF}20");
        assert_eq!(texts(&lines), ["line 0", "line 1", "line 2", &said], "three ends count, too");
        assert_eq!(lines[3].stream, LogStream::Platform);
    }
    let id = call(&world, "f", "/log?2").await;
    assert_eq!(texts(&lines_of(&world, id).await), ["line 0", "line 1"]);
    let id = call(&world, "none", "/log?2").await;
    assert_eq!(texts(&lines_of(&world, id).await), [""; 0]);
    assert!(world.metrics().contains("xebec_log_lines_dropped_total 0"), "that is no flood");
}

#[tokio::test(start_paused = true)]
async fn more_than_the_flood_limit_is_kept_where_a_call_may_print_so_much() {
    let world = World::new();
    world.deploy("f", |d| d.revision.limits.log_bytes = Some(1 << 20)).await;
    let id = call(&world, "f", "/log?20000").await;
    assert_eq!(lines_of(&world, id).await.len(), 20_000);
}

#[tokio::test(start_paused = true)]
async fn marks_end_the_lines_of_a_call_and_are_not_kept() {
    let world = World::new();
    world.deploy("f", |d| d.revision.handler = Some("marked".to_owned())).await;
    let first = call(&world, "f", "/marked?1").await;
    assert_eq!(texts(&lines_of(&world, first).await), ["imported", "line 0", "unended"]);
    let second = call(&world, "f", "/marked?2").await;
    assert_eq!(texts(&lines_of(&world, second).await), ["line 0", "line 1", "unended"]);
    assert_eq!(world.script.marks.load(std::sync::atomic::Ordering::SeqCst), 4);
    assert!(read(&world, of("f")).await.iter().all(|line| !line.text.contains(MARK)));
    // Long after it ended, what comes is still the last call's.
    sleep(Duration::from_secs(5)).await;
    let lines = world.script.started.lock()[0].lines.clone();
    lines.line(LogStream::Stderr, "late");
    assert_eq!(texts(&lines_of(&world, second).await).last(), Some(&"late"));
}

#[tokio::test(start_paused = true)]
async fn lines_of_a_start_that_fails_belong_to_a_call_that_waited() {
    let world = World::new();
    world.deploy("f", |d| d.revision.handler = Some("refused".to_owned())).await;
    let (first, second) = tokio::join!(call(&world, "f", "/echo"), call(&world, "f", "/echo"));
    let [first, second] = [lines_of(&world, first).await, lines_of(&world, second).await];
    // Each may have had a start of its own.
    let all: Vec<_> = texts(&first).into_iter().chain(texts(&second)).collect();
    assert_eq!(all, vec!["imported"; world.script.starts()]);
}

#[tokio::test(start_paused = true)]
async fn lines_of_an_instance_that_is_never_called_are_its_own() {
    let world = World::new();
    world
        .deploy("f", |d| {
            d.revision.handler = Some("marked".to_owned());
            d.policy.min_instances = 1;
        })
        .await;
    eventually("it is there", || world.view("f").live.ready == 1).await;
    assert!(read(&world, of("f")).await.is_empty(), "they wait for the first call");
    world.deploy("f", |d| d.revision.handler = Some("marked".to_owned())).await;
    world.engine.scale(&key("f"), 0).await.unwrap();
    // Whoever still has the lines may still print.
    world.script.started.lock().clear();
    let printed = async {
        loop {
            sleep(Duration::from_millis(100)).await;
            match read(&world, of("f")).await {
                none if none.is_empty() => {}
                lines => return lines,
            }
        }
    };
    let lines = timeout(Duration::from_secs(1200), printed).await.unwrap();
    assert_eq!((texts(&lines), lines[0].invocation), (vec!["imported"], None));
}
