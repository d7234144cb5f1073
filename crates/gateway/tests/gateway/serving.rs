//! Requests on their way to a door and back.

use crate::support::{answer_on, ask, ask_http2, ask_on, http2, options, send, start, until};
use http::{Request, StatusCode};
use std::sync::atomic::Ordering::Relaxed;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use xebec_core::Body;

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let (server, _guard) = start(options()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for round in 0..20 {
        let body = "b".repeat(round * 100);
        let request = format!(
            "POST /toy/echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let heard = ask_on(&mut stream, &request).await;
        assert_eq!((heard.status, heard.body), (200, body));
    }
}

#[tokio::test]
async fn chunked_bodies_stream_both_ways() {
    let (server, _guard) = start(options()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /toy/stream HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // Each piece comes back before the next one is sent.
    let mut heard = String::new();
    for piece in ["one", "two", "three"] {
        stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
        while !heard.contains(piece) {
            let mut buffer = [0; 256];
            let read = crate::support::soon("a piece", stream.read(&mut buffer)).await.unwrap();
            assert!(read > 0, "closed after {heard}");
            heard += &String::from_utf8_lossy(&buffer[..read]);
        }
    }
    assert!(heard.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (server, _guard) = start(options()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut both = String::new();
    for body in ["first", "second"] {
        both +=
            &format!("POST /toy/echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    }
    let first = ask_on(&mut stream, &both).await;
    let second = answer_on(&mut stream).await;
    assert_eq!((first.body.as_str(), second.body.as_str()), ("first", "second"));
}

#[tokio::test]
async fn http2_with_prior_knowledge_on_the_same_port() {
    let (server, _guard) = start(options()).await;
    let mut client = http2(TcpStream::connect(server.address).await.unwrap()).await;
    let uri = format!("http://{}/toy/echo", server.address);
    let calls = (0..20).map(|n| {
        let mut client = client.clone();
        let request = Request::post(&uri).body(Body::full(format!("call {n}"))).unwrap();
        tokio::spawn(async move { ask_http2(&mut client, request).await })
    });
    for (n, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), (StatusCode::OK, format!("call {n}")));
    }
    // The first protocol goes on beside it.
    assert_eq!(ask(server.address, "GET /toy/exact", &[]).await.status, 200);
    let (status, _) =
        ask_http2(&mut client, Request::get(&uri[..uri.len() - 9]).body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn upgrades_become_tunnels() {
    let (server, _guard) = start(options()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request =
        "GET /toy/upgrade HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: toy\r\n\r\n";
    let heard = ask_on(&mut stream, request).await;
    assert_eq!(heard.status, 101);
    // What looks like an answer of the HTTP library is the tunnel's own business.
    for message in ["hello", "HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 431 \r\n\r\n"] {
        stream.write_all(message.as_bytes()).await.unwrap();
        let mut echoed = vec![0; message.len()];
        crate::support::soon("the echo", stream.read_exact(&mut echoed)).await.unwrap();
        assert_eq!(String::from_utf8(echoed).unwrap(), message);
    }
    let metrics = ask(server.address, "GET /metrics", &[]).await.body;
    assert!(metrics.contains("xebec_http_connections 2\n"), "{metrics}");
    drop(stream);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let (server, _guard) = start(options()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /toy/gate HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until("the request is at the gate", || server.toy.waiting.load(Relaxed) == 1).await;
    drop(stream);
    until("the request is given up", || server.toy.given_up.load(Relaxed) == 1).await;
}

#[tokio::test]
async fn a_panic_in_a_door_is_one_answer() {
    let (server, _guard) = start(options()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let heard = ask_on(&mut stream, "GET /toy/panic HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!((heard.status, heard.code().as_str()), (500, "XB6002"));
    let heard = ask_on(&mut stream, "GET /toy/exact HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(heard.status, 200, "the connection goes on");
}

#[tokio::test]
async fn doors_see_who_sent_it() {
    let (server, _guard) = start(options()).await;
    let heard = ask(server.address, "GET /toy/headers", &[]).await;
    assert!(heard.body.contains("peer 127.0.0.1:"), "{heard:?}");
}

#[tokio::test]
async fn a_doors_own_bare_answers_are_left_alone() {
    let (server, _guard) = start(options()).await;
    for version in ["1.0", "1.1"] {
        let heard = send(
            server.address,
            format!("GET /toy/empty-400 HTTP/{version}\r\nhost: x\r\nconnection: close\r\n\r\n"),
        )
        .await;
        assert_eq!((heard.status, heard.body.as_str()), (400, ""), "{heard:?}");
    }
    // Also after other requests on the same connection.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        let heard = ask_on(&mut stream, "GET /toy/empty-400 HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!((heard.status, heard.body.as_str()), (400, ""), "{heard:?}");
    }
}
