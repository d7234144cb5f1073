//! A server that is asked far more than it can do: it does what it can, refuses the rest at once and says when to
//! come again, keeps to its memory, and is itself again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use support::{PATIENCE, Server, eventually};

/// One call at a time, and two that may wait: whatever comes beside them is more than it can do.
const MANIFEST: &str = "name = \"busy\"\nenvironment = \"exec\"\ncommand = [\"cat\"]\n\
    scale = { max = 1, queue = 2 }\n\
    limits = { concurrency = 1, timeout = \"10m\", first-byte-timeout = \"10m\", wait-timeout = \"10m\", request = \"8MiB\" }\n";

/// Ten times the three that it takes.
const MORE: usize = 30;

/// A call whose body goes on, and with it the call, until it is let go.
fn held(server: &Server, go: &Arc<AtomicBool>) -> JoinHandle<String> {
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let go = Arc::clone(go);
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST /function/busy HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        while !go.load(Ordering::Relaxed) {
            // A body that stands still would be given up.
            stream.write_all(b"1\r\nx\r\n").unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

/// A call that is refused before its body, of which there would be much, was sent.
fn refused(address: &str, path: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 4000000\r\n\r\nso it begins");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the answer broke off: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.starts_with("http/1.1 429"), "{answer}");
    let after = answer.lines().find_map(|line| line.strip_prefix("retry-after: ")).expect(&answer);
    assert!(after.trim().parse::<u64>().unwrap() >= 1);
}

fn live(server: &Server) -> (u64, u64) {
    let (_, body) =
        support::http("GET", &format!("{}/xebec/v1/functions/busy", server.url), &token(server), b"");
    let function: Value = serde_json::from_slice(&body).unwrap();
    let of = |what: &str| function["live"][what].as_u64().unwrap();
    (of("in_flight"), of("waiting"))
}

fn token(server: &Server) -> [(&'static str, &'static str); 1] {
    // Tests are short; what they leak goes with them.
    [("authorization", Box::leak(format!("Bearer {}", server.token()).into_boxed_str()))]
}

fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn what_is_too_much_is_refused_at_once_and_told_when_to_come_again() {
    let server = Server::start();
    server.deploy(MANIFEST, &[("unused", "x")]);
    assert_eq!(support::http("POST", &server.function("busy"), &[], b"warm"), (200, b"warm".to_vec()));
    let go = Arc::new(AtomicBool::new(false));
    let mut held_ones = Vec::new();
    for (wanted, why) in [((1, 0), "one runs"), ((1, 1), "one waits"), ((1, 2), "two wait")] {
        held_ones.push(held(&server, &go));
        eventually(why, || live(&server) == wanted);
    }
    let before = resident(&server);
    let address = server.url.strip_prefix("http://").unwrap();
    std::thread::scope(|scope| {
        for number in 0..MORE {
            let path = ["/xebec/v1/functions/busy/invoke", "/function/busy"][number % 2];
            scope.spawn(move || refused(address, path));
        }
    });
    assert_eq!(live(&server), (1, 2), "those that were there are still there");
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 64 << 20, "it grew by {grown} bytes");
    // Everything else works meanwhile.
    assert_eq!(support::http("GET", &format!("{}/healthz", server.url), &[], b"").0, 200);
    go.store(true, Ordering::Relaxed);
    for one in held_ones {
        let answer = one.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    eventually("it is itself again", || live(&server) == (0, 0));
    assert_eq!(support::http("POST", &server.function("busy"), &[], b"again"), (200, b"again".to_vec()));
}

#[test]
fn a_rate_that_is_used_up_is_told_likewise() {
    let server = Server::start();
    // One at first, and the next after most of a day.
    let manifest =
        "name = \"rare\"\nenvironment = \"exec\"\ncommand = [\"cat\"]\nscale = { max-rate = 0.00002 }\n";
    server.deploy(manifest, &[("unused", "x")]);
    let answers: Vec<_> =
        (0..5).map(|_| support::exchange("POST", &server.function("rare"), &[], b"x")).collect();
    assert_eq!(answers.iter().filter(|(status, ..)| *status == 200).count(), 1);
    for (status, head, _) in answers.iter().filter(|(status, ..)| *status != 200) {
        assert_eq!(*status, 429);
        assert!(head["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    }
}
