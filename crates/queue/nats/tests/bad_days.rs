//! The server away, killed, cut off, full, or careless.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::HashSet,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use support::{
    SYNCED, Server,
    load::{PATIENCE, a_moment, lose_nothing},
    message,
};
use xebec_core::ports::{
    clock::SystemClock,
    queue::{Ask, EntryQuery, Queue as _, Settlement, Verdict},
};
use xebec_queue_nats::{Login, NatsQueue};

async fn two(server: &Server) -> Vec<Arc<NatsQueue>> {
    vec![Arc::new(server.queue().await), Arc::new(server.queue().await)]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_server_is_restarted() {
    let Some(mut server) = Server::start() else { return };
    let queues = two(&server).await;
    lose_nothing(queues, async || {
        for _ in 0..2 {
            a_moment().await;
            server.stop();
            a_moment().await;
            server.run();
        }
    })
    .await;
}

/// `XEBEC_KILLS` says how often, in place of ten times.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_server_is_killed() {
    let Some(mut server) = Server::start() else { return };
    let queues = two(&server).await;
    let kills = std::env::var("XEBEC_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    lose_nothing(queues, async || {
        for _ in 0..kills {
            a_moment().await;
            server.kill();
            server.run();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_without_its_server_and_says_so() {
    let Some(mut server) = Server::prepare(SYNCED) else { return };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = server.options();
    options.patience = Duration::from_millis(200);
    let queue = NatsQueue::connect(options, Arc::new(SystemClock)).await.unwrap();
    let sent = message("t", "f");
    let began = Instant::now();
    for error in [
        queue.enqueue(vec![sent.clone()]).await.unwrap_err(),
        queue.health().await.unwrap_err(),
        queue.get(&sent.id).await.unwrap_err(),
        queue.stats(None).await.unwrap_err(),
    ] {
        assert_eq!(error.code, "XB4023", "{error}");
        assert!(error.hint.is_some(), "{error}");
    }
    let ask = Ask { most: 1, lease: PATIENCE, wait: Duration::from_millis(100) };
    assert_eq!(queue.claim(ask).await.unwrap_err().code, "XB4023");
    assert!(began.elapsed() < Duration::from_secs(5), "it says so at once");

    server.run();
    while queue.health().await.is_err() {
        assert!(began.elapsed() < PATIENCE, "{:?}", queue.health().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    queue.enqueue(vec![sent.clone()]).await.unwrap();
    let claims = queue.claim(Ask { wait: PATIENCE, ..ask }).await.unwrap();
    assert_eq!(claims[0].messages[0].message, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_sync_is_refused() {
    let Some(mut server) = Server::prepare("") else { return };
    let _ = rustls::crypto::ring::default_provider().install_default();
    server.run();
    let error = NatsQueue::connect(server.options(), Arc::new(SystemClock)).await.unwrap_err();
    assert_eq!(error.code, "XB6040", "{error}");
    assert!(error.hint.as_deref().unwrap_or_default().contains("sync_interval: always"), "{error}");

    let mut unreachable = server.options();
    unreachable.monitoring = vec!["http://127.0.0.1:9".to_owned()];
    let error = NatsQueue::connect(unreachable.clone(), Arc::new(SystemClock)).await.unwrap_err();
    assert_eq!(error.code, "XB6041", "{error}");
    assert!(error.message.contains("http://127.0.0.1:9/jsz"), "{error}");

    unreachable.accept_unsynced = true;
    let queue = NatsQueue::connect(unreachable, Arc::new(SystemClock)).await.unwrap();
    queue.health().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_refused() {
    let Some(mut server) = Server::prepare(SYNCED) else { return };
    let _ = rustls::crypto::ring::default_provider().install_default();
    server.configure_without_jetstream();
    server.run();
    let error = NatsQueue::connect(server.options(), Arc::new(SystemClock)).await.unwrap_err();
    assert_eq!(error.code, "XB6042", "{error}");
}

/// Stores until the server refuses: what was accepted before is there, and is worked off, and then there is
/// room again.
async fn fill_and_drain(queue: &NatsQueue, codes: &[&str]) {
    let large = || {
        let mut message = message("t", "f");
        message.call.body = xebec_core::message::Payload::Inline(vec![7; 60_000].into());
        message
    };
    let mut accepted = HashSet::new();
    let refused = loop {
        let message = large();
        let id = message.id;
        match queue.enqueue(vec![message]).await {
            Ok(_) => drop(accepted.insert(id)),
            Err(error) => break error,
        }
        assert!(accepted.len() < 10_000, "it is never full");
    };
    assert!(codes.contains(&refused.code), "{refused}");
    assert!(refused.hint.is_some(), "{refused}");
    assert!(accepted.len() > 20, "{} were accepted: {refused}", accepted.len());
    let mut left = accepted.clone();
    let ask = Ask { most: 8, lease: PATIENCE, wait: Duration::from_secs(1) };
    let began = Instant::now();
    while !left.is_empty() {
        assert!(began.elapsed() < PATIENCE, "{} of {} are left", left.len(), accepted.len());
        for claim in queue.claim(ask).await.unwrap() {
            let id = claim.messages[0].message.id;
            let settlement = Settlement { id, verdict: Verdict::Over, then: Vec::new() };
            queue.settle(claim.id, settlement).await.unwrap();
            left.remove(&id);
        }
    }
    while let Err(error) = queue.enqueue(vec![large()]).await {
        assert!(began.elapsed() < PATIENCE, "there is no room again: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_records_is_told_and_can_be_worked_off() {
    let Some(server) = Server::start() else { return };
    let mut options = server.options();
    options.max_records = 60;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let queue = NatsQueue::connect(options, Arc::new(SystemClock)).await.unwrap();
    fill_and_drain(&queue, &["XB4020"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_bytes_is_told_and_can_be_worked_off() {
    let Some(mut server) = Server::prepare("sync_interval: always\n  max_file_store: 8MB") else { return };
    server.run();
    let queue = server.queue().await;
    fill_and_drain(&queue, &["XB4020"]).await;
}

#[test]
fn a_full_disk_loses_nothing() {
    xebec_conformance::small_disk::on_small_disk("a_full_disk_loses_nothing", 48, |disk| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(on_a_full_disk(disk));
    });
}

async fn on_a_full_disk(disk: &Path) {
    let Some(mut server) = Server::prepare(SYNCED) else { return };
    server.configure(&disk.join("store"), "sync_interval: always\n  max_file_store: 10GB");
    server.run();
    let queue = server.queue().await;
    let mut accepted = HashSet::new();
    for _ in 0..50 {
        let message = message("t", "f");
        let id = message.id;
        queue.enqueue(vec![message]).await.unwrap();
        accepted.insert(id);
    }
    let filling = xebec_conformance::small_disk::fill(disk);
    let refused = loop {
        let mut message = message("t", "f");
        message.call.body = xebec_core::message::Payload::Inline(vec![7; 60_000].into());
        let id = message.id;
        match queue.enqueue(vec![message]).await {
            Ok(_) => drop(accepted.insert(id)),
            Err(error) => break error,
        }
        assert!(accepted.len() < 2000, "the disk is never full");
    };
    assert_eq!(refused.code, "XB4002", "{refused}");
    assert_eq!(queue.health().await.unwrap_err().code, "XB4002");
    // A server that could not write may want to be started again.
    std::fs::remove_file(filling).unwrap();
    server.kill();
    server.run();
    let began = Instant::now();
    while queue.enqueue(vec![message("t", "f")]).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "it does not recover:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut there = HashSet::new();
    let mut query = EntryQuery { limit: Some(1000), ..EntryQuery::default() };
    loop {
        let page = queue.list(&query).await.unwrap();
        there.extend(page.entries.iter().map(|entry| entry.message.id));
        query.cursor = page.cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    assert!(accepted.is_subset(&there), "{} were lost", accepted.difference(&there).count());
}

/// A network namespace with one way in and out, gone when it is dropped.
struct Island {
    name: String,
    outside: String,
    number: u32,
}

impl Island {
    fn new() -> Option<Self> {
        let number = std::process::id();
        let island = Self { name: format!("xbq{number}"), outside: format!("xbq{number}"), number };
        let inside = format!("xbi{number}");
        let (name, outside) = (island.name.as_str(), island.outside.as_str());
        let (here, there) = (format!("{}/30", island.address(1)), format!("{}/30", island.address(2)));
        let steps: [&[&str]; 7] = [
            &["netns", "add", name],
            &["link", "add", outside, "type", "veth", "peer", "name", &inside],
            &["link", "set", &inside, "netns", name],
            &["addr", "add", &here, "dev", outside],
            &["link", "set", outside, "up"],
            &["-n", name, "addr", "add", &there, "dev", &inside],
            &["-n", name, "link", "set", &inside, "up"],
        ];
        for step in steps {
            let output = Command::new("ip").args(step).output();
            if !output.as_ref().is_ok_and(|output| output.status.success()) {
                xebec_skipped::skipped!(
                    "no network namespace can be made: ip {}: {output:?}",
                    step.join(" ")
                );
                return None;
            }
        }
        Some(island)
    }

    fn address(&self, host: u32) -> String {
        format!("10.213.{}.{}", self.number % 250, self.number / 250 % 60 * 4 + host)
    }

    fn cut(&self, off: bool) {
        let state = if off { "down" } else { "up" };
        assert!(Command::new("ip").args(["link", "set", &self.outside, state]).status().unwrap().success());
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.outside]).output();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_server_is_cut_off() {
    let Some(mut server) = Server::prepare(SYNCED) else { return };
    let Some(island) = Island::new() else { return };
    server.host = island.address(2);
    server.namespace = Some(island.name.clone());
    let store = server.directory().join("store");
    server.configure(&store, SYNCED);
    server.run();
    let queues = two(&server).await;
    let witness = queues[0].clone();
    lose_nothing(queues, async || {
        a_moment().await;
        island.cut(true);
        let error = witness.enqueue(vec![message("t", "f")]).await.unwrap_err();
        assert_eq!(error.code, "XB4023", "{error}");
        // Longer than leases, so that what ran comes again.
        tokio::time::sleep(Duration::from_secs(3)).await;
        island.cut(false);
    })
    .await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_anew_is_used_as_it_is() {
    let Some(mut server) = Server::start() else { return };
    let queue = server.queue().await;
    for _ in 0..5 {
        queue.enqueue(vec![message("t", "f")]).await.unwrap();
    }
    server.kill();
    server.configure(&server.directory().join("another"), SYNCED);
    server.run();
    let sent = message("t", "f");
    let began = Instant::now();
    while queue.enqueue(vec![sent.clone()]).await.is_err() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ask = Ask { most: 9, lease: PATIENCE, wait: PATIENCE };
    let claims = queue.claim(ask).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].messages[0].message.id, sent.id);
    let stats = queue.stats(None).await.unwrap();
    assert_eq!((stats.len(), stats[0].running, stats[0].waiting), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_says_so() {
    let Some(mut server) = Server::prepare(SYNCED) else { return };
    let _ = rustls::crypto::ring::default_provider().install_default();
    server.more = "authorization { user: xebec, password: secret }".to_owned();
    server.configure(&server.directory().join("store"), SYNCED);
    server.run();
    let mut options = server.options();
    options.patience = Duration::from_secs(2);
    options.login = Login::Password { user: "xebec".to_owned(), password: "wrong".to_owned() };
    let queue = NatsQueue::connect(options.clone(), Arc::new(SystemClock)).await.unwrap();
    let error = queue.health().await.unwrap_err();
    assert_eq!(error.code, "XB4023", "{error}");
    assert!(error.to_string().to_lowercase().contains("authorization"), "{error}");
    options.login = Login::Password { user: "xebec".to_owned(), password: "secret".to_owned() };
    NatsQueue::connect(options, Arc::new(SystemClock)).await.unwrap().health().await.unwrap();
}
