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

/// What one client throws, and how.
#[derive(Clone, Debug)]
struct Throw {
    pieces: Vec<Vec<u8>>,
    /// Lets the gateway read between the pieces.
    pauses: bool,
    /// Closes its half afterwards, rather than waiting for the gateway's patience to end.
    hangs_up: bool,
}

/// How it begins: with nothing, or well enough to be taken for a request or for HTTP/2. Not with a path whose
/// answer begins before the request ends: whoever asks for that may go on listening in silence.
fn opening() -> impl Strategy<Value = Vec<u8>> {
    let known: [&'static [u8]; 4] = [
        b"",
        b"POST /toy/echo HTTP/1.1\r\nhost: x\r\n",
        b"POST /toy/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ];
    select(known.to_vec()).prop_map(<[u8]>::to_vec)
}

/// A frame of HTTP/2 with a true length and any contents.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    (0u8..12, any::<u8>(), 0u32..6, vec(any::<u8>(), 0..40)).prop_map(|(kind, flags, stream, payload)| {
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    })
}

fn a_throw() -> impl Strategy<Value = Throw> {
    let pieces = vec(prop_oneof![2 => piece(), 1 => frame()], 0..14);
    (opening(), pieces, any::<bool>(), any::<bool>()).prop_map(|(opening, mut pieces, pauses, hangs_up)| {
        pieces.insert(0, opening);
        Throw { pieces, pauses, hangs_up }
    })
}

async fn throw(address: SocketAddr, thrown: Throw) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for piece in &thrown.pieces {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        if thrown.pauses {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    if thrown.hangs_up {
        let _ = stream.shutdown().await;
    }
    let mut heard = Vec::new();
    // A reset is an answer, too.
    let _ = soon("it closes", stream.read_to_end(&mut heard)).await;
    heard
}

/// More where `PROPTEST_CASES` says so.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let given = ProptestConfig::default();
    ProptestConfig { cases: if asked { given.cases } else { 20 }, failure_persistence: None, ..given }
}

#[test]
fn no_bytes_stop_the_gateway() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let short = Duration::from_millis(100);
    let limits = Limits {
        head_time: short,
        body_time: short,
        answer_time: short,
        idle_time: short,
        ..Limits::default()
    };
    let (server, _guard) = runtime.block_on(start(limited(limits)));
    let mut runner = proptest::test_runner::TestRunner::new(config());
    let thrown = runner.run(&vec(a_throw(), 32), |throws| {
        let all = throws.into_iter().map(|thrown| throw(server.address, thrown));
        for heard in runtime.block_on(futures_util::future::join_all(all)) {
            let text = String::from_utf8_lossy(&heard);
            if let Some(rest) = text.strip_prefix("HTTP/1.") {
                let status = rest.get(2..5).and_then(|status| status.parse::<u16>().ok());
                prop_assert!(status.is_some_and(|s| (100..600).contains(&s) && s != 500), "{}", text);
            }
        }
        Ok(())
    });
    thrown.unwrap();
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
