//! When schedules fire, on a clock that is set by hand.

#![allow(clippy::unwrap_used)]

mod support;

use jiff::SignedDuration;
use std::{sync::atomic::Ordering, time::Duration};
use support::{Functions, Life, MemoryStore, World, at, cron, every, f};
use xebec_core::{
    Error, ErrorKind, Tenant,
    document::Expect,
    ports::schedules::Schedules as _,
    schedule::{Missed, Schedule, When},
};

fn tenant() -> Tenant {
    Tenant::default()
}

#[tokio::test(start_paused = true)]
async fn fires_on_time_and_with_what_was_asked_for() {
    let world = World::new();
    let server = world.server().await;
    let mut asked = cron("tick", "*/5 * * * * *");
    asked.call.method = "PUT".into();
    asked.call.path = "/a?b=c".into();
    asked.call.body = "hello".into();
    asked.call.headers.insert("x-a".into(), "b".into());
    let view = server.put(&f(), asked, Expect::Absent).await.unwrap();
    assert_eq!((view.next, view.of_function), (Some(at("2026-01-01T10:00:05Z")), false));
    world.pass(61).await;
    let all = world.sink.all();
    assert_eq!(all.len(), 12);
    for accepted in &all {
        let late = accepted.at.duration_since(accepted.due.unwrap());
        assert!(late >= SignedDuration::ZERO && late < SignedDuration::from_millis(50), "{late}");
        assert!(accepted.principal.may_invoke(&tenant()) && !accepted.principal.may_manage(&tenant()));
        assert!(!accepted.principal.may_invoke(&Tenant::new("another")));
    }
    let last = all.last().unwrap();
    assert_eq!((&*last.method, &*last.uri, &*last.body), ("PUT", "/a?b=c", "hello"));
    assert_eq!((last.headers["x-a"].as_bytes(), &last.function), (b"b".as_slice(), &f()));
    let view = server.get(&tenant(), "tick").await.unwrap().unwrap();
    assert_eq!(view.next, Some(at("2026-01-01T10:01:05Z")));
    let firing = view.last.unwrap();
    assert_eq!((firing.due, firing.call), (at("2026-01-01T10:01:00Z"), Some(last.id)));
    server.shutdown().await;
    world.pass(60).await;
    assert_eq!(world.sink.all().len(), 12, "it stopped");
}

#[tokio::test(start_paused = true)]
async fn one_of_several_servers_fires() {
    let world = World::new();
    let first = world.server().await;
    world.functions.deploy("g", vec![every("own", "7s")]);
    let mut servers = vec![first];
    for _ in 0..4 {
        servers.push(world.server().await);
    }
    *world.sink.takes.lock().unwrap() = Duration::from_millis(3);
    servers[2].put(&f(), every("tick", "5s"), Expect::Absent).await.unwrap();
    world.pass(700).await;
    assert_eq!(world.sink.dues("tick").len(), 139);
    assert_eq!(world.sink.dues("g.own").len(), 99);
    for server in &servers {
        let view = server.get(&tenant(), "tick").await.unwrap().unwrap();
        assert_eq!(view.last.map(|last| last.due), world.sink.dues("tick").pop(), "all know of it");
        server.shutdown().await;
    }
}

