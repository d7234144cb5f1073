//! The `stdio` contract over real processes.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod toy;

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde_json::json;
use std::time::{Duration, Instant};
use toy::{CRASHED, Opened, Owner, SOON, Toy, fed, get, open, opening, post, spec, text, until};
use xebec_contracts::{AnswerError, contract};
use xebec_core::{
    Body, Outcome,
    limits::Clock,
    log::LogStream,
    outcome::{FunctionFault, PlatformFault},
    slot::Retire,
};

async fn stdio(options: serde_json::Value, command: &[&str]) -> Opened {
    open(Toy::new(), spec("stdio", options), command).await
}

async fn shell(options: serde_json::Value, script: &str) -> Opened {
    stdio(options, &["sh", "-c", script]).await
}

/// Whether a process of the id that the file names is there (not just a zombie).
fn alive(file: &std::path::Path) -> bool {
    let id = std::fs::read_to_string(file).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[tokio::test]
async fn the_body_goes_in_and_the_output_comes_out() {
    let function = stdio(json!({}), &["cat"]).await;
    let (head, body) = function.answer(post("Grüße")).await;
    assert_eq!((head.status.as_u16(), body.as_str()), (200, "Grüße"));
    assert_eq!(head.headers["content-type"], "text/plain");
    let seconds: f64 = head.headers["x-duration-seconds"].to_str().unwrap().parse().unwrap();
    assert!(seconds > 0.0 && seconds < SOON.as_secs_f64());
    assert_eq!((function.owner.freed(), function.owner.retired()), (1, vec![]));
}

#[tokio::test]
async fn megabytes_both_ways() {
    let function = stdio(json!({}), &["cat"]).await;
    let sent: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let answer = function.send(post(sent.clone())).await.unwrap();
    assert!(answer.into_body().collect(1 << 30).await.unwrap() == sent);
}

#[tokio::test]
async fn input_that_is_known_beforehand_and_input_that_is_not() {
    let function = stdio(json!({}), &["cat"]).await;
    let sizes = [0, 1, 4096, 4097, 65536, 65537, 1_000_000];
    for (size, whole) in sizes.into_iter().flat_map(|size| [(size, true), (size, false)]) {
        let sent = "x".repeat(size);
        let body = match whole {
            true => Body::stream(http_body_util::Full::new(Bytes::from(sent.clone()))),
            false => {
                let frames = [sent.clone(), "rest".to_owned()].map(|part| Ok(Frame::data(Bytes::from(part))));
                let frames: [Result<_, std::io::Error>; 2] = frames;
                Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
            }
        };
        let (_, answer) = function.answer(Request::post("/").body(body).unwrap()).await;
        let expected = if whole { sent } else { sent + "rest" };
        assert!(answer == expected, "{size} {whole}: {} bytes came back", answer.len());
    }
}

#[tokio::test]
async fn a_streamed_body_goes_in_as_it_comes() {
    let function = shell(json!({"mode": "streaming"}), "while read line; do echo got $line; done").await;
    let (feed, body) = fed();
    let mut answer = function.send(Request::post("/").body(body).unwrap()).await.unwrap().into_body();
    for word in ["one", "two"] {
        feed.send(Ok(Frame::data(format!("{word}\n").into()))).await.unwrap();
        let frame = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, format!("got {word}\n"));
    }
    drop(feed);
    assert!(answer.frame().await.is_none());
    until("the slot", || function.owner.freed() == 1).await;
}

#[tokio::test]
async fn it_is_told_about_the_request() {
    let function = stdio(json!({}), &["env"]).await;
    let request = Request::post("/a/b?x=1").header("X-My-Header", "v").header("host", "h.test");
    let (_, body) = function.answer(request.body(Body::full("123")).unwrap()).await;
    for line in [
        "Http_Method=POST",
        "Http_Path=/a/b",
        "Http_Query=x=1",
        "Http_Host=h.test",
        "Http_X_My_Header=v",
        "Http_ContentLength=3",
        "Http_Content_Length=3",
    ] {
        assert!(body.lines().any(|own| own == line), "{line} is missing in {body}");
    }
    let function = stdio(json!({"cgi_headers": false}), &["env"]).await;
    let (_, body) = function.answer(get("/")).await;
    assert!(!body.contains("Http_"));
}

#[tokio::test]
async fn content_type_is_the_setting_else_the_requests() {
    let csv = || Request::post("/").header("content-type", "text/csv").body(Body::full("1,2")).unwrap();
    let (head, _) = stdio(json!({}), &["cat"]).await.answer(csv()).await;
    assert_eq!(head.headers["content-type"], "text/csv");
    let (head, _) = stdio(json!({"content_type": "image/png"}), &["cat"]).await.answer(csv()).await;
    assert_eq!(head.headers["content-type"], "image/png");
}

