//! Draining, and ending at once.

use crate::support::{answer_on, ask_http2, ask_on, http2, options, rest, soon, start, until};
use http::{Request, StatusCode};
use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use xebec_core::Body;
use xebec_gateway::{GatewayOptions, Served};

const AT_THE_GATE: &[u8] = b"GET /toy/gate HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn what_is_in_flight_finishes_and_nothing_new_is_taken() {
    let (server, _guard) = start(options()).await;
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(AT_THE_GATE).await.unwrap();
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(ask_on(&mut idle, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.status, 200);
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut client = http2(TcpStream::connect(server.address).await.unwrap()).await;
    let multiplexed = tokio::spawn(async move {
        let request = Request::get("http://localhost/toy/gate").body(Body::empty()).unwrap();
        ask_http2(&mut client, request).await
    });
    until("both are at the gate", || server.toy.waiting.load(Relaxed) == 2).await;

    server.stop.send(()).unwrap();
    assert_eq!(rest(&mut idle).await, "", "idle connections are closed");
    assert_eq!(rest(&mut silent).await, "", "silent ones too");
    let address = server.address;
    soon("new connections are refused", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(!server.served.is_finished());

    server.toy.gate.add_permits(2);
    let heard = answer_on(&mut busy).await;
    assert_eq!((heard.status, heard.body.as_str()), (200, "through the gate"));
    assert!(heard.head.contains("connection: close"), "{heard:?}");
    assert_eq!(multiplexed.await.unwrap(), (StatusCode::OK, "through the gate".to_owned()));
    assert_eq!(soon("it ends", server.served).await.unwrap(), Served { cut: 0 });
}

#[tokio::test]
async fn the_handle_drains_as_well() {
    let (server, _guard) = start(options()).await;
    server.handle.drain();
    assert_eq!(soon("it ends", server.served).await.unwrap(), Served { cut: 0 });
}

#[tokio::test]
async fn the_grace_has_an_end() {
    let (server, _guard) = start(GatewayOptions { grace: Duration::from_millis(200), ..options() }).await;
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(AT_THE_GATE).await.unwrap();
    until("it is at the gate", || server.toy.waiting.load(Relaxed) == 1).await;
    let began = Instant::now();
    server.handle.drain();
    assert_eq!(soon("it ends", server.served).await.unwrap(), Served { cut: 1 });
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    assert_eq!(rest(&mut busy).await, "");
    until("the call is given up", || server.toy.given_up.load(Relaxed) == 1).await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (server, _guard) = start(GatewayOptions { grace: Duration::from_secs(600), ..options() }).await;
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    busy.write_all(AT_THE_GATE).await.unwrap();
    until("it is at the gate", || server.toy.waiting.load(Relaxed) == 1).await;
    server.handle.drain();
    tokio::task::yield_now().await;
    server.handle.now();
    // A drain that comes late changes nothing.
    server.handle.drain();
    assert_eq!(soon("it ends", server.served).await.unwrap(), Served { cut: 1 });
    assert_eq!(rest(&mut busy).await, "");
}

#[tokio::test]
async fn readiness_goes_first() {
    let (server, _guard) = start(options()).await;
    server.readiness.set_ready();
    let mut probe = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(ask_on(&mut probe, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await.status, 200);
    let mut busy = http2(TcpStream::connect(server.address).await.unwrap()).await;
    let mut late = busy.clone();
    let call = tokio::spawn(async move {
        let request = Request::get("http://localhost/toy/gate").body(Body::empty()).unwrap();
        ask_http2(&mut busy, request).await
    });
    until("it is at the gate", || server.toy.waiting.load(Relaxed) == 1).await;
    server.handle.drain();
    // Whatever still gets an answer while it drains is told.
    let request = Request::get("http://localhost/readyz").body(Body::empty()).unwrap();
    if let Ok(response) = soon("an answer", late.send_request(request)).await
        && response.status() != StatusCode::OK
    {
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    server.toy.gate.add_permits(1);
    assert_eq!(call.await.unwrap().0, StatusCode::OK);
    assert_eq!(soon("it ends", server.served).await.unwrap(), Served { cut: 0 });
}

#[tokio::test]
async fn tunnels_are_open_connections_until_they_close() {
    let (server, _guard) = start(options()).await;
    let mut tunnel = TcpStream::connect(server.address).await.unwrap();
    let request = "GET /toy/upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: toy\r\n\r\n";
    assert_eq!(ask_on(&mut tunnel, request).await.status, 101);
    server.handle.drain();
    tunnel.write_all(b"still here").await.unwrap();
    let mut echo = [0; 10];
    soon("the echo", tokio::io::AsyncReadExt::read_exact(&mut tunnel, &mut echo)).await.unwrap();
    assert_eq!(&echo, b"still here");
    assert!(!server.served.is_finished());
    drop(tunnel);
    assert_eq!(soon("it ends", server.served).await.unwrap(), Served { cut: 0 });
}
