//! Whatever was accepted is called, and its result arrives, however often the server is killed.
//!
//! `XEBEC_KILLS=100 cargo test --release -p xebec --test nothing_lost` kills a hundred times.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use support::{PATIENCE, Server, nats::Nats, sink::Sink};

/// How often the server is killed.
fn kills() -> u32 {
    std::env::var("XEBEC_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

#[test]
fn kill_minus_nine_loses_nothing_accepted() {
    let folder = tempfile::tempdir().unwrap();
    survive(&folder.path().join("data"), &[], |_| {});
}

#[test]
fn kill_minus_nine_loses_nothing_accepted_on_nats() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut nats) = Nats::start(&folder.path().join("nats"), "always") else { return };
    let arguments = nats.arguments();
    // Every third time the queue's server is killed with ours.
    survive(&folder.path().join("data"), &arguments.each_ref().map(String::as_str), |round| {
        if round % 3 == 2 {
            nats.kill_and_restart();
        }
    });
}

/// Kills the server again and again while calls are accepted; each that was accepted must be made in the end.
fn survive(data: &Path, arguments: &[&str], mut between: impl FnMut(u32)) {
    let sink = Sink::new();
    let accepted = Mutex::new(BTreeSet::new());
    for round in 0..kills() {
        let server = Server::start_in(data, arguments);
        if round == 0 {
            // Two kinds: a process per call, and one that is kept.
            server
                .deploy("name = \"echo\"\nenvironment = \"exec\"\ncommand = [\"cat\"]\n", &[("unused", "x")]);
        }
        kill_under_load(server, round, &sink, &accepted);
        between(round);
    }
    let accepted = accepted.into_inner().unwrap();
    assert!(accepted.len() as u32 >= kills(), "only {} calls were accepted", accepted.len());
    let server = Server::start_in(data, arguments);
    let until = Instant::now() + PATIENCE + Duration::from_millis(20) * accepted.len() as u32;
    loop {
        let arrived: BTreeSet<String> = sink.arrived().iter().map(|result| tag(&result.text())).collect();
        let missing: Vec<_> = accepted.difference(&arrived).collect();
        if missing.is_empty() {
            eprintln!(
                "{} kills, {} calls accepted, {} results arrived, none lost",
                kills(),
                accepted.len(),
                sink.count()
            );
            return;
        }
        assert!(
            Instant::now() < until,
            "{} of {} accepted calls are lost, e.g. {:?}\n{}\n{}",
            missing.len(),
            accepted.len(),
            &missing[..missing.len().min(5)],
            server.ok(&["queue", "ls"]),
            server.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The words of ours in a result, however they are wrapped.
fn tag(text: &str) -> String {
    let from = text.find("call-").unwrap_or(text.len());
    text[from..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}

fn kill_under_load(server: Server, round: u32, sink: &Sink, accepted: &Mutex<BTreeSet<String>>) {
    let killed = AtomicBool::new(false);
    let so_far = AtomicUsize::new(0);
    // At another moment each time, from the very first calls to the thick of it.
    let enough = [1, 7, 40, 15, 100][round as usize % 5];
    std::thread::scope(|scope| {
        for sender in 0..4 {
            let (server, killed, so_far) = (&server, &killed, &so_far);
            scope.spawn(move || {
                for number in 0.. {
                    let text = format!("call-{round}-{sender}-{number}");
                    if !submit(&server.url, &text, &sink.url("/result")) {
                        assert!(killed.load(Ordering::SeqCst), "refused\n{}", server.log());
                        return;
                    }
                    accepted.lock().unwrap().insert(text);
                    so_far.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        support::eventually("some calls are accepted", || so_far.load(Ordering::SeqCst) >= enough);
        killed.store(true, Ordering::SeqCst);
        support::signal(server.pid(), "KILL");
    });
    server.kill();
}

/// Whether a call was accepted.
fn submit(server: &str, text: &str, callback: &str) -> bool {
    let url = format!("{server}/xebec/v1/functions/echo/invoke");
    let text = text.to_owned();
    support::block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let request = client
            .post(url)
            .header("x-xebec-async", "true")
            .header("x-xebec-callback", callback)
            .body(text)
            .send();
        request.await.is_ok_and(|response| response.status() == 202)
    })
}
