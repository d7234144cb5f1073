//! The `http` contract over real servers: good days.
#![allow(clippy::unwrap_used)]

mod server;
mod toy;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use server::{Script, Server};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use toy::{Opened, SOON, Toy, fed, get, open, post, spec, text, until};
use xebec_contracts::contract;
use xebec_core::{Body, Outcome, outcome::PlatformFault, ports::instance::Signal};

async fn http(port: u16, mut options: serde_json::Value) -> Opened {
    options["port"] = json!(port);
    open(Toy::new(), spec("http", options), &[]).await
}

/// A server that answers with what it was asked.
async fn mirror() -> Server {
    Server::start(|request: Request<Incoming>| async move {
        let head = format!("{} {}", request.method(), request.uri());
        let mut lines: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Response::new(Body::full(format!("{head}\n{}\n\n{body}", lines.join("\n"))))
    })
    .await
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent() {
    let server = mirror().await;
    let function = http(server.port, json!({})).await;
    let request = Request::put("/a/b%20c?x=1&y")
        .header("host", "shop.test")
        .header("x-kept", "1")
        .header("connection", "keep-alive, x-gone")
        .header("x-gone", "1")
        .body(Body::full("hello"))
        .unwrap();
    let (head, body) = function.answer(request).await;
    assert_eq!(head.status, 200);
    assert_eq!(body, "PUT /a/b%20c?x=1&y\ncontent-length: 5\nhost: shop.test\nx-kept: 1\n\nhello");
    let seconds: f64 = head.headers["x-duration-seconds"].to_str().unwrap().parse().unwrap();
    assert!(seconds > 0.0 && seconds < SOON.as_secs_f64());
    assert_eq!((function.owner.freed(), function.owner.retired()), (1, vec![]));
}

#[tokio::test]
async fn http2_requests_become_http1() {
    let server = mirror().await;
    let function = http(server.port, json!({})).await;
    let request = Request::get("https://shop.test/a").version(Version::HTTP_2).body(Body::empty()).unwrap();
    assert_eq!(function.answer(request).await.1, "GET /a\nhost: shop.test\n\n");
}

#[tokio::test]
async fn answers_keep_status_and_headers_but_what_concerns_the_connection() {
    let script = Script::answering(
        "HTTP/1.1 418 I'm a teapot\r\nx-a: 1\r\nx-a: 2\r\nconnection: x-b\r\nx-b: 1\r\nkeep-alive: timeout=5\r\n\
         content-length: 2\r\n\r\nhi",
    );
    let server = script.start().await;
    let function = http(server.port, json!({})).await;
    let (head, body) = function.answer(get("/")).await;
    assert_eq!((head.status, body.as_str()), (StatusCode::IM_A_TEAPOT, "hi"));
    let values: Vec<_> = head.headers.get_all("x-a").iter().collect();
    assert_eq!(values, ["1", "2"]);
    for gone in ["connection", "x-b", "keep-alive"] {
        assert!(!head.headers.contains_key(gone), "{gone}");
    }
}

#[tokio::test]
async fn one_connection_carries_call_after_call() {
    let server = mirror().await;
    let function = http(server.port, json!({})).await;
    for n in 0..100 {
        let (_, body) = function.answer(post(n.to_string())).await;
        assert!(body.ends_with(&format!("\n\n{n}")));
    }
    // The one that found it ready.
    assert_eq!(server.accepted(), 1);
    assert_eq!(function.owner.freed(), 100);
}

#[tokio::test]
async fn calls_at_a_time_do_not_mix() {
    let server = mirror().await;
    let function = http(server.port, json!({})).await;
    for _ in 0..5 {
        let calls = (0..20).map(|n| {
            let function = &function;
            async move {
                let sent = format!("{n},").repeat(n * 1000);
                assert!(function.answer(post(sent.clone())).await.1.ends_with(&format!("\n\n{sent}")));
            }
        });
        futures_util::future::join_all(calls).await;
    }
    assert!(server.accepted() <= 21, "{}", server.accepted());
    assert_eq!((function.owner.freed(), function.owner.retired()), (100, vec![]));
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(directory.path().join("web.sock")).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        server::read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    });
    let function =
        open(Toy::rooted(directory.path()), spec("http", json!({"socket": "/web.sock"})), &[]).await;
    assert_eq!(function.answer(get("/")).await.0.status, 204);
}

