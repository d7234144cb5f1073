//! What was acknowledged survives.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use support::{Server, eventually, http, sink::Sink, text};

const CAT: &str = "environment = \"exec\"\ncommand = [\"cat\"]\n";

fn cat(name: &str) -> tempfile::TempDir {
    support::function(&format!("name = \"{name}\"\n{CAT}"), &[("unused", name)])
}

#[test]
fn functions_come_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(folder.path(), &[]);
    server.ok(&["deploy", cat("one").path().to_str().unwrap()]);
    server.ok(&["invoke", "one", "-d", "x"]);
    server.terminate();
    assert!(server.wait().success(), "{}", server.log());
    let server = Server::start_in(folder.path(), &[]);
    assert_eq!(http("GET", &format!("{}/readyz", server.url), &[], b"").0, 200);
    assert_eq!(server.ok(&["invoke", "one", "-d", "still here"]), "still here");
    assert!(server.ok(&["describe", "one"]).contains("LAST CALLS"), "records survive an orderly stop");
}

#[test]
fn kill_minus_nine_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..5 {
        let server = Server::start_in(folder.path(), &[]);
        let listed = server.ok(&["ls", "-o", "json"]);
        for name in &acknowledged {
            assert!(listed.contains(&format!("\"{name}\"")), "{name} was acknowledged and is lost");
        }
        let stop = AtomicBool::new(false);
        let done = std::thread::scope(|scope| {
            let deployer = scope.spawn(|| {
                let mut done = Vec::new();
                for n in 0.. {
                    let name = format!("f-{round}-{n}");
                    let output = server.cli(&["deploy", cat(&name).path().to_str().unwrap()]);
                    if !output.status.success() {
                        assert!(stop.load(Ordering::SeqCst), "{}", text(&output));
                        break;
                    }
                    done.push(name);
                }
                done
            });
            eventually("a few are deployed", || server.ok(&["ls"]).lines().count() > acknowledged.len() + 3);
            stop.store(true, Ordering::SeqCst);
            support::signal(server.pid(), "KILL");
            deployer.join().unwrap()
        });
        acknowledged.extend(done);
    }
    let server = Server::start_in(folder.path(), &[]);
    for name in &acknowledged {
        assert_eq!(server.ok(&["invoke", name, "-d", "x"]), "x", "{name}");
    }
}

#[test]
fn a_backup_of_a_running_server_is_restored() {
    let server = Server::start();
    server.ok(&["deploy", cat("one").path().to_str().unwrap()]);
    server.cli_with(&["secret", "set", "password"], b"s3cret");
    let reveal = support::function(
        "name = \"reveal\"\nenvironment = \"exec\"\ncommand = [\"cat\", \"/run/secrets/password\"]\nsecrets = [\"password\"]\n",
        &[("unused", "x")],
    );
    server.ok(&["deploy", reveal.path().to_str().unwrap()]);
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    server.ok(&["backup", backup.to_str().unwrap()]);
    let twice = server.cli(&["backup", backup.to_str().unwrap()]);
    assert_eq!(twice.status.code(), Some(1), "a backup is never overwritten");
    server.ok(&["deploy", cat("two").path().to_str().unwrap()]);
    let data = folder.path().join("data");
    server.ok(&["restore", backup.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]);
    let restored = Server::start_in(&data, &[]);
    let list = restored.ok(&["ls"]);
    assert!(list.contains("one") && !list.contains("two"), "{list}");
    assert_eq!(restored.ok(&["invoke", "one", "-d", "x"]), "x");
    assert_eq!(restored.ok(&["invoke", "reveal"]), "s3cret");
    let again = server.cli(&["restore", backup.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "a data directory in use is never overwritten");
}

#[test]
fn a_backup_holds_what_waits() {
    let server = Server::start();
    server.ok(&["deploy", cat("one").path().to_str().unwrap()]);
    server.ok(&["queue", "pause", "default"]);
    let sink = Sink::new();
    let large = "x".repeat(300_000);
    for body in ["small", &large] {
        let sent = server.cli_with(
            &["invoke", "one", "--async", "--callback", &sink.url("/"), "-H", "x-kept: yes", "-d", "-"],
            body.as_bytes(),
        );
        assert!(sent.status.success(), "{}", text(&sent));
    }
    let folder = tempfile::tempdir().unwrap();
    let (backup, data) = (folder.path().join("backup"), folder.path().join("data"));
    server.ok(&["backup", backup.to_str().unwrap()]);
    server.kill();
    let restored = xebec_restore(&backup, &data);
    restored.ok(&["queue", "resume", "default"]);
    eventually("both are called", || sink.count() >= 2);
    let arrived = sink.arrived();
    assert!(arrived.iter().any(|result| result.text().contains("small")));
    assert!(arrived.iter().any(|result| result.text().contains(&large)), "the large one came whole");
}

fn xebec_restore(backup: &std::path::Path, data: &std::path::Path) -> Server {
    let output = support::clean(std::process::Command::new(support::xebec()))
        .args(["restore", backup.to_str().unwrap(), "--data-dir", data.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    Server::start_in(data, &[])
}

#[test]
fn stopping_waits_for_calls_and_a_second_signal_does_not() {
    let mut server = Server::start();
    let code = "#!/bin/sh\ntouch /tmp/started\nread line\necho done $line\n";
    server.deploy("name = \"waits\"\nenvironment = \"exec\"\ncommand = [\"/app/run\"]\n", &[("run", code)]);
    let address = server.url.trim_start_matches("http://").to_owned();
    // A call whose body is still on its way is in flight for as long as the test likes.
    use std::io::{Read as _, Write as _};
    let mut call = std::net::TcpStream::connect(&address).unwrap();
    call.set_read_timeout(Some(support::PATIENCE)).unwrap();
    call.write_all(
        b"POST /function/waits HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    eventually("the call is in flight", || {
        let view: serde_json::Value =
            serde_json::from_str(&server.ok(&["describe", "waits", "-o", "json"])).unwrap();
        view["live"]["in_flight"] == 1
    });
    server.terminate();
    eventually("no new calls are taken", || std::net::TcpStream::connect(&address).is_err());
    call.write_all(b"well\n").unwrap();
    let mut answer = String::new();
    call.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("done well"), "{answer}");
    assert!(server.wait().success(), "{}", server.log());

    let mut server = Server::start();
    server.deploy(
        "name = \"stays\"\nenvironment = \"exec\"\ncommand = [\"sleep\", \"1000\"]\n",
        &[("unused", "x")],
    );
    let mut call = std::net::TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    call.write_all(b"GET /function/stays HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    eventually("the call is in flight", || {
        let view: serde_json::Value =
            serde_json::from_str(&server.ok(&["describe", "stays", "-o", "json"])).unwrap();
        view["live"]["in_flight"] == 1
    });
    server.terminate();
    eventually("it is stopping", || server.log().contains("stopping"));
    server.terminate();
    assert!(!server.wait().success(), "ended at once, with a failure");
}