#[tokio::test]
async fn marshalled_requests() {
    let function = stdio(json!({"marshal_request": true}), &["cat"]).await;
    let (_, body) =
        function.answer(Request::post("/").header("x-a", "b").body(Body::full("hi")).unwrap()).await;
    assert_eq!(body, r#"{"header":{"X-A":["b"]},"body":{"raw":"aGk="}}"#);
}

#[tokio::test]
async fn it_need_not_read_its_input() {
    let function = stdio(json!({}), &["echo", "done"]).await;
    let (_, body) = function.answer(post(vec![b'x'; 4 << 20])).await;
    assert_eq!(body, "done\n");
    // Nor wait for a client that never sends the rest.
    let (_feed, body) = fed();
    let (_, body) = function.answer(Request::post("/").body(body).unwrap()).await;
    assert_eq!(body, "done\n");
}

#[tokio::test]
async fn failing_is_a_crash_with_code_and_output() {
    let function = shell(json!({}), "echo so far; echo why >&2; exit 3").await;
    let error = function.send(get("/")).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::FunctionError(FunctionFault::Crash));
    assert_eq!((error.exit_code, error.message.as_str()), (Some(3), "the process exited with code 3"));
    assert_eq!(error.output, "so far\nwhy\n");
    assert!(error.unsent.is_none());
    assert_eq!(function.owner.freed(), 1);

    let error = shell(json!({}), "kill -9 $$").await.send(get("/")).await.unwrap_err();
    assert_eq!(error.exit_code, None);
    assert_eq!(error.message, "the process was killed by signal 9");
}

#[tokio::test]
async fn standard_error_joins_the_answer_or_the_log() {
    let script = "echo out; echo err >&2";
    let (_, body) = shell(json!({}), script).await.answer(get("/")).await;
    assert_eq!(body, "out\nerr\n");
    let function = shell(json!({"combine_output": false}), script).await;
    let (_, body) = function.answer(get("/")).await;
    assert_eq!(body, "out\n");
    assert_eq!(*function.owner.lines.lock(), [(LogStream::Stderr, "err".to_owned())]);
}

#[tokio::test]
async fn exec_timeout_kills_it_and_what_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("id");
    let script = format!("echo begun; sleep 60 & echo $! > {}; wait", file.display());
    let function = shell(json!({"exec_timeout": "300ms"}), &script).await;
    let error = function.send(get("/")).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::FunctionError(FunctionFault::Timeout(Clock::Run)));
    assert_eq!(error.output, "begun\n");
    assert_eq!(function.owner.freed(), 1);
    until("its child's end", || !alive(&file)).await;
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let function = stdio(json!({"max_answer_bytes": 100_000}), &["yes"]).await;
    let error = function.send(get("/")).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::FunctionError(FunctionFault::BadResponse));
    assert_eq!(error.message, "the answer is larger than 100000 bytes (max_answer_bytes)");
}

#[tokio::test]
async fn a_flood_on_standard_error_is_logged_not_kept() {
    let function = shell(json!({"combine_output": false}), "yes | head -c 3000000 >&2; echo ok").await;
    let (_, body) = function.answer(get("/")).await;
    assert_eq!(body, "ok\n");
    assert_eq!(function.owner.lines.lock().len(), 1_500_000);
}

#[tokio::test]
async fn what_it_leaves_running_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("id");
    let script = format!("sleep 60 & echo $! > {}; echo done", file.display());
    let started = Instant::now();
    let (_, body) = shell(json!({}), &script).await.answer(get("/")).await;
    assert_eq!(body, "done\n");
    assert!(started.elapsed() < SOON);
    until("its end", || !alive(&file)).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("id");
    for mode in ["buffered", "streaming"] {
        let _ = std::fs::remove_file(&file);
        let script = format!("echo $$ > {}; echo begun; sleep 60", file.display());
        let function = shell(json!({"mode": mode}), &script).await;
        let running = async {
            let answer = function.send(get("/")).await;
            text(answer.unwrap().into_body()).await;
        };
        tokio::select! {
            () = running => panic!("it ended"),
            () = until("its start", || std::fs::read_to_string(&file).is_ok_and(|id| id.ends_with('\n'))) => {}
        }
        assert_eq!(function.owner.freed(), 1);
        until("its end", || !alive(&file)).await;
    }
}

#[tokio::test]
async fn streaming_answers_at_once_and_ends_properly_whatever_the_code() {
    let function = shell(json!({"mode": "streaming"}), "echo one; read end; echo two; exit 4").await;
    let (feed, body) = fed();
    let mut answer = function.send(Request::post("/").body(body).unwrap()).await.unwrap().into_body();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "one\n");
    assert_eq!(function.owner.freed(), 0);
    drop(feed);
    assert_eq!(text(answer).await, "two\n");
    let exit = (LogStream::Platform, "the process exited with code 4".to_owned());
    assert_eq!(*function.owner.lines.lock(), [exit]);
    assert_eq!(function.owner.freed(), 1);
}