#[tokio::test]
async fn bodies_stream_both_ways_and_the_slot_is_busy_until_the_end() {
    let server = Server::start(|request: Request<Incoming>| async move {
        Response::new(Body::stream(request.into_body()))
    })
    .await;
    let function = http(server.port, json!({})).await;
    let (feed, body) = fed();
    let mut answer = function.send(Request::post("/").body(body).unwrap()).await.unwrap().into_body();
    for word in ["one", "two", "three"] {
        feed.send(Ok(Frame::data(word.into()))).await.unwrap();
        let frame = answer.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
        assert_eq!(function.owner.freed(), 0);
    }
    drop(feed);
    assert!(answer.frame().await.is_none());
    assert_eq!(function.owner.freed(), 1);
    // And the connection is good for the next.
    assert_eq!(function.answer(post("again")).await.1, "again");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn events_arrive_while_the_answer_is_open() {
    let (feed, body) = fed();
    let body = parking_lot::Mutex::new(Some(body));
    let server = Server::start(move |_| {
        let mut response = Response::new(body.lock().take().unwrap());
        response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        async move { response }
    })
    .await;
    let function = http(server.port, json!({})).await;
    let mut answer = function.send(get("/")).await.unwrap().into_body();
    for n in 0..3 {
        feed.send(Ok(Frame::data(format!("data: {n}\n\n").into()))).await.unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), format!("data: {n}\n\n"));
    }
}

#[tokio::test]
async fn megabytes_both_ways() {
    let server = Server::start(|request: Request<Incoming>| async move {
        Response::new(Body::stream(request.into_body()))
    })
    .await;
    let function = http(server.port, json!({})).await;
    let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let answer = function.send(post(sent.clone())).await.unwrap();
    assert!(answer.into_body().collect(1 << 30).await.unwrap() == sent);
}

#[tokio::test]
async fn trailers_both_ways() {
    let server = Server::start(|request: Request<Incoming>| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let mut response = Response::new(Body::stream(request.into_body()));
        response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        response
    })
    .await;
    let function = http(server.port, json!({})).await;
    let (feed, body) = fed();
    let request = Request::post("/").header("trailer", "x-sum").header("te", "trailers").body(body).unwrap();
    let answering = function.send(request);
    let feeding = async {
        feed.send(Ok(Frame::data("data".into()))).await.unwrap();
        let sum = HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
        feed.send(Ok(Frame::trailers(sum))).await.unwrap();
        drop(feed);
    };
    let (answer, ()) = tokio::join!(answering, feeding);
    let collected = http_body_util::BodyExt::collect(answer.unwrap().into_body()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "42");
    assert_eq!(collected.to_bytes(), "data");
}

