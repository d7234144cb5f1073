//! Whoever is too big, too slow or too many.

use crate::support::{
    answer_on, ask, ask_http2, ask_on, http2, limited, options, rest, send, soon, start, until,
};
use http::{Request, StatusCode};
use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use xebec_core::Body;
use xebec_gateway::Limits;

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_head_of_too_many_bytes() {
    let (server, _guard) = start(limited(Limits { head_bytes: 16 * 1024, ..Limits::default() })).await;
    let long = "x".repeat(12 * 1024);
    assert_eq!(ask(server.address, "GET /toy/exact", &[("cookie", &long)]).await.status, 200);
    for size in [17 * 1024, 100 * 1024, 3 * 1024 * 1024] {
        let long = "x".repeat(size);
        let heard = ask(server.address, "GET /toy/exact", &[("cookie", &long)]).await;
        assert_eq!((heard.status, heard.code().as_str()), (431, "XB1024"), "{size}");
    }
}

#[tokio::test]
async fn a_head_of_too_many_fields() {
    let (server, _guard) = start(limited(Limits { headers: 20, ..Limits::default() })).await;
    for (fields, status) in [(15, 200), (30, 431), (150, 431)] {
        let names: Vec<String> = (0..fields).map(|n| format!("x-{n}")).collect();
        let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        let heard = ask(server.address, "GET /toy/exact", &headers).await;
        assert_eq!(heard.status, status, "{fields}");
        if status != 200 {
            assert_eq!(heard.code(), "XB1024");
        }
    }
}

#[tokio::test]
async fn a_target_that_is_too_long() {
    let (server, _guard) = start(options()).await;
    for (length, status) in [(10_000, 200), (17_000, 414), (60_000, 414)] {
        let heard = ask(server.address, &format!("GET /toy/exact?{}", "q".repeat(length)), &[]).await;
        assert_eq!(heard.status, status, "{length}");
        if status != 200 {
            assert_eq!(heard.code(), "XB1023");
        }
    }
}

#[tokio::test]
async fn a_body_that_announces_too_much() {
    let (server, _guard) = start(limited(Limits { body_bytes: 1000, ..Limits::default() })).await;
    let small = format!(
        "POST /toy/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n{}",
        "b".repeat(1000)
    );
    assert_eq!(send(server.address, small).await.status, 200);
    // Nothing of it was sent yet: the client learns in time.
    let heard =
        send(server.address, "POST /toy/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n").await;
    assert_eq!((heard.status, heard.code().as_str()), (413, "XB1025"));
    // The client sends all of it before it reads: it still hears the answer.
    let eager = format!(
        "POST /toy/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n{}",
        "b".repeat(3_000_000)
    );
    assert_eq!(send(server.address, eager).await.code(), "XB1025");
}

#[tokio::test]
async fn whoever_sends_first_and_reads_then_hears_the_refusal() {
    let (server, _guard) = start(limited(Limits { body_bytes: 1000, ..Limits::default() })).await;
    // More than the sockets' buffers hold: without a farewell the client's own sending would fail.
    let size = 16 * 1024 * 1024;
    let too_large = format!("POST /toy/echo HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n");
    let unread = too_large.replace("/toy/echo", "/toy/unread");
    let grows = "POST /toy/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2000000\r\n";
    for (head, status) in
        [(too_large.as_str(), "413"), (&unread, "413"), (grows, "413"), ("junk junk junk\r\n\r\n", "400")]
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        soon("sending", stream.write_all(&vec![b'b'; size])).await.expect("nobody hangs up on it");
        let heard = rest(&mut stream).await;
        assert!(heard.starts_with(&format!("HTTP/1.1 {status}")), "{heard}");
    }
}

#[tokio::test]
async fn a_body_that_grows_too_large() {
    let (server, _guard) = start(limited(Limits { body_bytes: 1000, ..Limits::default() })).await;
    let mut text = "POST /toy/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for _ in 0..3000 {
        text += &format!("{:x}\r\n{}\r\n", 500, "b".repeat(500));
    }
    let heard = send(server.address, text).await;
    assert_eq!((heard.status, heard.code().as_str()), (413, "XB1025"));
    let mut client = http2(TcpStream::connect(server.address).await.unwrap()).await;
    let request = Request::post("http://localhost/toy/echo").body(Body::full(vec![b'b'; 1001])).unwrap();
    let (status, body) = ask_http2(&mut client, request).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
}

