//! What the gateway adds to a call: bare hyper and the gateway, each with the same trivial answer, in one run.
//!
//! `cargo run --release -p xebec-gateway --example floor [calls]`
//!
//! One connection, one call after the other, in alternating rounds, so that both see the same machine.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use http::{Request, Response, request::Parts};
use http_body_util::Full;
use hyper::{body::Bytes, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    Body, Error,
    auth::Access,
    document::{Document, DocumentKey, List, ListQuery, WatchEvent, Write},
    ports::{door::Door, store::Store},
};
use xebec_gateway::{Gateway, GatewayOptions, GatewayParts, KeyRing};

const ROUNDS: usize = 10;
const REQUEST: &[u8] = b"POST /function/hello HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: floor\r\n\
accept: */*\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{\"name\":\"Ada\"}";

/// Answers every call with the same few bytes.
struct Trivial;

#[async_trait]
impl Door for Trivial {
    fn name(&self) -> &'static str {
        "openfaas"
    }
    fn claims(&self) -> &[&'static str] {
        &["/function/", "/async-function/", "/system/"]
    }
    fn access(&self, _: &Parts) -> Access {
        Access::Invocation
    }
    fn refuse(&self, _: &Error) -> Response<Body> {
        Response::new(Body::empty())
    }
    async fn handle(&self, _: Request<Body>) -> Response<Body> {
        Response::new(Body::full(Bytes::from_static(b"hello")))
    }
}

/// A store without anything in it.
struct Empty;

#[async_trait]
impl Store for Empty {
    async fn get(&self, _: &DocumentKey) -> Result<Option<Document>, Error> {
        Ok(None)
    }
    async fn list(&self, _: &ListQuery) -> Result<List, Error> {
        Ok(List::default())
    }
    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Option<Document>>, Error> {
        Ok(writes.iter().map(|_| None).collect())
    }
    async fn watch(
        &self,
        _: Option<String>,
        _: u64,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
        Ok(Box::pin(futures_util::stream::empty()))
    }
    async fn backup(&self, _: &Path) -> Result<(), Error> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let calls = std::env::args().nth(1).map_or(Ok(100_000), |n| n.parse::<usize>())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (bare, gateway) = runtime.block_on(async {
        Ok::<_, Box<dyn std::error::Error>>((start_bare().await?, start_gateway().await?))
    })?;
    let mut clients = [TcpStream::connect(bare)?, TcpStream::connect(gateway)?];
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 0..=ROUNDS {
        for (client, times) in clients.iter_mut().zip(&mut times) {
            for _ in 0..calls / ROUNDS {
                let took = call(client)?;
                // The first round warms up.
                if round > 0 {
                    times.push(took);
                }
            }
        }
    }
    println!("{:<12} {:>9} {:>9} {:>9}", "", "p50 µs", "p90 µs", "p99 µs");
    let mut medians = Vec::new();
    for (name, times) in ["bare hyper", "gateway"].iter().zip(&mut times) {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        println!("{name:<12} {:>9.2} {:>9.2} {:>9.2}", at(0.5), at(0.9), at(0.99));
        medians.push(at(0.5));
    }
    println!("added at p50: {:.2} µs ({calls} calls each, one connection)", medians[1] - medians[0]);
    Ok(())
}

fn call(client: &mut TcpStream) -> std::io::Result<Duration> {
    let mut buffer = [0; 4096];
    let began = Instant::now();
    client.write_all(REQUEST)?;
    let mut read = 0;
    while !buffer[..read].ends_with(b"hello") {
        match client.read(&mut buffer[read..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
    }
    Ok(began.elapsed())
}

async fn start_bare() -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let service = service_fn(|_| async {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
                });
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await
            });
        }
    });
    Ok(address)
}

async fn start_gateway() -> Result<SocketAddr, Error> {
    let keys = Arc::new(KeyRing::load(Arc::new(Empty)).await?);
    let options =
        GatewayOptions { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], ..Default::default() };
    let gateway =
        Gateway::new(GatewayParts { doors: vec![Arc::new(Trivial)], keys, metrics: Vec::new(), options })?;
    let bound = gateway.bind().await?;
    let address = bound.addresses()[0];
    tokio::spawn(bound.serve(std::future::pending()));
    Ok(address)
}
