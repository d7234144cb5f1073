//! A server on the loopback, an instance that is nothing else, and a table of what calls of it took.
#![allow(missing_docs, unreachable_pub)]

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
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
use xebec_contracts::{Brings, Opening, Session, contract};
use xebec_core::{
    Body,
    limits::Limits,
    log::LogStream,
    ports::instance::{
        Child, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, LineSink, Listener,
        Signal,
    },
    revision::ContractSpec,
    slot::{Retire, SlotOwner},
};

pub async fn timed(work: impl Future<Output = ()>) -> Duration {
    let started = Instant::now();
    work.await;
    started.elapsed()
}

/// A hyper server in a thread of its own.
pub fn thread_serving<F, R, B>(threads: usize, answer: F) -> u16
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

/// Prints what each way took, and what it added to the first.
pub fn table<const WAYS: usize>(names: [&str; WAYS], taken: [Vec<Duration>; WAYS]) {
    println!("{:10} {:>9} {:>9} {:>9} {:>11}", "way", "p50 µs", "p90 µs", "p99 µs", "p50 added");
    let mut base = None;
    for (name, mut taken) in names.into_iter().zip(taken) {
        taken.sort_unstable();
        let at = |share: usize| taken[taken.len() * share / 100].as_secs_f64() * 1e6;
        let base = *base.get_or_insert_with(|| at(50));
        println!("{name:10} {:9.1} {:9.1} {:9.1} {:11.1}", at(50), at(90), at(99), at(50) - base);
    }
}

/// Opens a contract over a server.
pub async fn open(name: &str, port: u16, settings: &[(&str, bool)]) -> Arc<dyn Session> {
    let mut spec = ContractSpec::named(name);
    spec.options.insert("port".into(), port.into());
    spec.options.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
    let opening = Opening {
        io: Arc::new(Loopback(InstanceId("hop".into()))),
        spec,
        command: Vec::new(),
        limits: Limits::default(),
        slots: Arc::new(Unlimited),
        lines: Arc::new(Unlimited),
        brings: Brings::default(),
    };
    contract(name).unwrap().open(opening).await.unwrap()
}

/// As many slots as anyone likes; no lines.
pub struct Unlimited;

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
