//! Measures a component: compiling, loading, starting, and calling it, in process and over HTTP.
//!
//!     cargo run --release -p xebec-driver-wasm --example measure [component.wasm]

use bytes::Bytes;
use hdrhistogram::Histogram;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};
use xebec_core::{
    Body, Digest, FunctionKey, Tenant,
    environment::Environment,
    limits::Limits,
    log::LogStream,
    ports::{
        driver::{Driver as _, Prepare, Progress, Start},
        instance::{InstanceId, InstanceIo, LineSink},
    },
    revision::{ContractSpec, Revision, RevisionSpec},
    workload::{ArchiveFormat, Workload},
};
use xebec_driver_wasm::{WasmDriver, WasmOptions};

const HELLO: &str = include_str!("../../../../examples/wasm-hello/hello.wat");

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let code = match std::env::args().nth(1) {
        Some(path) => Bytes::from(std::fs::read(path)?),
        None => Bytes::from_static(HELLO.as_bytes()),
    };
    let directory = tempfile::tempdir()?;
    let driver = WasmDriver::new(WasmOptions::new(directory.path()));
    let start = start(&code);
    println!("resident before the engine      {:>10} KiB", resident());
    let began = Instant::now();
    driver
        .prepare(Prepare {
            revision: &start.revision,
            environment: &start.environment,
            code: Some(code.clone()),
            progress: &Steps,
        })
        .await?;
    println!("prepare                         {:>10.1?}", began.elapsed());
    println!("resident after compiling        {:>10} KiB", resident());

    let mut loading = histogram();
    for _ in 0..50 {
        let driver = WasmDriver::new(WasmOptions::new(directory.path()));
        // The engine is not part of it; a revision that was never prepared makes one.
        let _ = driver.start(Start { revision: Arc::new(revision(b"none")), ..start.clone() }).await;
        record(&mut loading, async { driver.start(start.clone()).await.map(drop) }).await?;
    }
    print("start, on disk", &loading);
    println!("resident with it loaded         {:>10} KiB", resident());

    let mut starting = histogram();
    let mut cold = histogram();
    for _ in 0..2000 {
        record(&mut starting, async { driver.start(start.clone()).await.map(drop) }).await?;
        record(&mut cold, async {
            let io = driver.start(start.clone()).await?;
            call(&*io).await
        })
        .await?;
    }
    print("start, mapped", &starting);
    print("start, mapped, and first call", &cold);

    let io = driver.start(start).await?;
    let mut warm = histogram();
    for _ in 0..20_000 {
        record(&mut warm, call(&*io)).await?;
    }
    print("warm call in process", &warm);

    let address = serve(io).await?;
    for connections in [1, 16] {
        let (times, rate) = load(address, connections, Duration::from_secs(5)).await?;
        print(&format!("HTTP round trip, {connections} connections"), &times);
        println!("                                {rate:>10.0} /s");
    }
    println!("resident at the end             {:>10} KiB", resident());
    Ok(())
}

async fn call(io: &dyn InstanceIo) -> Result<()> {
    let request = http::Request::post("/").body(Body::from("ahoy"))?;
    let answer = io.request(request).await?;
    if !answer.status().is_success() {
        return Err(answer.status().to_string().into());
    }
    answer.into_body().collect(1 << 20).await?;
    Ok(())
}

/// Serves the instance on a loopback port.
async fn serve(io: Arc<dyn InstanceIo>) -> Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let io = io.clone();
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let io = io.clone();
                    async move {
                        let answer = io.request(request.map(Body::stream)).await;
                        Ok::<_, Infallible>(answer.unwrap_or_else(|error| {
                            let mut answer = http::Response::new(Body::from(error.to_string()));
                            *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                            answer
                        }))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}

/// Calls over so many connections, each again as soon as it was answered.
async fn load(
    address: std::net::SocketAddr,
    connections: usize,
    time: Duration,
) -> Result<(Histogram<u64>, f64)> {
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(tokio::spawn(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let mut times = histogram();
            while began.elapsed() < time {
                record(&mut times, async {
                    let request =
                        http::Request::post("/").header("host", "localhost").body(Body::from("ahoy"))?;
                    let answer = sender.send_request(request).await?;
                    if !answer.status().is_success() {
                        return Err(answer.status().to_string().into());
                    }
                    Body::stream(answer.into_body()).collect(1 << 20).await?;
                    Result::Ok(())
                })
                .await?;
            }
            Result::Ok(times)
        }));
    }
    let mut all = histogram();
    for client in clients {
        all.add(client.await??)?;
    }
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    Ok((all, rate))
}

async fn record<E>(
    times: &mut Histogram<u64>,
    what: impl Future<Output = std::result::Result<(), E>>,
) -> Result<()>
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let began = Instant::now();
    what.await.map_err(Into::into)?;
    times.record(u64::try_from(began.elapsed().as_nanos())?)?;
    Ok(())
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap_or_else(|_| unreachable!("the bounds are valid"))
}

fn print(what: &str, times: &Histogram<u64>) {
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    println!("{what:<32}{:>10.1} µs p50 {:>10.1} µs p99", at(0.5), at(0.99));
}

/// Memory of this process, where the system tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn start(code: &[u8]) -> Start {
    Start {
        instance: InstanceId("one".into()),
        function: FunctionKey::new(&Tenant::default(), "native", "measured"),
        revision: Arc::new(revision(code)),
        environment: Arc::new(Environment {
            name: "wasm".to_owned(),
            image: None,
            description: String::new(),
            driver: "wasm".to_owned(),
            contract: ContractSpec::named("wasi-http"),
            command: Vec::new(),
            variables: BTreeMap::new(),
            needs: Vec::new(),
            build: Vec::new(),
            blanks: None,
            concurrency: 1000,
        }),
        secrets: Vec::new(),
        lines: Arc::new(Nowhere),
    }
}

fn revision(code: &[u8]) -> Revision {
    Revision::new(RevisionSpec {
        workload: Workload::Code {
            archive: Digest::of(code),
            format: ArchiveFormat::Wasm,
            bytes: code.len() as u64,
        },
        environment: "wasm".to_owned(),
        contract: ContractSpec::named("wasi-http"),
        command: Vec::new(),
        handler: None,
        style: None,
        variables: BTreeMap::new(),
        secrets: Vec::new(),
        limits: Limits::default(),
        read_only_root: false,
        as_is: false,
    })
}

struct Nowhere;

impl LineSink for Nowhere {
    fn line(&self, _: LogStream, _: &str) {}
}

struct Steps;

impl Progress for Steps {
    fn step(&self, line: &str) {
        println!("{line}");
    }
}
