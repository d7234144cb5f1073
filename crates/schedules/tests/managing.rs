//! Schedules are made, changed, paused, fired and deleted.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Functions, World, at, cron, every, f};
use xebec_core::{
    Tenant, document::Expect, ports::schedules::Schedules as _, schedule::Missed, schedule::Schedule,
};
use xebec_schedules::MOST_PER_TENANT;

fn tenant() -> Tenant {
    Tenant::default()
}

#[tokio::test(start_paused = true)]
async fn what_is_refused() {
    let world = World::new();
    let server = world.server().await;
    world.functions.deploy("g", vec![every("own", "10s")]);
    world.pass(1).await;
    let put = async |schedule: Schedule, expect| server.put(&f(), schedule, expect).await.unwrap_err().code;
    assert_eq!(put(cron("x", "61 * * * *"), Expect::Any).await, "XB1012");
    assert_eq!(put(cron("no dots.here", "@daily"), Expect::Any).await, "XB1012");
    assert_eq!(put(cron("g.own", "@daily"), Expect::Any).await, "XB2014");
    assert_eq!(put(cron("x", "@daily"), Expect::Present).await, "XB4001");
    let nobody = Functions::key("nobody");
    assert_eq!(server.put(&nobody, cron("x", "@daily"), Expect::Any).await.unwrap_err().code, "XB2002");
    assert_eq!(server.delete(&tenant(), "x").await.unwrap_err().code, "XB2015");
    assert_eq!(server.delete(&tenant(), "g.own").await.unwrap_err().code, "XB2014");
    assert_eq!(server.fire(&tenant(), "x").await.unwrap_err().code, "XB2015");
    assert_eq!(server.pause(&tenant(), "x", true).await.unwrap_err().code, "XB2015");
    assert_eq!(server.get(&tenant(), "x").await.unwrap(), None);
    server.put(&f(), cron("x", "@daily"), Expect::Absent).await.unwrap();
    assert_eq!(put(cron("x", "@daily"), Expect::Absent).await, "XB4001");
    assert_eq!(server.check(&cron("x", "x")).unwrap_err().code, "XB1012");
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn every_server_knows_what_one_was_told() {
    let world = World::new();
    let (a, b) = (world.server().await, world.server().await);
    a.put(&f(), cron("x", "@daily"), Expect::Any).await.unwrap();
    world.functions.deploy("g", vec![every("own", "1h")]);
    world.pass(1).await;
    let names = |views: Vec<xebec_core::schedule::ScheduleView>| {
        views.into_iter().map(|view| view.schedule.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(b.list(None).await.unwrap()), ["g.own", "x"]);
    b.pause(&tenant(), "x", true).await.unwrap();
    b.pause(&tenant(), "g.own", true).await.unwrap();
    world.pass(1).await;
    for view in a.list(Some(&tenant())).await.unwrap() {
        assert_eq!((view.schedule.paused, view.next), (true, None), "{}", view.schedule.name);
    }
    assert!(a.list(Some(&Tenant::new("another"))).await.unwrap().is_empty());
    a.delete(&tenant(), "x").await.unwrap();
    world.functions.deploy("g", Vec::new());
    world.pass(1).await;
    assert!(b.list(None).await.unwrap().is_empty());
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn paused_ones_do_not_fire_and_do_not_make_up_for_it() {
    let world = World::new();
    let server = world.server().await;
    world.functions.deploy("g", vec![Schedule { missed: Missed::All, ..every("own", "10s") }]);
    server.put(&f(), Schedule { missed: Missed::All, ..every("x", "10s") }, Expect::Any).await.unwrap();
    world.pass(11).await;
    for name in ["x", "g.own"] {
        assert!(server.pause(&tenant(), name, true).await.unwrap().schedule.paused);
    }
    world.pass(60).await;
    let restarted = world.server().await;
    server.shutdown().await;
    world.pass(60).await;
    for name in ["x", "g.own"] {
        let view = restarted.pause(&tenant(), name, false).await.unwrap();
        assert_eq!((view.schedule.paused, view.next), (false, Some(at("2026-01-01T10:02:20Z"))));
    }
    world.pass(10).await;
    assert_eq!(world.sink.times("x"), ["10:00:10", "10:02:20"]);
    assert_eq!(world.sink.times("g.own"), ["10:00:10", "10:02:20"]);
    restarted.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn fired_by_hand_beside_its_times() {
    let world = World::new();
    let server = world.server().await;
    world.functions.deploy("g", vec![every("own", "10s")]);
    let paused = Schedule { paused: true, ..every("x", "10s") };
    server.put(&f(), paused, Expect::Any).await.unwrap();
    world.pass(5).await;
    let receipts =
        [server.fire(&tenant(), "x").await.unwrap(), server.fire(&tenant(), "g.own").await.unwrap()];
    assert_ne!(receipts[0].id, receipts[1].id);
    assert_eq!(world.sink.all().len(), 2);
    let view = server.get(&tenant(), "g.own").await.unwrap().unwrap();
    let last = view.last.unwrap();
    assert_eq!((last.call, last.due), (Some(receipts[1].id), at("2026-01-01T10:00:05Z")));
    assert_eq!(view.next, Some(at("2026-01-01T10:00:10Z")));
    world.pass(6).await;
    assert_eq!(world.sink.times("g.own"), ["10:00:10"], "its time was not used up");
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn changes() {
    let world = World::new();
    let server = world.server().await;
    server.put(&f(), every("x", "10s"), Expect::Any).await.unwrap();
    world.pass(15).await;
    let mut body = every("x", "10s");
    body.call.body = "new".into();
    let view = server.put(&f(), body, Expect::Present).await.unwrap();
    assert_eq!(view.next, Some(at("2026-01-01T10:00:20Z")), "the same times go on");
    assert_eq!(view.last.unwrap().due, at("2026-01-01T10:00:10Z"));
    world.pass(6).await;
    assert_eq!(world.sink.all().last().unwrap().body, "new");
    let view = server.put(&f(), every("x", "7s"), Expect::Any).await.unwrap();
    assert_eq!(view.next, Some(at("2026-01-01T10:00:28Z")), "others begin now");
    server.delete(&tenant(), "x").await.unwrap();
    world.pass(60).await;
    assert_eq!(world.sink.all().len(), 2);
    server.put(&f(), every("x", "10s"), Expect::Absent).await.unwrap();
    assert_eq!(server.get(&tenant(), "x").await.unwrap().unwrap().last, None, "it is another one");
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_so_many() {
    let world = World::new();
    let server = world.server().await;
    for n in 0..MOST_PER_TENANT {
        server.put(&f(), every(&format!("s{n}"), "1d"), Expect::Any).await.unwrap();
    }
    let error = server.put(&f(), every("one-more", "1d"), Expect::Any).await.unwrap_err();
    assert_eq!(error.code, "XB2006");
    server.put(&f(), every("s5", "2d"), Expect::Any).await.unwrap();
    server.shutdown().await;
}
