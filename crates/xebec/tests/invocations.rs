//! What was called and how it ended, from the command line, on the real binary.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};
use support::{Server, clean, eventually, text, xebec};

/// Prints a line, answers what it was sent, and fails where that is `fail`.
const MANIFEST: &str = "name = \"echo\"\nenvironment = \"exec\"\ncommand = [\"/app/echo.sh\"]\ncontract = { combine_output = false }\n";
const SCRIPT: &str =
    "#!/bin/sh\nbody=$(cat)\necho \"got $body\" >&2\n[ \"$body\" = fail ] && exit 3\nprintf %s \"$body\"\n";

fn server(configuration: &str) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xebec.toml");
    std::fs::write(&file, configuration).unwrap();
    let server = Server::start_with(&["--config", file.to_str().unwrap()]);
    server.deploy(MANIFEST, &[("echo.sh", SCRIPT)]);
    (server, folder)
}

/// Records as the command line lists them, newest first.
fn listed(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let all = [&["invocations", "-o", "json"], arguments].concat();
    serde_json::from_str(&server.ok(&all)).unwrap()
}

fn id(record: &Value) -> String {
    record["id"].as_str().unwrap().to_owned()
}

#[test]
fn calls_are_listed_filtered_shown_and_exported() {
    let (server, _folder) = server("");
    assert!(server.ok(&["invocations"]).contains("no invocations match"));
    for body in ["one", "two", "three"] {
        assert_eq!(server.ok(&["invoke", "echo", "-d", body]), body);
    }
    assert!(!server.cli(&["invoke", "echo", "-d", "fail"]).status.success());
    let table = server.ok(&["invocations"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("AGE") && lines[0].ends_with("ID") && lines.len() == 5, "{table}");
    assert!(lines[1].contains("echo") && lines[1].contains("crash"), "the newest is first: {table}");
    assert!(lines[4].contains("success") && lines[4].contains("200"), "{table}");

    let crashes = listed(&server, &["--outcome", "crash", "--function", "echo", "--since", "1h"]);
    assert_eq!(crashes.len(), 1);
    assert_eq!(listed(&server, &["--limit", "2"]).len(), 2);
    assert_eq!(listed(&server, &["--until", "1h"]).len(), 0);
    assert_eq!(listed(&server, &["--attempt", "1"]).len(), 0);

    let failed = id(&crashes[0]);
    eventually("its line is there", || server.ok(&["invocations", "show", &failed]).contains("got fail"));
    let shown = server.ok(&["invocations", "show", &failed]);
    for part in ["Outcome:", "crash", "Why:", "Took:", "LOGS", "was not kept"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown: Value =
        serde_json::from_str(&server.ok(&["invocations", "show", &failed, "-o", "json"])).unwrap();
    assert_eq!((&shown["replayable"], id(&shown)), (&Value::Bool(false), failed.clone()));

    let export = server.cli(&["invocations", "export", "--since", "1h"]);
    let exported: Vec<Value> = String::from_utf8(export.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(exported, listed(&server, &[]));
    assert!(String::from_utf8(export.stderr).unwrap().contains("4 invocations exported"));

    let refused = server.cli(&["invocations", "replay", &failed]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("XB2018") && text(&refused).contains("keep-requests"),
        "{}",
        text(&refused)
    );
}

#[test]
fn wrong_questions_are_told_apart_from_failures() {
    let (server, _folder) = server("");
    for misuse in [
        &["invocations", "show", "not-an-id"][..],
        &["invocations", "--since", "yesterday"],
        &["invocations", "--limit", "many"],
        &["invocations", "-f", "--until", "1h"],
        &["invocations", "replay"],
    ] {
        let output = server.cli(misuse);
        assert_eq!(output.status.code(), Some(2), "xebec {misuse:?}:\n{}", text(&output));
    }
    for failure in [
        &["invocations", "--outcome", "sunshine"][..],
        &["invocations", "export", "--outcome", "sunshine"],
        &["invocations", "show", "0199c2f0-7a3e-7d10-8a5e-3b1f0c9d2e4a"],
    ] {
        let output = server.cli(failure);
        assert_eq!(output.status.code(), Some(1), "xebec {failure:?}:\n{}", text(&output));
        assert!(text(&output).contains("hint:"), "{}", text(&output));
    }
    assert!(server.ok(&["invocations", "--help"]).contains("xebec invocations -f"));
}

#[test]
fn calls_are_followed_as_they_end() {
    let (server, _folder) = server("");
    server.ok(&["invoke", "echo", "-d", "before"]);
    let mut follower = clean(Command::new(xebec()))
        .args(["invocations", "-f", "-o", "json", "--limit", "1"])
        .env("XEBEC_URL", &server.url)
        .env("XEBEC_DATA_DIR", &server.data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let (told, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = told.send(serde_json::from_str::<Value>(&line).unwrap());
        }
    });
    let next = || seen.recv_timeout(support::PATIENCE).expect("a record");
    let before = next();
    assert_eq!(before["request_bytes"], 6);
    server.ok(&["invoke", "echo", "-d", "one"]);
    server.cli(&["invoke", "echo", "-d", "fail"]);
    let (one, fail) = (next(), next());
    assert_eq!((one["request_bytes"].as_u64(), fail["fault"].as_str()), (Some(3), None), "{fail}");
    assert_eq!(listed(&server, &[]), [fail, one, before]);
    assert!(seen.recv_timeout(Duration::from_millis(200)).is_err(), "nothing came twice");
    // The server's end is the end of it.
    server.terminate();
    eventually("it ends", || follower.try_wait().unwrap().is_some());
}

#[test]
fn a_call_is_made_again_with_what_it_was_called_with() {
    let (server, _folder) = server("[records]\nkeep-requests = \"8\"\n");
    server.cli(&["invoke", "echo", "-d", "fail"]);
    server.ok(&["invoke", "echo", "-d", "small"]);
    server.ok(&["invoke", "echo", "-d", "far too large"]);
    let [large, small, failed] = listed(&server, &[]).try_into().unwrap();
    let again = server.ok(&["invocations", "replay", &id(&small), "--wait"]);
    assert!(again.contains("success") && !again.contains(&id(&small)), "{again}");
    let newest = &listed(&server, &["--limit", "1"])[0];
    assert_eq!((&newest["request_bytes"], &newest["attempt"]), (&Value::from(5), &Value::from(1)));
    let shown = server.ok(&["invocations", "show", &id(&failed)]);
    assert!(shown.contains(&format!("xebec invocations replay {}", id(&failed))), "{shown}");
    let refused = server.cli(&["invocations", "replay", &id(&large)]);
    assert!(refused.status.code() == Some(1) && text(&refused).contains("XB2018"), "{}", text(&refused));
}

#[test]
fn bounds_are_read_from_the_configuration() {
    let wrong = tempfile::tempdir().unwrap();
    let file = wrong.path().join("xebec.toml");
    std::fs::write(&file, "[records]\nkep = \"7d\"\n").unwrap();
    let failed = Server::try_start_in(&wrong.path().join("data"), &["--config", file.to_str().unwrap()])
        .err()
        .unwrap();
    assert!(failed.contains("kep"), "{failed}");
    let (server, _folder) =
        server("[records]\nkeep = \"30d\"\nentries = 5000\nbytes = \"1MiB\"\n[logs]\nkeep = \"1d\"\n");
    server.ok(&["invoke", "echo", "-d", "x"]);
    assert_eq!(listed(&server, &[]).len(), 1);
}
