//! The `init-run` contract where it is the proxy itself: ActionLoops and the docker skeleton's programs.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod toy;

use serde_json::{Value, json};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use toy::{Opened, Owner, Toy, opening, post, spec, until};
use xebec_contracts::{CallError, StartError, contract};
use xebec_core::{
    Body, Outcome,
    log::LogStream,
    outcome::{FunctionFault, PlatformFault},
    record::Remarks,
    slot::Retire,
};

async fn open(options: Value, variables: &[(&str, &str)], command: &[&str]) -> Result<Opened, StartError> {
    let (io, owner) = (Toy::new(), Arc::new(Owner::default()));
    let mut opening = opening(io.clone(), owner.clone(), spec("init-run", options), command);
    opening.limits.concurrency = 1;
    opening.brings.variables =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let session = contract("init-run").unwrap().open(opening).await?;
    assert_eq!(owner.announced.load(Ordering::SeqCst), 1);
    Ok(Opened { io, owner, session })
}

async fn looped(script: &str) -> Opened {
    open(json!({"mode": "loop"}), &[], &["sh", "-c", script]).await.unwrap()
}

async fn program(script: &str) -> Opened {
    // The script is `$0`'s; what is added is the argument.
    open(json!({"mode": "exec"}), &[], &["sh", "-c", script, "exec"]).await.unwrap()
}

fn call(body: &str) -> http::Request<Body> {
    let mut request = post(body.to_owned());
    request.headers_mut().insert("x-xebec-run-action-name", "/guest/hello".parse().unwrap());
    request
}

async fn failed(function: &Opened, body: &str) -> CallError {
    function.send(call(body)).await.unwrap_err()
}

fn lines(function: &Opened) -> Vec<(LogStream, String)> {
    function.owner.lines.lock().clone()
}

/// Says what it was sent, as a result.
const ECHO: &str = "while read -r line; do echo \"saw it\"; echo \"{\\\"sent\\\":$line}\" >&3; done";

#[tokio::test]
async fn a_loop_gets_a_line_and_answers_with_one() {
    let function = looped(ECHO).await;
    for n in 1..=20 {
        let (head, body) = function.answer(call(&format!("{{\"n\":\n {n}}}"))).await;
        assert!(head.extensions.get::<Remarks>().is_none());
        let sent: Value = serde_json::from_str::<Value>(&body).unwrap()["sent"].take();
        assert_eq!((&sent["value"], &sent["action_name"]), (&json!({"n": n}), &json!("/guest/hello")));
        assert_eq!(sent["activation_id"].as_str().unwrap().len(), 32);
        // All that it printed is there with its answer.
        assert_eq!(lines(&function).len(), n);
    }
    assert_eq!(lines(&function)[0], (LogStream::Stdout, "saw it".to_owned()));
    assert_eq!((function.owner.freed(), function.owner.retired()), (20, vec![]));
}

#[tokio::test]
async fn a_loop_takes_and_gives_megabytes() {
    let function = open(
        json!({"mode": "loop", "max_answer_bytes": 4_000_000}),
        &[],
        &["sh", "-c", "while read -r line; do printf '[%s]\\n' \"$line\" >&3; done"],
    )
    .await
    .unwrap();
    let sent = format!("[\"{}\"]", "x".repeat(2_000_000));
    let (_, body) = function.answer(call(&sent)).await;
    assert!(body.starts_with("[{\"value\":[\"xxx") && body.len() > sent.len(), "{}", body.len());
}

