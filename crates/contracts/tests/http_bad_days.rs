//! The `http` contract over servers that fail, and callers that go away.
#![allow(clippy::unwrap_used)]

mod server;
mod toy;

use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use server::{Script, Server, read_head};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use toy::{CRASHED, Opened, Owner, SOON, Toy, fed, get, open, opening, post, spec, text, until};
use xebec_contracts::{AnswerError, contract};
use xebec_core::{
    Body, Outcome,
    outcome::{FunctionFault, PlatformFault},
    ports::instance::Exit,
    slot::Retire,
};

const CRASH: Outcome = Outcome::FunctionError(FunctionFault::Crash);
const BAD: Outcome = Outcome::FunctionError(FunctionFault::BadResponse);

async fn http(server: &Server) -> Opened {
    open(Toy::new(), spec("http", json!({"port": server.port})), &[]).await
}

async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// The error that an answer's body ends with.
async fn broken_by(mut body: Body) -> (Vec<u8>, AnswerError) {
    let mut data = Vec::new();
    loop {
        match body.frame().await.expect("it ended well") {
            Ok(frame) => data.extend_from_slice(frame.data_ref().unwrap()),
            Err(error) => return (data, *error.downcast().unwrap()),
        }
    }
}

#[tokio::test]
async fn never_listening_ends_with_the_instance() {
    let io = Toy::new();
    let spec = spec("http", json!({"port": free_port().await}));
    let opening = opening(io.clone(), Arc::new(Owner::default()), spec.clone(), &[]);
    let contract = contract("http").unwrap();
    let open = contract.open(opening);
    let crash = async {
        tokio::task::yield_now().await;
        io.exit(CRASHED);
    };
    let (opened, ()) = tokio::join!(open, crash);
    let error = opened.err().unwrap().to_string();
    let port = &spec.options["port"];
    assert_eq!(error, format!("the function exited with code 7 before it took calls on port {port}"));
}

#[tokio::test]
async fn never_listening_waits_for_the_callers_clock() {
    let spec = spec("http", json!({"port": free_port().await}));
    let opening = opening(Toy::new(), Arc::new(Owner::default()), spec, &[]);
    let contract = contract("http").unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), contract.open(opening)).await.is_err());
}

#[tokio::test]
async fn a_crash_without_an_answer() {
    for (exit, outcome) in [
        (CRASHED, CRASH),
        (
            Exit { code: None, signal: Some(9), out_of_memory: true },
            Outcome::FunctionError(FunctionFault::OutOfMemory),
        ),
    ] {
        let io = Toy::new();
        let script = Script::new({
            let io = io.clone();
            move |mut stream| {
                let io = io.clone();
                async move {
                    read_head(&mut stream).await;
                    drop(stream);
                    // As drivers do: a moment later.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    io.exit(exit);
                }
            }
        });
        let server = script.start().await;
        let function = open(io, spec("http", json!({"port": server.port})), &[]).await;
        let error = function.send(post("x")).await.unwrap_err();
        assert_eq!((error.outcome, error.exit_code), (outcome, exit.code));
        assert_eq!(error.message, format!("the function {exit} in the middle of the call"));
        assert!(error.unsent.is_none());
        assert_eq!(function.owner.retired(), [Retire::Exited]);

        // And the next caller's request is left for another instance.
        let error = function.send(post("kept")).await.unwrap_err();
        assert_eq!(text(error.unsent.unwrap().into_body()).await, "kept");
    }
}

#[tokio::test]
async fn a_closed_connection_without_an_answer() {
    let script = Script::new(|mut stream| async move {
        read_head(&mut stream).await;
    });
    let server = script.start().await;
    let function = http(&server).await;
    let error = function.send(post("x")).await.unwrap_err();
    assert_eq!(error.outcome, BAD);
    assert_eq!(error.message, "the function closed the connection without an answer");
    // The server has ended the call, so it can take the next.
    assert_eq!((function.owner.freed(), function.owner.retired()), (1, vec![]));
}

