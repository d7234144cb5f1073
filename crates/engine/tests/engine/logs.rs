//! What functions print.

use crate::world::{World, invocation, key};
use futures_util::StreamExt as _;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use xebec_core::{
    Body,
    log::{LogLine, LogQuery, LogStream},
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