#[tokio::test]
async fn a_loops_results_are_results_errors_or_none() {
    let script = "while read -r line; do case $line in \
                  *'\"error\"'*) echo '{\"error\":\"no\"}' >&3;; \
                  *'\"long\"'*) echo '[\"0123456789012345678901234567890123456789\"]' >&3;; \
                  *) echo 'not JSON' >&3;; esac; done";
    let command = ["sh", "-c", script];
    let function = open(json!({"mode": "loop", "max_answer_bytes": 32}), &[], &command).await.unwrap();
    let (head, body) = function.answer(call("[\"error\"]")).await;
    assert_eq!(body, "{\"error\":\"no\"}");
    assert_eq!(head.extensions.get::<Remarks>().unwrap().outcome, Some(Outcome::ApplicationError));
    let (head, body) = function.answer(call("[\"long\"]")).await;
    assert!(body.contains("exceeded the allowed length: 44 > 32 bytes"), "{body}");
    assert_eq!(head.extensions.get::<Remarks>().unwrap().outcome, Some(Outcome::ApplicationError));
    assert_eq!((function.owner.freed(), function.owner.retired()), (2, vec![]));
    let failed = failed(&function, "{}").await;
    assert_eq!(failed.outcome, Outcome::FunctionError(FunctionFault::BadResponse));
    assert_eq!(failed.output, "{\"error\":\"The action did not return a dictionary or array.\"}");
    assert_eq!((function.owner.freed(), function.owner.retired()), (2, vec![Retire::Broken]));
}

#[tokio::test]
async fn a_loop_that_ends_in_the_middle_has_crashed() {
    let function = looped("read -r line; echo last words; exit 7").await;
    let failed = failed(&function, "{}").await;
    assert_eq!(failed.outcome, Outcome::FunctionError(FunctionFault::Crash));
    assert_eq!((failed.exit_code, failed.unsent.is_none()), (Some(7), true));
    assert_eq!(failed.output, "{\"error\":\"command exited\"}");
    assert_eq!((function.owner.freed(), function.owner.retired()), (0, vec![Retire::Exited]));
    until("what it said last", || lines(&function) == [(LogStream::Stdout, "last words".to_owned())]).await;
}

#[tokio::test]
async fn a_loop_that_ended_between_calls_has_not_got_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("gone");
    let script = format!("read -r line; echo '{{}}' >&3; trap 'touch {}' EXIT; exit 7", gone.display());
    let function = looped(&script).await;
    assert_eq!(function.answer(call("{}")).await.1, "{}");
    until("its end", || gone.exists()).await;
    let failed = failed(&function, "{\"a\":1}").await;
    // Until its end is known, which is not seen from here, a call is lost with it.
    match failed.unsent {
        Some(unsent) => {
            assert_eq!(failed.outcome, Outcome::PlatformError(PlatformFault::Unavailable));
            assert_eq!(toy::text(unsent.into_body()).await, "{\"a\":1}");
        }
        None => assert_eq!(failed.outcome, Outcome::FunctionError(FunctionFault::Crash)),
    }
    assert_eq!(function.owner.retired(), [Retire::Exited]);
}

#[tokio::test]
async fn a_loop_that_ends_at_once_does_not_start_or_crashes() {
    match open(json!({"mode": "loop"}), &[], &["sh", "-c", "exit 7"]).await {
        Err(error) => assert_eq!(error.output, "{\"error\":\"cannot start action: command exited\"}"),
        Ok(function) => {
            let failed = failed(&function, "{}").await;
            assert_eq!(failed.outcome, Outcome::FunctionError(FunctionFault::Crash));
            assert_eq!((failed.exit_code, failed.unsent.is_none()), (Some(7), true));
        }
    }
}

#[tokio::test]
async fn a_loop_without_a_program_does_not_start() {
    let error = open(json!({"mode": "loop"}), &[], &["/no/such/program"]).await.err().unwrap();
    assert_eq!(error.output, "{\"error\":\"cannot start action: command exited\"}");
    assert!(error.message.contains("/no/such/program"), "{error}");
    let error = open(json!({"mode": "loop"}), &[], &[]).await.err().unwrap();
    assert!(error.message.contains("/app/exec"), "{error}");
}