#[tokio::test]
async fn a_crash_in_the_middle_of_an_answer() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let io = Toy::new();
        let script = Script::new({
            let io = io.clone();
            move |mut stream| {
                let io = io.clone();
                async move {
                    read_head(&mut stream).await;
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    io.exit(CRASHED);
                }
            }
        });
        let server = script.start().await;
        let function = open(io, spec("http", json!({"port": server.port})), &[]).await;
        let answer = function.send(get("/")).await.unwrap();
        let (data, error) = broken_by(answer.into_body()).await;
        assert_eq!((data.as_slice(), error.outcome), (&b"half"[..], CRASH));
        assert_eq!(error.message, "the function exited with code 7 in the middle of the call");
        assert_eq!(function.owner.retired(), [Retire::Exited]);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_while_the_instance_lives() {
    let script = Script::new(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n").await.unwrap();
    });
    let server = script.start().await;
    let function = http(&server).await;
    let (data, error) = broken_by(function.send(get("/")).await.unwrap().into_body()).await;
    assert_eq!((data.len(), error.outcome), (0, BAD));
    assert!(error.message.starts_with("the function's answer broke off: "), "{error}");
    // It closed the connection: it is idle again.
    until("the slot", || function.owner.freed() == 1).await;
}

#[tokio::test]
async fn what_is_not_http() {
    let huge = format!("HTTP/1.1 200 OK\r\nx-huge: {}\r\n\r\n", "x".repeat(2 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-a: b\r\n".repeat(1000));
    for answer in ["220 mail.test ESMTP\r\n".to_owned(), huge, many] {
        let script = Script::new(move |mut stream| {
            let answer = answer.clone();
            async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.read(&mut [0; 1]).await;
            }
        });
        let server = script.start().await;
        let function = http(&server).await;
        let error = function.send(get("/")).await.unwrap_err();
        assert_eq!(error.outcome, BAD);
        assert!(error.message.starts_with("the function's answer is not HTTP: "), "{}", error.message);
        until("the slot", || function.owner.freed() == 1).await;
    }
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for() {
    let script = Script::answering("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n");
    let server = script.start().await;
    let error = http(&server).await.send(get("/")).await.unwrap_err();
    assert_eq!(error.outcome, BAD);
    assert_eq!(error.message, "the function switched protocols without being asked to");
}

#[tokio::test]
async fn nothing_listens_any_more() {
    let server = Server::start(|_| async { Response::new(Body::empty()) }).await;
    let function = http(&server).await;
    let port = server.port;
    drop(server);
    let refused = async { while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {} };
    tokio::time::timeout(SOON, refused).await.unwrap();
    let error = function.send(post("kept")).await.unwrap_err();
    assert_eq!(error.outcome, BAD);
    assert!(error.message.starts_with("the function takes no connections any more"), "{}", error.message);
    assert_eq!(text(error.unsent.unwrap().into_body()).await, "kept");
    assert_eq!(function.owner.retired(), [Retire::Broken]);
}

/// Answers one request per connection, and closes it without having said so.
fn one_each() -> Script {
    Script::new(|mut stream| async move {
        if !read_head(&mut stream).await.is_empty() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    })
}

#[tokio::test]
async fn connections_that_the_server_closes_are_replaced() {
    let server = one_each().start().await;
    let function = http(&server).await;
    for _ in 0..50 {
        // Idempotent: sent again even if the close is seen only after sending.
        assert_eq!(function.answer(get("/")).await.1, "ok");
    }
    assert!((50..=51).contains(&server.accepted()), "{}", server.accepted());
    assert_eq!((function.owner.freed(), function.owner.retired()), (50, vec![]));
}

#[tokio::test]
async fn what_is_lost_on_a_used_connection_is_sent_again_only_if_that_is_safe() {
    // The first request of a connection is answered, the second swallowed.
    let swallowed = Arc::new(AtomicU32::new(0));
    let script = Script::new({
        let swallowed = swallowed.clone();
        move |mut stream| {
            let swallowed = swallowed.clone();
            async move {
                if !read_head(&mut stream).await.is_empty() {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                }
                if !read_head(&mut stream).await.is_empty() {
                    swallowed.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    });
    let server = script.start().await;
    let function = http(&server).await;
    assert_eq!(function.answer(get("/")).await.1, "ok");
    assert_eq!(function.answer(get("/")).await.1, "ok");
    assert_eq!(swallowed.load(Ordering::SeqCst), 1);
    let error = function.send(post("pay")).await.unwrap_err();
    assert_eq!(error.outcome, BAD);
    assert_eq!(swallowed.load(Ordering::SeqCst), 2);
    let request = Request::post("/").header("idempotency-key", "1").body(Body::full("pay")).unwrap();
    assert_eq!(function.answer(request).await.1, "ok");
    let request = Request::post("/").header("idempotency-key", "1").body(Body::full("pay")).unwrap();
    assert_eq!(function.answer(request).await.1, "ok");
    assert_eq!(swallowed.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_caller_that_goes_away_frees_a_server_that_notices() {
    for begun in [false, true] {
        let noticed = Arc::new(AtomicBool::new(false));
        let reached = Arc::new(AtomicBool::new(false));
        let script = Script::new({
            let (noticed, reached) = (noticed.clone(), reached.clone());
            move |mut stream| {
                let (noticed, reached) = (noticed.clone(), reached.clone());
                async move {
                    read_head(&mut stream).await;
                    if begun {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
                    }
                    reached.store(true, Ordering::SeqCst);
                    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
                    noticed.store(true, Ordering::SeqCst);
                }
            }
        });
        let server = script.start().await;
        let function = http(&server).await;
        let call = async {
            let body = function.send(get("/")).await.unwrap().into_body();
            text(body).await
        };
        tokio::select! {
            _ = call => panic!("it was answered"),
            () = until("the request", || reached.load(Ordering::SeqCst)) => {}
        }
        until("the slot", || function.owner.freed() == 1).await;
        assert!(noticed.load(Ordering::SeqCst));
        assert_eq!(function.owner.retired(), []);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_retires_a_server_that_goes_on() {
    let script = Script::new(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    });
    let server = script.start().await;
    let function = http(&server).await;
    let started = Instant::now();
    assert!(tokio::time::timeout(Duration::from_millis(50), function.send(get("/"))).await.is_err());
    assert_eq!((function.owner.freed(), function.owner.retired()), (0, vec![]));
    until("its retirement", || function.owner.retired() == [Retire::Interrupted]).await;
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_request_that_breaks_off() {
    let server = Server::start(|request: Request<Incoming>| async move {
        let _ = request.into_body().collect().await;
        Response::new(Body::empty())
    })
    .await;
    let function = http(&server).await;
    let (feed, body) = fed();
    let call = function.send(Request::post("/").body(body).unwrap());
    let feeding = async {
        feed.send(Ok(Frame::data("half".into()))).await.unwrap();
        feed.send(Err(std::io::Error::other("client gone"))).await.unwrap();
    };
    let (result, ()) = tokio::join!(call, feeding);
    assert_eq!(result.unwrap_err().outcome, Outcome::PlatformError(PlatformFault::Cancelled));
    until("the slot", || function.owner.freed() == 1).await;

    let limited = http_body_util::Limited::new(Body::full("too much"), 3);
    let request = Request::post("/").body(Body::stream(limited)).unwrap();
    let error = function.send(request).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::PlatformError(PlatformFault::TooLarge));
}

#[tokio::test]
async fn an_answer_before_the_request_has_ended() {
    let script = Script::new(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let server = script.start().await;
    let function = http(&server).await;
    let (feed, body) = fed();
    feed.send(Ok(Frame::data("first".into()))).await.unwrap();
    let (head, body) = function.answer(Request::post("/").body(body).unwrap()).await;
    assert_eq!((head.status.as_u16(), body.as_str()), (403, "no"));
    assert_eq!((function.owner.freed(), function.owner.retired()), (1, vec![]));
}

#[tokio::test]
async fn a_slow_answer_arrives_bit_by_bit() {
    let script = Script::new(|mut stream| async move {
        read_head(&mut stream).await;
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow" {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let server = script.start().await;
    assert_eq!(http(&server).await.answer(get("/")).await.1, "slow");
}

#[tokio::test]
async fn a_flood_is_not_kept_in_memory() {
    let sent = Arc::new(AtomicU32::new(0));
    let script = Script::new({
        let sent = sent.clone();
        move |mut stream| {
            let sent = sent.clone();
            async move {
                read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                while stream.write_all(&[b'x'; 65536]).await.is_ok() {
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    });
    let server = script.start().await;
    let function = http(&server).await;
    let mut body = function.send(get("/")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    // Nobody reads: the server comes to a stop within what the sockets hold.
    let mut before = u32::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before < 1000, "{before} blocks were taken");
    drop(body);
    // It is closed, and so is the flood.
    until("the end", || function.owner.freed() + u32::try_from(function.owner.retired().len()).unwrap() == 1)
        .await;
}
