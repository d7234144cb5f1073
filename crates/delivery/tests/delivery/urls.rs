//! Results that go to URLs, and servers that behave badly.

use crate::support::{
    World, both,
    engine::key,
    fine,
    server::{Reply, Server, status},
    until,
};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use xebec_core::{
    InvocationId, Tenant,
    message::{Form, Lane, RESULTS_QUEUE, Recipient, Target, Wishes},
    policy::Policy,
    ports::{
        clock::Clock as _,
        deliveries::Deliveries as _,
        queue::{Entry, EntryQuery, EntryState, LaneStats, Selection},
    },
    rules::retry::Death,
};
use xebec_delivery::DeliveryOptions;

async fn world(options: DeliveryOptions) -> World {
    let world = World::still(options);
    world.delivery.start().await;
    world.engine.deploy(&key("f"), Policy::default(), fine);
    world
}

async fn call(world: &World, url: &str) -> InvocationId {
    let destinations = both(Recipient::Url(url.to_owned()), Form::Answer);
    let id = world.submit("f", "", Wishes { destinations, ..Wishes::default() }).await.id;
    world.over(id).await;
    id
}

/// The only result that is in the queue.
async fn result(world: &World) -> Option<Entry> {
    let which = Selection { queue: Some(RESULTS_QUEUE.into()), ..Selection::default() };
    let query = EntryQuery { which, ..EntryQuery::default() };
    world.delivery.messages(&query).await.unwrap().entries.pop()
}

async fn delivered(world: &World) {
    until("the result to be delivered", async || result(world).await.is_none()).await;
    let mut metrics = String::new();
    world.delivery.metrics(&mut metrics);
    assert!(metrics.contains("xebec_results_total{result=\"delivered\"} 1\n"), "{metrics}");
}

async fn died(world: &World) -> (Death, String) {
    until("the result to die", async || {
        result(world).await.is_some_and(|entry| matches!(entry.state, EntryState::Dead { .. }))
    })
    .await;
    let entry = result(world).await.unwrap();
    let EntryState::Dead { death, .. } = entry.state else { panic!("{entry:?}") };
    let mut metrics = String::new();
    world.delivery.metrics(&mut metrics);
    assert!(metrics.contains("xebec_results_total{result=\"failed\"} 1\n"), "{metrics}");
    (death, entry.why.unwrap())
}

/// Lets time go by until the next attempt, `attempts` times.
async fn let_retries_come(world: &World, attempts: u32) {
    for attempt in 1..attempts {
        until("the next attempt", async || {
            result(world).await.is_some_and(|entry| {
                entry.history.failures >= attempt && matches!(entry.state, EntryState::Waiting { .. })
            })
        })
        .await;
        world.clock.advance(Duration::from_secs(300));
    }
}

#[tokio::test]
async fn brings_an_answer_to_a_url() {
    let server = Server::new(|_, _| status(200, "")).await;
    let world = world(DeliveryOptions::default()).await;
    let id = call(&world, &server.url("/back?x=1")).await;
    delivered(&world).await;
    let heard = &server.heard()[0];
    assert_eq!(heard.line, "POST /back?x=1 HTTP/1.1");
    assert_eq!((&heard.body[..], heard.header("x-xebec-result-of")), (&b"fine"[..], &*id.to_string()));
    assert_eq!((heard.header("x-xebec-hops"), heard.header("content-length")), ("1", "4"));
    assert!(heard.header("user-agent").starts_with("xebec/"));
}

#[tokio::test]
async fn tries_again_after_an_error() {
    let server = Server::new(|n, _| if n == 0 { status(500, "") } else { status(200, "") }).await;
    let world = world(DeliveryOptions::default()).await;
    call(&world, &server.url("/")).await;
    let_retries_come(&world, 2).await;
    delivered(&world).await;
    assert_eq!(server.heard().len(), 2);
    assert_eq!(server.heard()[0].body, server.heard()[1].body);
}