#[tokio::test]
async fn a_loop_says_that_it_is_ready_where_that_is_asked() {
    let acknowledging = |said: &str| {
        format!(
            "printf '%s\\n' '{said}' >&3; while read -r l; do echo \"[\\\"$__OW_WAIT_FOR_ACK$__OW_EXECUTION_ENV\\\"]\" >&3; done"
        )
    };
    let variables = [("OW_WAIT_FOR_ACK", "yes"), ("OW_EXECUTION_ENV", "there")];
    let good = acknowledging("{\"ok\":true}");
    let function = open(json!({"mode": "loop"}), &variables, &["sh", "-c", &good]).await.unwrap();
    assert_eq!(function.answer(call("{}")).await.1, "[\"yesthere\"]");
    let function =
        open(json!({"mode": "loop", "wait_for_ack": true}), &[], &["sh", "-c", &good]).await.unwrap();
    assert_eq!(function.answer(call("{}")).await.1, "[\"1\"]");

    for said in ["{\"ok\":false}", "ready", "[]"] {
        let bad = acknowledging(said);
        let error = open(json!({"mode": "loop"}), &variables, &["sh", "-c", &bad]).await.err().unwrap();
        let output = "{\"error\":\"cannot start action: The action did not initialize properly.\"}";
        assert_eq!(error.output, output, "{said}");
    }
    let error = open(json!({"mode": "loop"}), &variables, &["sh", "-c", "exit 7"]).await.err().unwrap();
    let output = "{\"error\":\"cannot start action: Command exited abruptly during initialization.\"}";
    assert_eq!(error.output, output);
    assert!(error.message.contains("exited with code 7"), "{error}");

    let options = json!({"mode": "loop", "init_timeout": "50ms"});
    let error = open(options, &variables, &["sh", "-c", "sleep 1000"]).await.err().unwrap();
    assert!(error.late, "{error}");
}

#[tokio::test]
async fn a_loop_that_is_given_up_is_not_called_again() {
    let function = looped("while read -r line; do sleep 1000; done").await;
    assert!(tokio::time::timeout(Duration::from_millis(50), function.send(call("{}"))).await.is_err());
    assert_eq!((function.owner.freed(), function.owner.retired()), (0, vec![Retire::Interrupted]));
    let failed = failed(&function, "{}").await;
    assert!(failed.unsent.is_some());
}

#[tokio::test]
async fn a_loop_that_answers_before_it_has_read_all_is_not_called_again() {
    let function = looped("echo '{}' >&3; sleep 1000").await;
    let large = format!("[\"{}\"]", "x".repeat(1_000_000));
    assert_eq!(function.answer(call(&large)).await.1, "{}");
    assert_eq!((function.owner.freed(), function.owner.retired()), (0, vec![Retire::Broken]));
}

#[tokio::test]
async fn a_loop_that_is_closed_ends() {
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("gone");
    let function = looped(&format!("{ECHO}; touch {}", gone.display())).await;
    function.answer(call("{}")).await;
    function.session.close(toy::SOON).await;
    until("its end", || gone.exists()).await;
}

#[tokio::test]
async fn a_program_gets_its_parameters_and_its_last_line_is_the_result() {
    let script = "echo \"one $1\"; echo >&2 error; cat; echo; \
                  printf '{\"name\":\"%s\",\"deadline\":%s}' \"$__OW_ACTION_NAME\" \"$__OW_DEADLINE\"";
    let function = program(script).await;
    let (head, body) = function.answer(call("{\"a\": 1}")).await;
    assert!(head.extensions.get::<Remarks>().is_none());
    let result: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(result["name"], "/guest/hello");
    assert!(result["deadline"].is_u64());
    let mut printed = lines(&function);
    printed.sort_by_key(|(stream, _)| *stream == LogStream::Stderr);
    let expected = [
        (LogStream::Stdout, "one {\"a\": 1}".to_owned()),
        (LogStream::Stdout, "{\"a\": 1}".to_owned()),
        (LogStream::Stderr, "error".to_owned()),
    ];
    assert_eq!(printed, expected);
    assert_eq!((function.owner.freed(), function.owner.retired()), (1, vec![]));
}