#[tokio::test]
async fn head_has_a_length_but_no_body() {
    let script = Script::answering("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
    let server = script.start().await;
    let function = http(server.port, json!({})).await;
    for _ in 0..2 {
        let mut request = get("/");
        *request.method_mut() = Method::HEAD;
        let (head, body) = function.answer(request).await;
        assert_eq!(head.headers["content-length"], "1000");
        assert_eq!(body, "");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn early_hints_are_passed_over() {
    let script = Script::answering(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    let server = script.start().await;
    let function = http(server.port, json!({})).await;
    let (head, body) = function.answer(get("/")).await;
    assert_eq!((head.status.as_u16(), body.as_str()), (200, "ok"));
}

/// A request whose body tells whether it was asked for.
fn expecting() -> (Arc<AtomicBool>, Request<Body>) {
    let asked = Arc::new(AtomicBool::new(false));
    let mut frame = Some(Frame::data(Bytes::from_static(b"body")));
    let frames = futures_util::stream::poll_fn({
        let asked = asked.clone();
        move |_| {
            asked.store(true, Ordering::SeqCst);
            std::task::Poll::Ready(frame.take().map(Ok::<_, std::io::Error>))
        }
    });
    let body = Body::stream(http_body_util::StreamBody::new(frames));
    let request = Request::post("/").header("expect", "100-continue").header("content-length", "4");
    (asked, request.body(body).unwrap())
}

#[tokio::test]
async fn the_function_decides_whether_a_body_is_sent() {
    let refusing = Script::answering("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n");
    let server = refusing.start().await;
    let function = http(server.port, json!({})).await;
    let (asked, request) = expecting();
    assert_eq!(function.answer(request).await.0.status, 413);
    assert!(!asked.load(Ordering::SeqCst));

    // hyper's server asks for the body when the service reads it.
    let server = mirror().await;
    let function = http(server.port, json!({})).await;
    let (asked, request) = expecting();
    let (_, body) = function.answer(request).await;
    assert!(body.contains("expect: 100-continue") && body.ends_with("\n\nbody"), "{body}");
    assert!(asked.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_server_that_never_asks_for_the_body_gets_it_all_the_same() {
    let script = Script::new(|mut stream| async move {
        server::read_head(&mut stream).await;
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await.unwrap();
        stream.write_all(&body).await.unwrap();
    });
    let server = script.start().await;
    let function = http(server.port, json!({})).await;
    assert_eq!(function.answer(expecting().1).await.1, "body");
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_that_holds_its_slot() {
    // Speaks first, right behind its head, then echoes.
    let script = Script::new(|mut stream| async move {
        let head = server::read_head(&mut stream).await;
        assert!(head.contains("upgrade: echo") && head.contains("connection: upgrade"), "{head}");
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\nwelcome ";
        stream.write_all(answer).await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let server = script.start().await;
    let function = Arc::new(http(server.port, json!({})).await);
    // The gateway: a server in front, so that the upgrade is a real one.
    let front = Server::start({
        let function = function.clone();
        move |request: Request<Incoming>| {
            let function = function.clone();
            async move { function.send(request.map(Body::stream)).await.unwrap() }
        }
    })
    .await;

    let stream = tokio::net::TcpStream::connect(("127.0.0.1", front.port)).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let request =
        Request::get("/").header("host", "x").header("connection", "Upgrade").header("upgrade", "echo");
    let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "echo");
    let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    tunnel.write_all(b"hello").await.unwrap();
    let mut said = [0; 13];
    tunnel.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"welcome hello");
    assert_eq!(function.owner.freed(), 0);
    tunnel.shutdown().await.unwrap();
    until("the slot", || function.owner.freed() == 1).await;
    assert_eq!(function.owner.retired(), []);
}

#[tokio::test]
async fn past_max_inflight_callers_are_turned_away() {
    let (feed, body) = fed();
    let body = parking_lot::Mutex::new(Some(body));
    let server = Server::start(move |_| {
        let response = Response::new(body.lock().take().unwrap_or_default());
        async move { response }
    })
    .await;
    let function = http(server.port, json!({"max_inflight": 1})).await;
    let held = function.send(get("/")).await.unwrap();
    let (head, body) = function.answer(get("/")).await;
    assert_eq!(head.status, 429);
    assert!(body.contains("max_inflight"), "{body}");
    assert_eq!(function.owner.freed(), 1);
    drop(feed);
    text(held.into_body()).await;
    assert_eq!(function.answer(get("/")).await.0.status, 200);
}

#[tokio::test]
async fn a_buffered_request_has_its_length() {
    let server = mirror().await;
    let function = http(server.port, json!({"buffer_request_body": true})).await;
    let (feed, body) = fed();
    let call = function.answer(Request::post("/").body(body).unwrap());
    let feeding = async {
        for part in ["ab", "cd"] {
            feed.send(Ok(Frame::data(part.into()))).await.unwrap();
        }
        drop(feed);
    };
    let ((_, body), ()) = tokio::join!(call, feeding);
    assert_eq!(body, "POST /\ncontent-length: 4\nhost: localhost\n\nabcd");

    let limit = xebec_core::limits::Limits::default().request_bytes;
    let body =
        Body::stream(http_body_util::Full::new(Bytes::from(vec![0; usize::try_from(limit).unwrap() + 1])));
    let error = function.send(Request::post("/").body(body).unwrap()).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::PlatformError(PlatformFault::TooLarge));
}

#[tokio::test]
async fn it_waits_for_the_port_and_the_ready_path() {
    let reserved = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = reserved.local_addr().unwrap().port();
    drop(reserved);
    let asked = Arc::new(AtomicU32::new(0));
    let listening = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let asked = asked.clone();
        Server::start_on(port, move |request: Request<Incoming>| {
            let asked = asked.clone();
            async move {
                let mut response = Response::new(Body::empty());
                if request.uri() == "/ready?x" && asked.fetch_add(1, Ordering::SeqCst) < 3 {
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                }
                response
            }
        })
        .await
    };
    let (function, _server) = tokio::join!(http(port, json!({"ready_path": "/ready?x"})), listening);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    assert_eq!(function.answer(get("/")).await.0.status, 200);
}

#[tokio::test]
async fn closing_lets_calls_end_then_asks_it_to_stop() {
    let (feed, body) = fed();
    let body = parking_lot::Mutex::new(Some(body));
    let server = Server::start(move |_| {
        let response = Response::new(body.lock().take().unwrap());
        async move { response }
    })
    .await;
    let function = http(server.port, json!({})).await;
    let answer = function.send(get("/")).await.unwrap();
    let reading = async {
        feed.send(Ok(Frame::data("the end".into()))).await.unwrap();
        assert!(function.io.signals.lock().is_empty());
        drop(feed);
        text(answer.into_body()).await
    };
    let ((), text) = tokio::join!(function.session.close(SOON), reading);
    assert_eq!(text, "the end");
    assert_eq!(*function.io.signals.lock(), [Signal::Stop]);
}

#[test]
fn settings_that_are_wrong_are_named() {
    for (options, part) in [
        (
            json!({"port": 0}),
            r#""port" of the contract "http" must be a whole number from 1 to 65535, not 0"#,
        ),
        (json!({"port": 80, "socket": "/s"}), "not both"),
        (json!({"socket": "relative"}), "an absolute path"),
        (json!({"ready_path": "ready"}), "starts with /"),
        (json!({"ready_path": "/a b"}), "starts with /"),
        (json!({"max_inflight": "many"}), "max_inflight"),
        (json!({"buffer_request_body": 1}), "true or false"),
        (json!({"mode": "static"}), "mode"),
    ] {
        let revision = serde_json::from_value(json!({
            "workload": {"type": "image", "reference": "x"},
            "environment": "http",
            "contract": {"name": "http", "options": options},
            "limits": {},
        }));
        let error = contract("http").unwrap().check(&revision.unwrap()).unwrap_err();
        assert_eq!(error.code, "XB1003");
        assert!(error.message.contains(part), "{error}");
    }
}