#[tokio::test]
async fn http2_heads_have_the_same_limits() {
    let (server, _guard) =
        start(limited(Limits { head_bytes: 16 * 1024, headers: 20, ..Limits::default() })).await;
    let mut client = http2(TcpStream::connect(server.address).await.unwrap()).await;
    let mut many = Request::get("http://localhost/toy/exact");
    for n in 0..30 {
        many = many.header(format!("x-{n}"), "1");
    }
    let (status, _) = ask_http2(&mut client, many.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let long = Request::get(format!("http://localhost/toy/exact?{}", "q".repeat(16_500))).body(Body::empty());
    // Refused, by an answer or by the stream's end: in no case served.
    if let Ok(response) = soon("an answer", client.send_request(long.unwrap())).await {
        assert!(response.status().is_client_error(), "{}", response.status());
    }
    let fine = Request::get("http://localhost/toy/exact").body(Body::empty()).unwrap();
    let mut fresh = http2(TcpStream::connect(server.address).await.unwrap()).await;
    assert_eq!(ask_http2(&mut fresh, fine).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_head_that_dribbles() {
    let (server, _guard) = start(limited(Limits { head_time: SHORT, ..Limits::default() })).await;
    let began = Instant::now();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let dribble = async {
        for byte in b"GET /toy/exact HTTP/1.1\r\nhost: localhost\r\nx-very-slow: yes".iter().cycle() {
            if writing.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let heard = tokio::select! {
        heard = answer_on(&mut reading) => heard,
        () = dribble => panic!("the connection broke before the answer came"),
    };
    assert_eq!((heard.status, heard.code().as_str()), (408, "XB1026"));
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_head_that_dribbles_after_a_request() {
    let (server, _guard) = start(limited(Limits { head_time: SHORT, ..Limits::default() })).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(ask_on(&mut stream, "GET /toy/exact HTTP/1.1\r\nhost: x\r\n\r\n").await.status, 200);
    let heard = ask_on(&mut stream, "GET /toy/exa").await;
    assert_eq!((heard.status, heard.code().as_str()), (408, "XB1026"));
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_connection_that_says_nothing() {
    let (server, _guard) = start(limited(Limits { head_time: SHORT, ..Limits::default() })).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_a_while() {
    let limits = Limits { idle_time: Duration::from_millis(600), head_time: SHORT, ..Limits::default() };
    let (server, _guard) = start(limited(limits)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(
        ask_on(&mut stream, "POST /toy/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi").await.status,
        200
    );
    let idle = Instant::now();
    assert_eq!(rest(&mut stream).await, "", "closed without a word");
    assert!(idle.elapsed() >= Duration::from_millis(500), "{:?}", idle.elapsed());
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_to_go() {
    let limits = Limits { idle_time: SHORT, head_time: SHORT, ..Limits::default() };
    let (server, _guard) = start(limited(limits)).await;
    let mut client = http2(TcpStream::connect(server.address).await.unwrap()).await;
    let request = || Request::get("http://localhost/toy/exact").body(Body::empty()).unwrap();
    assert_eq!(ask_http2(&mut client, request()).await.0, StatusCode::OK);
    until("the connection is closed", || client.is_closed()).await;
}

#[tokio::test]
async fn a_body_that_stops() {
    let (server, _guard) = start(limited(Limits { body_time: SHORT, ..Limits::default() })).await;
    let heard =
        send(server.address, "POST /toy/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!((heard.status, heard.code().as_str()), (408, "XB1027"));
    let chunked = "POST /toy/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    assert_eq!(send(server.address, chunked).await.code(), "XB1027");
}

#[tokio::test]
async fn a_body_that_goes_on_slowly_is_waited_for() {
    let patience = Duration::from_millis(1000);
    let (server, _guard) = start(limited(Limits { body_time: patience, ..Limits::default() })).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST /toy/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\n").await.unwrap();
    for byte in b"patience" {
        tokio::time::sleep(patience / 6).await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(answer_on(&mut stream).await.body, "patience");
}

#[tokio::test]
async fn silence_after_the_answer_began_is_listening() {
    let (server, _guard) = start(limited(Limits { body_time: SHORT, ..Limits::default() })).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /toy/stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(SHORT * 3).await;
    stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    let mut heard = String::new();
    while !heard.contains("0\r\n\r\n") {
        let mut buffer = [0; 256];
        let read = soon("the rest", stream.read(&mut buffer)).await.unwrap();
        assert!(read > 0, "closed after {heard}");
        heard += &String::from_utf8_lossy(&buffer[..read]);
    }
    assert!(heard.contains("one") && heard.contains("two"), "{heard}");
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer() {
    let (server, _guard) = start(limited(Limits { answer_time: SHORT, ..Limits::default() })).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /toy/flood HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let address = server.address;
    soon("the connection is cut", async {
        loop {
            let metrics = ask(address, "GET /metrics", &[]).await.body;
            if metrics.contains("xebec_http_connections 1\n") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_http2_client_that_opens_no_window() {
    let (server, _guard) = start(limited(Limits { answer_time: SHORT, ..Limits::default() })).await;
    let mut client = http2(TcpStream::connect(server.address).await.unwrap()).await;
    let request = Request::get("http://localhost/toy/flood").body(Body::empty()).unwrap();
    let unread = soon("a head", client.send_request(request)).await.unwrap();
    until("the connection is cut", || client.is_closed()).await;
    drop(unread);
}

#[tokio::test]
async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let (server, _guard) =
        start(limited(Limits { answer_time: Duration::from_millis(800), ..Limits::default() })).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let size = 8 * 1024 * 1024;
    let head = format!(
        "POST /toy/stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n"
    );
    let (mut reading, mut writing) = stream.split();
    let write = async {
        writing.write_all(head.as_bytes()).await.unwrap();
        writing.write_all(&vec![b'z'; size]).await.unwrap();
    };
    let read = async {
        let (mut total, mut buffer) = (0, vec![0; 512 * 1024]);
        loop {
            let read = reading.read(&mut buffer).await.unwrap();
            if read == 0 {
                return total;
            }
            total += read;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    };
    let ((), total) = soon("all of it", async { tokio::join!(write, read) }).await;
    assert!(total > size, "{total}");
}

#[tokio::test]
async fn the_end_of_an_answer_on_its_way_is_no_idleness() {
    let limits = Limits {
        idle_time: SHORT,
        head_time: SHORT,
        answer_time: Duration::from_secs(2),
        ..Limits::default()
    };
    let (server, _guard) = start(limited(limits)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // Handed to the socket in one piece, and more than the sockets' buffers take.
    let size = 24 * 1024 * 1024;
    let head = format!("POST /toy/echo HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'z'; size]).await.unwrap();
    let (mut total, mut buffer) = (0, vec![0; 1024 * 1024]);
    while total < size {
        let read = soon("a piece", stream.read(&mut buffer)).await.unwrap();
        assert!(read > 0, "cut after {total} bytes");
        total += read;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

#[tokio::test]
async fn too_many_connections() {
    let (server, _guard) = start(limited(Limits { connections: 3, ..Limits::default() })).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(ask_on(&mut stream, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.status, 200);
        held.push(stream);
    }
    let heard = ask(server.address, "GET /healthz", &[]).await;
    assert_eq!((heard.status, heard.code().as_str()), (503, "XB6001"));
    held.pop();
    let address = server.address;
    soon("a place is free again", async {
        while ask(address, "GET /healthz", &[]).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let metrics = ask_on(&mut held[0], "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.body;
    assert!(metrics.contains("xebec_http_connections_refused_total"), "{metrics}");
    assert!(!metrics.contains("xebec_http_connections_refused_total 0\n"), "{metrics}");
}

#[tokio::test]
async fn what_is_no_request() {
    let (server, _guard) = start(options()).await;
    for junk in [
        "\u{1}\u{2}\u{3}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /toy/exact HTTP/1.1\r\nbad name: x\r\n\r\n",
        "GET /toy/exact HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        "POST /toy/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    ] {
        let heard = send(server.address, junk).await;
        assert_eq!((heard.status, heard.code().as_str()), (400, "XB1020"), "{junk:?}");
    }
    for no_path in ["CONNECT example.com:80", "OPTIONS *"] {
        let heard = ask(server.address, no_path, &[]).await;
        assert_eq!((heard.status, heard.code().as_str()), (400, "XB1022"), "{no_path:?}");
    }
}

#[tokio::test]
async fn junk_after_a_good_request_does_not_touch_its_answer() {
    let (server, _guard) = start(options()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /toy/gate HTTP/1.1\r\nhost: x\r\n\r\nthis is no request\r\n\r\n").await.unwrap();
    until("the request is at the gate", || server.toy.waiting.load(Relaxed) == 1).await;
    server.toy.gate.add_permits(1);
    let heard = answer_on(&mut stream).await;
    assert_eq!((heard.status, heard.body.as_str()), (200, "through the gate"));
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 400"));
}