#[tokio::test]
async fn large_parameters_come_on_standard_input_only() {
    let function = program("wc -c | tr -d ' ' | sed \"s/.*/[&,$#]/\"").await;
    // With the brackets and quotes: the longest that is an argument, and one more.
    for (size, expected) in [(131_067, "[131071,1]"), (131_068, "[131072,0]"), (1_000_000, "[1000004,0]")] {
        let sent = format!("[\"{}\"]", "x".repeat(size));
        assert_eq!(function.answer(call(&sent)).await.1, expected);
    }
}

/// What a program does, and what becomes of it.
#[tokio::test]
async fn what_programs_do() {
    type Expected<'a> = Result<&'a str, (FunctionFault, Option<i32>, Retire)>;
    let table: [(&str, Expected<'_>); 7] = [
        ("echo '[1]'", Ok("[1]")),
        ("echo log; echo ' {\"a\":1} '", Ok("{\"a\":1}")),
        // How it exits says nothing where it gave a result.
        ("echo '{\"a\":1}'; exit 3", Ok("{\"a\":1}")),
        ("true", Err((FunctionFault::BadResponse, None, Retire::Broken))),
        ("echo '{}'; echo", Err((FunctionFault::BadResponse, None, Retire::Broken))),
        ("echo '\"text\"'", Err((FunctionFault::BadResponse, None, Retire::Broken))),
        ("echo half; exit 3", Err((FunctionFault::Crash, Some(3), Retire::Exited))),
    ];
    for (script, expected) in table {
        let function = program(script).await;
        match (function.send(call("{}")).await, expected) {
            (Ok(response), Ok(expected)) => {
                assert_eq!(toy::text(response.into_body()).await, expected, "{script}");
                assert_eq!((function.owner.freed(), function.owner.retired()), (1, vec![]), "{script}");
            }
            (Err(failed), Err((fault, code, retired))) => {
                assert_eq!(failed.outcome, Outcome::FunctionError(fault), "{script}");
                assert_eq!(failed.exit_code, code, "{script}");
                assert_eq!(failed.output, "{\"error\":\"The action did not return a dictionary or array.\"}");
                assert_eq!(
                    (function.owner.freed(), function.owner.retired()),
                    (0, vec![retired]),
                    "{script}"
                );
            }
            (got, expected) => panic!("{script}: {got:?}, not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_result_is_in_the_log() {
    let function = program("echo log; echo 'not JSON'").await;
    failed(&function, "{}").await;
    let texts: Vec<_> = lines(&function).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["log", "not JSON"]);
}

#[tokio::test]
async fn a_program_that_is_not_there_failed_to_initialise() {
    let function = open(json!({"mode": "exec"}), &[], &[]).await.unwrap();
    let failed = failed(&function, "{}").await;
    assert_eq!(failed.outcome, Outcome::FunctionError(FunctionFault::FailedInit));
    assert_eq!(
        failed.output,
        "{\"error\":\"The action failed to generate or locate a binary. See logs for details.\"}"
    );
    assert_eq!(function.owner.retired(), [Retire::Broken]);
}

#[tokio::test]
async fn a_program_that_is_given_up_is_killed_and_the_instance_retired() {
    let function = program("sleep 1000").await;
    assert!(tokio::time::timeout(Duration::from_millis(50), function.send(call("{}"))).await.is_err());
    assert_eq!((function.owner.freed(), function.owner.retired()), (0, vec![Retire::Interrupted]));
}

#[tokio::test]
async fn parameters_are_checked_before_anything_is_started() {
    for mode in ["loop", "exec"] {
        let command = ["sh", "-c", "cat"];
        let function = open(json!({ "mode": mode }), &[], &command).await.unwrap();
        let failed = failed(&function, "7").await;
        assert_eq!(failed.outcome, Outcome::PlatformError(PlatformFault::BadRequest));
        assert_eq!((function.owner.freed(), function.owner.retired()), (1, vec![]));
    }
}
