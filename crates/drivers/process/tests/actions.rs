//! OpenWhisk's actions in real sandboxes: ActionLoops, the docker skeleton's programs, and zips of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::{Value, json};
use std::process::Command as HostCommand;
use support::{Function, Open, Place, Told};
use tokio::io::AsyncReadExt as _;
use xebec_core::{Outcome, outcome::FunctionFault, ports::instance::Command};

macro_rules! place {
    () => {{
        let Some(place) = Place::launch().await else { return };
        place
    }};
}

/// An ActionLoop as a script: says what it was sent.
const LOOP: &str = "#!/bin/sh\nwhile read -r line; do\n  echo \"pid $$\"\n  \
                    echo \"{\\\"sent\\\":$line,\\\"home\\\":\\\"$PWD\\\",\\\"a\\\":\\\"$A\\\"}\" >&3\ndone\n";

async fn result(open: &Open, body: &str) -> Value {
    let (status, body) = open.call(body).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_loop_is_one_process_for_all_calls() {
    let place = place!();
    let function = Function::new("openwhisk-actionloop").single(LOOP.as_bytes()).variable("A", "1");
    let open = place.run(&function).await;
    for n in 0..5 {
        let said = result(&open, &format!("{{\"n\":{n}}}")).await;
        assert_eq!(said["sent"]["value"], json!({"n": n}));
        assert_eq!((&said["home"], &said["a"]), (&json!("/app"), &json!("1")));
    }
    let pids: Vec<_> = open.lines.text().lines().map(str::to_owned).collect();
    assert_eq!(pids.len(), 5);
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    open.session.close(support::PATIENCE).await;
    open.io.destroy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_loop_may_be_a_program() {
    let place = place!();
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <stdio.h>\n#include <string.h>\n\
                  int main(void) {\n  static char line[1 << 16]; FILE *out = fdopen(3, \"w\"); int n = 0;\n  \
                  fprintf(out, \"{\\\"ok\\\":true}\\n\"); fflush(out);\n  \
                  while (fgets(line, sizeof line, stdin)) {\n    fprintf(stderr, \"call %d\\n\", ++n);\n    \
                  fprintf(out, \"{\\\"n\\\":%d}\\n\", n); fflush(out);\n  }\n  return 0;\n}\n";
    let (program, file) = (folder.path().join("exec"), folder.path().join("loop.c"));
    std::fs::write(&file, source).unwrap();
    match HostCommand::new("cc").args(["-o"]).arg(&program).arg(&file).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => return xebec_skipped::skipped!("this machine has no C compiler: {error}"),
    }
    let function = Function::new("openwhisk-actionloop")
        .single(&std::fs::read(&program).unwrap())
        .variable("OW_WAIT_FOR_ACK", "1");
    let open = place.run(&function).await;
    for n in 1..=3 {
        assert_eq!(result(&open, "{}").await, json!({ "n": n }));
    }
    open.lines.wait_for("call 3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zips_have_their_program_at_the_top_or_below_bin() {
    let place = place!();
    for program in ["exec", "bin/exec"] {
        let function = Function::new("openwhisk-actionloop")
            .file(
                program,
                "#!/bin/sh\nwhile read -r line; do echo \"[\\\"$(cat data/name)\\\"]\" >&3; done\n",
            )
            .file("data/name", "Ada")
            .zipped();
        let open = place.run(&function).await;
        assert_eq!(result(&open, "{}").await, json!(["Ada"]), "{program}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skeletons_program_runs_once_per_call() {
    let place = place!();
    let script = "#!/bin/sh\necho \"first $1\"\necho error >&2\nread -r given\n\
                  echo \"{\\\"given\\\":$given,\\\"deadline\\\":$__OW_DEADLINE,\\\"a\\\":\\\"$A\\\"}\"\n";
    let function = Function::new("openwhisk-skeleton").single(script.as_bytes()).variable("A", "1");
    let open = place.run(&function).await;
    for n in 0..3 {
        let said = result(&open, &format!("{{\"n\":{n}}}\n")).await;
        assert_eq!((&said["given"], &said["a"]), (&json!({"n": n}), &json!("1")));
        assert!(said["deadline"].is_u64(), "{said}");
        assert!(open.lines.text().contains(&format!("first {{\"n\":{n}}}")), "{}", open.lines.text());
    }
    assert!(open.lines.text().contains("error"));
    // Up to what Linux takes as an argument, and past it.
    for size in [100_000, 1_000_000] {
        let large = format!("{{\"text\":\"{}\"}}", "x".repeat(size));
        assert_eq!(result(&open, &large).await["given"]["text"].as_str().unwrap().len(), size);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zip_with_several_files_is_a_program_too() {
    let place = place!();
    let function = Function::new("openwhisk-skeleton")
        .file("exec", "#!/bin/sh\n. ./lib/greet.sh\ngreet\n")
        .file("lib/greet.sh", "greet() { echo '{\"greeting\":\"ahoy\"}'; }\n")
        .zipped();
    let open = place.run(&function).await;
    assert_eq!(result(&open, "").await, json!({"greeting": "ahoy"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_told() {
    let place = place!();
    let memory = "#!/bin/sh\nx=a; while :; do x=$x$x; done\n";
    for (environment, code, expected, exit_code) in [
        ("openwhisk-skeleton", "#!/bin/sh\necho half; exit 3\n", FunctionFault::Crash, Some(3)),
        ("openwhisk-skeleton", "#!/bin/sh\necho nothing\n", FunctionFault::BadResponse, None),
        ("openwhisk-skeleton", "neither a script nor a program", FunctionFault::FailedInit, None),
        ("openwhisk-actionloop", "#!/bin/sh\nread -r line; exit 3\n", FunctionFault::Crash, Some(3)),
        (
            "openwhisk-actionloop",
            "#!/bin/sh\nread -r line; echo 7 >&3; read -r line\n",
            FunctionFault::BadResponse,
            None,
        ),
    ] {
        let open = place.run(&Function::new(environment).single(code.as_bytes())).await;
        let failed = open.try_call("{}").await.unwrap_err();
        assert_eq!(failed.outcome, Outcome::FunctionError(expected), "{code}");
        assert_eq!(failed.exit_code, exit_code, "{code}");
        assert!(failed.output.starts_with(b"{\"error\":"), "{code}: {:?}", failed.output);
    }
    let function = Function::new("openwhisk-skeleton").single(memory.as_bytes());
    let open = place.run(&function.limits(|limits| limits.memory_bytes = Some(32 << 20))).await;
    let failed = open.try_call("{}").await.unwrap_err();
    // Without a memory group, the shell is told that there is no more, and ends.
    let faults = [FunctionFault::OutOfMemory, FunctionFault::Crash].map(Outcome::FunctionError);
    assert!(faults.contains(&failed.outcome), "{failed:?}");

    let broken = Function::new("openwhisk-actionloop").single(b"neither a script nor a program");
    let (error, _) = place.try_open(&place.deploy(&broken).await.unwrap()).await.err().unwrap();
    assert!(error.contains("neither a program nor a script"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_gets_a_pipe_for_its_result() {
    let place = place!();
    let open = place.run(&Function::exec(&["true"])).await;
    for (result, expected) in [(true, "third\n"), (false, "")] {
        let script = "echo out; if [ -e /proc/self/fd/3 ]; then echo third >&3; fi";
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let command = Command { argv, result, ..Command::default() };
        let mut child = open.io.spawn(command).await.unwrap();
        let mut streams = child.take_streams().unwrap();
        assert_eq!(streams.result.is_some(), result);
        let (mut out, mut third) = (String::new(), String::new());
        streams.stdout.read_to_string(&mut out).await.unwrap();
        if let Some(mut result) = streams.result {
            result.read_to_string(&mut third).await.unwrap();
        }
        assert_eq!((out.as_str(), third.as_str()), ("out\n", expected));
        assert!(child.wait().await.is_success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_blob_can_be_read_in_two_ways() {
    let place = place!();
    let zipped = Function::exec(&["cat", "exec"]).file("exec", "the file").zipped();
    let (.., archive) = place.revision(&zipped);
    let single = Function::exec(&["cat", "exec"]).single(&archive);
    for (function, expected) in [(&zipped, "the file"), (&single, "PK"), (&zipped, "the file")] {
        let (status, said) = place.run(function).await.call("").await;
        assert!(status == 200 && said.starts_with(expected), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_is_whole_gets_no_build_steps() {
    let place = place!();
    if place.environment("node").is_none() {
        return;
    }
    let function = || {
        Function::node("module.exports = async () => 'ran'")
            .file("package.json", "{\"dependencies\":{\"own\":\"file:./own\"}}")
            .file("own/package.json", "{\"name\":\"own\",\"version\":\"1.0.0\"}")
    };
    let told = Told::default();
    let deployed = place.deploy_telling(&function().without_steps(), &told).await.unwrap();
    assert!(!told.0.lock().iter().any(|line| line.contains("package.json")), "{:?}", told.0.lock());
    assert_eq!(place.open(&deployed).await.call("").await, (200, "ran".to_owned()));
    // Whether it can or not, it would otherwise.
    place.deploy_telling(&function(), &told).await.ok();
    assert!(told.0.lock().iter().any(|line| line.contains("package.json")), "{:?}", told.0.lock());
}