/// The server is killed at every step of a firing, before and after the step was done.
#[tokio::test(start_paused = true)]
async fn a_crash_in_the_middle_fires_neither_twice_nor_never() {
    for steps in 1..12 {
        for last_is_done in [false, true] {
            let world = World::new();
            let maker = world.server().await;
            maker
                .put(&f(), Schedule { missed: Missed::All, ..every("tick", "10s") }, Expect::Any)
                .await
                .unwrap();
            maker.shutdown().await;
            let life = Life::new(steps + 3, last_is_done);
            let victim = world.mortal(&life).await;
            world.pass(33).await;
            drop(victim);
            let heir = world.server().await;
            world.pass(11).await;
            let times = world.sink.times("tick");
            assert_eq!(times, ["10:00:10", "10:00:20", "10:00:30", "10:00:40"], "{steps} {last_is_done}");
            heir.shutdown().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_hour_away_by_policy() {
    let world = World::new();
    let server = world.server().await;
    for (name, missed) in [("skip", Missed::Skip), ("once", Missed::Once), ("all", Missed::All)] {
        server.put(&f(), Schedule { missed, ..cron(name, "*/10 * * * *") }, Expect::Any).await.unwrap();
    }
    let second = Schedule { missed: Missed::All, ..every("second", "1s") };
    server.put(&f(), second, Expect::Any).await.unwrap();
    world.pass(5).await;
    server.shutdown().await;
    world.sink.clear();
    world.pass(3700).await;
    let server = world.server().await;
    world.pass(30).await;
    assert_eq!(world.sink.times("skip"), [""; 0]);
    assert_eq!(world.sink.times("once"), ["11:00:00"]);
    assert_eq!(
        world.sink.times("all"),
        ["10:10:00", "10:20:00", "10:30:00", "10:40:00", "10:50:00", "11:00:00"]
    );
    let seconds = world.sink.dues("second");
    assert!((100..=160).contains(&seconds.len()), "{}", seconds.len());
    assert!(seconds.is_sorted() && seconds[0] > at("2026-01-01T11:00:00Z"));
    let all = world.sink.all();
    let made_up: Vec<_> = all.iter().filter(|accepted| accepted.schedule == "all").collect();
    for pair in made_up.windows(2) {
        let between = pair[1].at.duration_since(pair[0].at);
        assert!(between >= SignedDuration::from_millis(100), "one after the other: {between}");
    }
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps() {
    let world = World::new();
    let server = world.server().await;
    server.put(&f(), cron("hourly", "0 * * * *"), Expect::Any).await.unwrap();
    server.put(&f(), every("minute", "60s"), Expect::Any).await.unwrap();
    world.pass(3601).await;
    assert_eq!(world.sink.times("hourly"), ["11:00:00"]);
    assert_eq!(world.sink.times("minute").len(), 60);
    world.clock.jump(SignedDuration::from_hours(-2));
    world.pass(2 * 3600 - 10).await;
    assert_eq!(world.sink.all().len(), 61, "nothing twice");
    world.pass(3620).await;
    assert_eq!(world.sink.times("hourly"), ["11:00:00", "12:00:00"]);
    world.clock.jump(SignedDuration::from_hours(5));
    world.pass(2).await;
    assert_eq!(world.sink.times("hourly"), ["11:00:00", "12:00:00", "17:00:00"], "within two seconds");
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_takes_nothing() {
    let world = World::new();
    let server = world.server().await;
    server.put(&f(), every("tick", "10s"), Expect::Any).await.unwrap();
    let away = Error::new(ErrorKind::Unavailable, "XB4023", "the queue's server is away");
    *world.sink.trouble.lock().unwrap() = Some(away);
    world.pass(600).await;
    let view = server.get(&tenant(), "tick").await.unwrap().unwrap();
    let last = view.last.unwrap();
    assert_eq!((last.call, last.error.as_deref()), (None, Some("the queue's server is away")));
    *world.sink.trouble.lock().unwrap() = None;
    world.pass(65).await;
    let times = world.sink.times("tick");
    assert!((1..=7).contains(&times.len()), "once for all of them, then as ever: {times:?}");
    let view = server.get(&tenant(), "tick").await.unwrap().unwrap();
    assert_eq!(view.last.unwrap().error, None);
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_nothing_fires_nothing_twice() {
    let store = std::sync::Arc::new(MemoryStore::default());
    let world = World::on(store.clone());
    let server = world.server().await;
    server.put(&f(), every("tick", "10s"), Expect::Any).await.unwrap();
    let full = Error::new(ErrorKind::Unavailable, "XB4002", "the disk is full");
    *store.trouble.lock().unwrap() = Some(full);
    world.pass(35).await;
    assert_eq!(world.sink.times("tick"), ["10:00:10", "10:00:20", "10:00:30"]);
    assert_eq!(world.sink.duplicates.load(Ordering::SeqCst), 0, "it knows what it did");
    *store.trouble.lock().unwrap() = None;
    world.pass(10).await;
    server.shutdown().await;
    let heir = world.server().await;
    world.pass(10).await;
    assert_eq!(world.sink.times("tick").len(), 5);
    assert_eq!(world.sink.duplicates.load(Ordering::SeqCst), 0);
    heir.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_gone() {
    let world = World::new();
    let server = world.server().await;
    world.functions.deploy("g", vec![every("own", "10s")]);
    server.put(&Functions::key("g"), every("tick", "10s"), Expect::Any).await.unwrap();
    world.pass(11).await;
    assert_eq!((world.sink.dues("tick").len(), world.sink.dues("g.own").len()), (1, 1));
    world.functions.remove("g");
    world.pass(20).await;
    assert_eq!(world.sink.all().len(), 2);
    let left = server.list(Some(&tenant())).await.unwrap();
    assert_eq!(left.len(), 1, "what belonged to the function went with it");
    let last = left[0].last.clone().unwrap();
    assert_eq!((last.call, last.error.as_deref()), (None, Some("no such function")));
    world.functions.deploy("g", vec![every("own", "10s")]);
    world.pass(21).await;
    assert_eq!((world.sink.dues("tick").len(), world.sink.dues("g.own").len()), (3, 3));
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_at_the_same_time() {
    let world = World::new();
    for function in 0..100 {
        let own = (0..100).map(|n| cron(&format!("s{n}"), "0 11 * * *")).collect();
        world.functions.deploy(&format!("f{function}"), own);
    }
    let server = world.server().await;
    *world.sink.takes.lock().unwrap() = Duration::from_millis(5);
    assert_eq!(server.list(None).await.unwrap().len(), 10_000);
    world.pass(3700).await;
    assert_eq!(world.sink.all().len(), 10_000);
    let most = world.sink.most_at_once.load(Ordering::SeqCst);
    assert!(most <= 64, "{most} at once");
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_idle_ones_cost_nothing() {
    let store = std::sync::Arc::new(MemoryStore::default());
    let world = World::on(store.clone());
    world.functions.deploy("g", (0..100).map(|n| cron(&format!("s{n}"), "@yearly")).collect());
    let server = world.server().await;
    for n in 0..1000 {
        server.put(&f(), cron(&format!("s{n}"), "@yearly"), Expect::Any).await.unwrap();
    }
    world.pass(1).await;
    let before = store.calls.load(Ordering::SeqCst);
    world.pass(290).await;
    assert_eq!(store.calls.load(Ordering::SeqCst), before);
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_shots_fire_once() {
    let world = World::new();
    let server = world.server().await;
    let at_half = When::At { at: at("2026-01-01T10:30:00Z") };
    let past = When::At { at: at("2026-01-01T09:30:00Z") };
    server.put(&f(), Schedule { when: at_half, ..cron("later", "") }, Expect::Any).await.unwrap();
    let view = server.put(&f(), Schedule { when: past, ..cron("past", "") }, Expect::Any).await.unwrap();
    assert_eq!(view.next, None);
    world.pass(1000).await;
    server.shutdown().await;
    world.pass(3600).await;
    let server = world.server().await;
    world.pass(3600).await;
    assert_eq!(world.sink.all().len(), 1);
    assert_eq!(world.sink.times("later"), ["10:30:00"]);
    assert_eq!(server.get(&tenant(), "later").await.unwrap().unwrap().next, None);
    server.shutdown().await;
}