#[tokio::test]
async fn tries_again_after_a_reset_and_after_silence() {
    let server = Server::new(|n, _| if n == 0 { Reply::Reset } else { status(204, "") }).await;
    let world = world(DeliveryOptions::default()).await;
    call(&world, &server.url("/")).await;
    let_retries_come(&world, 2).await;
    delivered(&world).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_leaves_a_dead_letter() {
    let address = Server::new(|_, _| status(200, "")).await.address;
    let world = world(DeliveryOptions::default()).await;
    call(&world, &format!("http://{address}/")).await;
    let_retries_come(&world, 5).await;
    let (death, why) = died(&world).await;
    assert_eq!(death, Death::Exhausted);
    assert!(why.to_lowercase().contains("connect"), "{why}");
    assert_eq!(world.delivery.queues(None).await.unwrap().len(), 1, "no results of results");
}

#[tokio::test]
async fn what_a_client_did_wrong_is_not_tried_again() {
    let server = Server::new(|_, _| status(404, "")).await;
    let world = world(DeliveryOptions::default()).await;
    call(&world, &server.url("/")).await;
    assert_eq!(died(&world).await, (Death::Failed, "the server answered 404".to_owned()));
}

#[tokio::test]
async fn honours_retry_after() {
    let server =
        Server::new(|n, _| if n == 0 { status(503, "retry-after: 900\r\n") } else { status(200, "") }).await;
    let world = world(DeliveryOptions::default()).await;
    call(&world, &server.url("/")).await;
    until("the next attempt", async || {
        result(&world).await.is_some_and(|entry| {
            let soon = world.clock.now() + jiff::SignedDuration::from_secs(800);
            matches!(entry.state, EntryState::Waiting { due } if due > soon)
        })
    })
    .await;
    world.clock.advance(Duration::from_secs(901));
    delivered(&world).await;
}

#[tokio::test]
async fn a_server_that_hangs_holds_its_own_lane_only() {
    let hanging = Server::new(|_, _| Reply::Hang).await;
    let healthy = Server::new(|_, _| status(200, "")).await;
    let options = DeliveryOptions { answer: Duration::from_millis(300), ..DeliveryOptions::default() };
    let world = world(options).await;
    for _ in 0..40 {
        call(&world, &hanging.url("/")).await;
    }
    let began = Instant::now();
    call(&world, &healthy.url("/")).await;
    until("the healthy server to hear", async || healthy.heard().len() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    let host = hanging.address.to_string();
    let lane = Lane {
        tenant: Tenant::default(),
        queue: RESULTS_QUEUE.into(),
        target: Target::Host(host.as_str().into()),
    };
    let running = |stats: Vec<LaneStats>| {
        stats.iter().find(|stats| stats.lane == lane).map_or(0, |stats| stats.running)
    };
    assert!(running(world.delivery.queues(None).await.unwrap()) <= 16);
    until("all to time out", async || {
        let entries = world.delivery.messages(&EntryQuery::default()).await.unwrap().entries;
        entries.len() == 40 && entries.iter().all(|entry| entry.history.failures > 0)
    })
    .await;
    let entries = world.delivery.messages(&EntryQuery::default()).await.unwrap().entries;
    assert!(entries.iter().all(|entry| entry.why.as_deref().unwrap().contains("did not answer within")));
}

#[tokio::test]
async fn a_slow_body_behind_a_good_head_is_good_enough() {
    let server = Server::new(|_, _| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
        Reply::Slowly(format!("{head}{}", "x".repeat(100_000)), Duration::from_micros(100))
    })
    .await;
    let world = world(DeliveryOptions::default()).await;
    let began = Instant::now();
    call(&world, &server.url("/")).await;
    delivered(&world).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn a_head_that_drips_runs_out_of_time() {
    let server = Server::new(|_, _| {
        Reply::Slowly(format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(1000)), Duration::from_millis(20))
    })
    .await;
    let options = DeliveryOptions { answer: Duration::from_millis(200), ..DeliveryOptions::default() };
    let world = world(options).await;
    call(&world, &server.url("/")).await;
    until("the time to run out", async || {
        result(&world).await.is_some_and(|entry| {
            entry.history.failures == 1 && entry.why.is_some_and(|why| why.contains("did not answer within"))
        })
    })
    .await;
}

#[tokio::test]
async fn follows_redirects_with_the_whole_request() {
    let target = Server::new(|_, _| status(200, "")).await;
    let there = target.url("/there");
    let server = Server::new(move |n, _| match n {
        0 => status(302, "location: /again\r\n"),
        1 => status(308, &format!("location: {there}\r\n")),
        _ => status(500, ""),
    })
    .await;
    let world = world(DeliveryOptions::default()).await;
    call(&world, &server.url("/")).await;
    delivered(&world).await;
    assert_eq!(server.heard()[1].line, "POST /again HTTP/1.1");
    let heard = &target.heard()[0];
    assert_eq!((&*heard.line, &heard.body[..]), ("POST /there HTTP/1.1", &b"fine"[..]));
}

#[tokio::test]
async fn see_other_means_that_it_arrived() {
    let server = Server::new(|_, _| status(303, "location: /status\r\n")).await;
    let world = world(DeliveryOptions::default()).await;
    call(&world, &server.url("/")).await;
    delivered(&world).await;
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn a_loop_of_redirects_ends() {
    let server = Server::new(|n, _| status(307, &format!("location: /{n}\r\n"))).await;
    let world = world(DeliveryOptions::default()).await;
    call(&world, &server.url("/")).await;
    let (death, why) = died(&world).await;
    assert_eq!(death, Death::Failed);
    assert!(why.contains("more than 5 times"), "{why}");
    assert_eq!(server.heard().len(), 6);
}

#[tokio::test]
async fn a_redirect_to_elsewhere_is_refused() {
    for (location, expected) in [("location: ftp://x/\r\n", "from http to ftp"), ("", "without saying where")]
    {
        let server = Server::new(move |_, _| status(301, location)).await;
        let world = world(DeliveryOptions::default()).await;
        call(&world, &server.url("/")).await;
        let (death, why) = died(&world).await;
        assert_eq!(death, Death::Failed);
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test]
async fn private_addresses_can_be_forbidden() {
    let server = Server::new(|_, _| status(200, "")).await;
    let options = DeliveryOptions { forbid_private_destinations: true, ..DeliveryOptions::default() };
    let world = world(options).await;
    let destinations = both(Recipient::Url(server.url("/")), Form::Answer);
    let refused = crate::support::submission(
        "f",
        "",
        Wishes { destinations: destinations.clone(), ..Wishes::default() },
    );
    assert_eq!(world.delivery.submit(refused).await.unwrap_err().code, "XB1011");
    // What a policy says is found out when it is sent.
    let delivery = xebec_core::policy::Delivery { destinations, ..Default::default() };
    world.engine.deploy(&key("f"), crate::support::policy(delivery), fine);
    world.submit("f", "", Wishes::default()).await;
    let (death, why) = died(&world).await;
    assert_eq!(death, Death::Failed);
    assert!(why.contains("not a public address"), "{why}");
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn a_server_that_sends_credentials_on_does_not_get_them_through() {
    let first = Arc::new(OnceLock::<String>::new());
    let other = Server::new(|_, _| status(200, "")).await;
    first.set(other.url("/x")).unwrap();
    let place = first.clone();
    let server =
        Server::new(move |_, _| status(307, &format!("location: {}\r\n", place.get().unwrap()))).await;
    let world = world(DeliveryOptions::default()).await;
    let mut destinations = both(Recipient::Url(server.url("/")), Form::Answer);
    destinations.on_success[0].headers =
        vec![("authorization".into(), xebec_core::message::Field::Text("Bearer secret".into()))];
    world.submit("f", "", Wishes { destinations, ..Wishes::default() }).await;
    until("the other server to hear", async || other.heard().len() == 1).await;
    assert_eq!(server.heard()[0].header("authorization"), "Bearer secret");
    assert_eq!(other.heard()[0].header("authorization"), "");
}
