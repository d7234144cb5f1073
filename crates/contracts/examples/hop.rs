//! What the `http` contract adds to calling a web server directly: one client, one connection, the loopback.
//!
//! ```text
//! cargo run --release -p xebec-contracts --example hop [-- <calls>]
//! ```
//!
//! Three ways to the same server, taken in turns so that they share the machine's moods:
//! *direct* (hyper's client), *contract* (the contract called in process), and *front* (a bare hyper server
//! that hands each request to the contract: a whole hop, with nothing else of a gateway in it).
#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::Future,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};
use xebec_contracts::{Brings, Call, Opening, Session, contract};
use xebec_core::{
    Body, InvocationId,
    limits::Limits,
    log::LogStream,
    ports::instance::{
        Child, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, LineSink, Listener,
        Signal,
    },
    revision::ContractSpec,
    slot::{Retire, Slot, SlotOwner},
};

const ROUNDS: usize = 20;

fn main() {
    let calls: usize = std::env::args().nth(1).map_or(100_000, |calls| calls.parse().unwrap());
    let server = thread_serving(1, |_| async { Response::new(Full::new(Bytes::from_static(b"hello"))) });
    let front = front(server);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut direct = client(server).await;
        let mut through = client(front).await;
        let session = open(server).await;
        let owner: Arc<dyn SlotOwner> = Arc::new(Unlimited);
        let mut taken: [Vec<Duration>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for _ in 0..calls / ROUNDS {
                taken[0].push(timed(get(&mut direct)).await);
            }
            for _ in 0..calls / ROUNDS {
                taken[1].push(timed(call(&*session, &owner)).await);
            }
            for _ in 0..calls / ROUNDS {
                taken[2].push(timed(get(&mut through)).await);
            }
        }
        println!("{:10} {:>9} {:>9} {:>9} {:>11}", "way", "p50 µs", "p90 µs", "p99 µs", "p50 added");
        let mut base = None;
        for (name, taken) in ["direct", "contract", "front"].into_iter().zip(&mut taken) {
            taken.sort_unstable();
            let at = |share: usize| taken[taken.len() * share / 100].as_secs_f64() * 1e6;
            let base = *base.get_or_insert_with(|| at(50));
            println!("{name:10} {:9.1} {:9.1} {:9.1} {:11.1}", at(50), at(90), at(99), at(50) - base);
        }
    });
}

type Sender = hyper::client::conn::http1::SendRequest<Empty<Bytes>>;

async fn client(port: u16) -> Sender {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn get(sender: &mut Sender) {
    sender.ready().await.unwrap();
    let request = Request::get("/").header("host", "localhost").body(Empty::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
}

async fn call(session: &dyn Session, owner: &Arc<dyn SlotOwner>) {
    let request = Request::get("/").header("host", "localhost").body(Body::empty()).unwrap();
    let call = Call { id: InvocationId::new(), slot: Slot::new(owner.clone()), request };
    let answer = session.call(call).await.unwrap();
    assert_eq!(answer.into_body().collect(1024).await.unwrap(), "hello");
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let started = Instant::now();
    work.await;
    started.elapsed()
}

/// A hyper server in a thread of its own.
fn thread_serving<F, R, B>(threads: usize, answer: F) -> u16
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (told, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = if threads == 1 {
            tokio::runtime::Builder::new_current_thread().enable_all().build()
        } else {
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
        };
        runtime.unwrap().block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap().port()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
    });
    port.recv().unwrap()
}

/// A hyper server that does nothing but hand requests to the contract.
fn front(server: u16) -> u16 {
    let session = Arc::new(tokio::sync::OnceCell::new());
    let owner: Arc<dyn SlotOwner> = Arc::new(Unlimited);
    thread_serving(2, move |request: Request<Incoming>| {
        let (session, owner) = (session.clone(), owner.clone());
        async move {
            let session: &Arc<dyn Session> = session.get_or_init(|| open(server)).await;
            let call =
                Call { id: InvocationId::new(), slot: Slot::new(owner), request: request.map(Body::stream) };
            session.call(call).await.unwrap()
        }
    })
}

async fn open(port: u16) -> Arc<dyn Session> {
    let mut spec = ContractSpec::named("http");
    spec.options.insert("port".into(), port.into());
    let opening = Opening {
        io: Arc::new(Loopback(InstanceId("hop".into()))),
        spec,
        command: Vec::new(),
        limits: Limits::default(),
        slots: Arc::new(Unlimited),
        lines: Arc::new(Unlimited),
        brings: Brings::default(),
    };
    contract("http").unwrap().open(opening).await.unwrap()
}

/// As many slots as anyone likes; no lines.
struct Unlimited;

impl SlotOwner for Unlimited {
    fn announce(&self, _: u32) {}
    fn free(&self) {}
    fn retire(&self, why: Retire) {
        panic!("retired: {why:?}");
    }
}

impl LineSink for Unlimited {
    fn line(&self, _: LogStream, _: &str) {}
}

/// An instance that is a port on the loopback and nothing else.
struct Loopback(InstanceId);

#[async_trait]
impl InstanceIo for Loopback {
    fn id(&self) -> &InstanceId {
        &self.0
    }
    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, IoError> {
        let Endpoint::Port(port) = endpoint else { return Err(nothing("connect to that")) };
        let stream = TcpStream::connect(("127.0.0.1", *port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
    async fn listen(&self, _: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        Err(nothing("listen"))
    }
    async fn spawn(&self, _: Command) -> Result<Box<dyn Child>, IoError> {
        Err(nothing("spawn"))
    }
    fn take_stdio(&self) -> Option<Connection> {
        None
    }
    async fn request(&self, _: Request<Body>) -> Result<Response<Body>, IoError> {
        Err(nothing("take requests"))
    }
    async fn write_file(&self, _: &Path, _: Bytes) -> Result<(), IoError> {
        Err(nothing("write files"))
    }
    async fn signal(&self, _: Signal) -> Result<(), IoError> {
        Ok(())
    }
    async fn exited(&self) -> Exit {
        std::future::pending().await
    }
    async fn destroy(&self) {}
}

fn nothing(what: &'static str) -> IoError {
    IoError::Unsupported { driver: "loopback", what }
}