#[tokio::test]
async fn streaming_breaks_off_when_killed() {
    for (options, script, outcome) in [
        (json!({"mode": "streaming"}), "echo one; kill -9 $$", FunctionFault::Crash),
        (
            json!({"mode": "streaming", "exec_timeout": 0.3}),
            "echo one; sleep 60",
            FunctionFault::Timeout(Clock::Run),
        ),
    ] {
        let mut answer = shell(options, script).await.send(get("/")).await.unwrap().into_body();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "one\n");
        let error = answer.frame().await.unwrap().unwrap_err();
        let error = error.downcast_ref::<AnswerError>().unwrap();
        assert_eq!(error.outcome, Outcome::FunctionError(outcome));
        assert!(answer.frame().await.is_none());
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_stops_it() {
    let function = stdio(json!({}), &["cat"]).await;
    let (feed, body) = fed();
    let call = function.send(Request::post("/").body(body).unwrap());
    let feeding = async {
        feed.send(Ok(Frame::data(Bytes::from_static(b"half")))).await.unwrap();
        feed.send(Err(std::io::Error::other("client gone"))).await.unwrap();
    };
    let (result, ()) = tokio::join!(call, feeding);
    assert_eq!(result.unwrap_err().outcome, Outcome::PlatformError(PlatformFault::Cancelled));
    assert_eq!(function.owner.freed(), 1);

    let limited = http_body_util::Limited::new(Body::full("too much"), 3);
    let request = Request::post("/").body(Body::stream(limited)).unwrap();
    let error = function.send(request).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::PlatformError(PlatformFault::TooLarge));
}

#[tokio::test]
async fn a_missing_program_and_a_dead_instance_leave_the_request() {
    let function = stdio(json!({}), &["/no/such/program"]).await;
    let error = function.send(post("kept")).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::FunctionError(FunctionFault::FailedInit));
    assert!(error.message.contains("/no/such/program"), "{}", error.message);
    assert_eq!(text(error.unsent.unwrap().into_body()).await, "kept");
    assert_eq!(function.owner.retired(), []);

    let function = stdio(json!({}), &["cat"]).await;
    function.io.exit(CRASHED);
    let error = function.send(post("kept")).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::FunctionError(FunctionFault::Crash));
    assert!(error.unsent.is_some());
    assert_eq!(function.owner.retired(), [Retire::Exited]);
}

#[tokio::test]
async fn calls_at_a_time_do_not_mix() {
    let function = stdio(json!({}), &["cat"]).await;
    let calls = (0..32).map(|n| {
        let function = &function;
        async move {
            let sent = format!("{n}\n").repeat(1000);
            assert_eq!(function.answer(post(sent.clone())).await.1, sent);
        }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(function.owner.freed(), 32);
}

#[tokio::test]
async fn closing_waits_for_calls_but_not_for_ever() {
    let function = shell(json!({}), "read end; echo done").await;
    let (feed, body) = fed();
    let call = function.send(Request::post("/").body(body).unwrap());
    let closing = async {
        function.session.close(Duration::from_millis(50)).await;
        drop(feed);
        function.session.close(SOON).await;
        assert_eq!(function.owner.freed(), 1);
    };
    let (answer, ()) = tokio::join!(async { text(call.await.unwrap().into_body()).await }, closing);
    assert_eq!(answer, "done\n");
}

#[tokio::test]
async fn settings_that_are_wrong_are_named() {
    for (options, part) in [
        (
            json!({"mode": "fast"}),
            r#""mode" of the contract "stdio" must be "buffered" or "streaming", not "fast""#,
        ),
        (json!({"combine_output": "yes"}), "must be true or false"),
        (json!({"exec_timeout": "soon"}), "exec_timeout"),
        (json!({"content_type": "a\nb"}), "content_type"),
        (json!({"max_answer_bytes": 0}), "max_answer_bytes"),
        (json!({"colour": 1}), "colour"),
    ] {
        let revision = serde_json::from_value(json!({
            "workload": {"type": "image", "reference": "x"},
            "environment": "exec",
            "contract": {"name": "stdio", "options": options},
            "limits": {},
        }));
        let error = contract("stdio").unwrap().check(&revision.unwrap()).unwrap_err();
        assert_eq!(error.code, "XB1003");
        assert!(error.message.contains(part), "{error}");
    }
}

#[tokio::test]
async fn without_a_command_it_does_not_open() {
    let opening = opening(Toy::new(), std::sync::Arc::new(Owner::default()), spec("stdio", json!({})), &[]);
    let error = contract("stdio").unwrap().open(opening).await.err().unwrap();
    assert_eq!(error.to_string(), "there is no command to run for each call");
}
