//! Whatever bytes come, the gateway answers or closes, and goes on serving others.

use crate::support::{ask, limited, soon, start};
use proptest::{collection::vec, prelude::*, sample::select};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use xebec_gateway::Limits;

/// Pieces of real requests, so that garbage gets past the first line.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"GET ",
        b"POST ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"/toy/echo",
        b"/toy/exact",
        b"/",
        b"*",
        b"http://x/",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"host: x\r\n",
        b"content-length: 5\r\n",
        b"content-length: -1\r\n",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip\r\n",
        b"expect: 100-continue\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\n",
        b"connection: close\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\0",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"x: ",
        b": ",
        b" ",
        b"\x16\x03\x01",
        b"\0\0\0\x04\0\0\0\0\0",
        b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff",
        b"\0\0\x08\x06\0\0\0\0\0pingpong",
        b"\0\0\x01\x01\x05\0\0\0\x01\x82",
        b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    ];
    prop_oneof![
        4 => select(known).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..64),
        1 => "[ -~]{0,40}".prop_map(String::into_bytes),
    ]
}

async fn throw(address: SocketAddr, pieces: &[Vec<u8>], pause: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for piece in pieces {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        if pause {
            tokio::task::yield_now().await;
        }
    }
    let _ = stream.shutdown().await;
    let mut heard = Vec::new();
    // A reset is an answer, too.
    let _ = soon("it closes", stream.read_to_end(&mut heard)).await;
    heard
}

#[test]
fn no_bytes_stop_the_gateway() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let short = Duration::from_millis(150);
    let limits = Limits {
        head_time: short,
        body_time: short,
        answer_time: short,
        idle_time: short,
        ..Limits::default()
    };
    let (server, _guard) = runtime.block_on(start(limited(limits)));
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&(vec(piece(), 0..14), any::<bool>()), |(pieces, pause)| {
            runtime.block_on(async {
                let heard = throw(server.address, &pieces, pause).await;
                let text = String::from_utf8_lossy(&heard);
                if text.starts_with("HTTP/1.") {
                    let status: u16 =
                        text[9..12].parse().map_err(|_| TestCaseError::fail(text.to_string()))?;
                    prop_assert!((100..600).contains(&status) && status != 500, "{}", text);
                }
                Ok(())
            })
        })
        .unwrap();
    runtime.block_on(async {
        assert_eq!(ask(server.address, "GET /toy/exact", &[]).await.status, 200);
        let address = server.address;
        soon("all of those connections are gone", async {
            while !ask(address, "GET /metrics", &[]).await.body.contains("xebec_http_connections 1\n") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        server.handle.drain();
        assert_eq!(soon("it ends", server.served).await.unwrap().cut, 0);
    });
}
