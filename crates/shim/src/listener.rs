//! Listening, and what becomes of each connection.

use crate::connection::{AnswerClock, Client};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{Ipv4Addr, Ipv6Addr},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use xebec_core::Body;

/// Connections at a time; more wait in the kernel.
const MOST_CONNECTIONS: u32 = 8192;

/// What an answer gets beyond its own limit, so that the sentence which says that its time was up still goes out.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How long the parts of a request and its answer may take.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) read: Option<Duration>,
    pub(crate) write: Option<Duration>,
}

/// An open port, until it is told to stop.
pub(crate) struct Listening {
    pub(crate) port: u16,
    stop: watch::Sender<bool>,
    /// One seat for each connection.
    seats: Arc<Semaphore>,
}

impl Listening {
    /// Listens on every address of the machine and answers with `answer`, in tasks of its own.
    pub(crate) async fn begin<A, F>(port: u16, times: Times, answer: A) -> Result<Self, String>
    where
        A: Fn(Request<Incoming>, Arc<AnswerClock>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
            }
            bound => bound,
        };
        let listener = listener.map_err(|error| format!("cannot listen on port {port}: {error}"))?;
        let port = listener.local_addr().map_or(port, |address| address.port());
        let (stop, stopped) = watch::channel(false);
        let seats = Arc::new(Semaphore::new(MOST_CONNECTIONS as usize));
        tokio::spawn(accept(listener, times, answer, stopped, seats.clone()));
        Ok(Self { port, stop, seats })
    }

    /// Takes no more connections, and returns when those that there are have ended: the idle ones at once, the
    /// others with their answer.
    pub(crate) async fn drain(self) {
        self.stop.send_replace(true);
        let _ = self.seats.acquire_many(MOST_CONNECTIONS).await;
    }
}

async fn accept<A, F>(
    listener: TcpListener,
    times: Times,
    answer: A,
    mut stopped: watch::Receiver<bool>,
    seats: Arc<Semaphore>,
) where
    A: Fn(Request<Incoming>, Arc<AnswerClock>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let next = async {
            let seat = seats.clone().acquire_owned().await;
            (listener.accept().await, seat)
        };
        let (accepted, seat) = tokio::select! {
            _ = stopped.changed() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve(stream, times, answer.clone(), stopped.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(seat);
                });
            }
            // Out of descriptors, mostly: some are given back soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn serve<A, F>(stream: TcpStream, times: Times, answer: A, mut stopped: watch::Receiver<bool>)
where
    A: Fn(Request<Incoming>, Arc<AnswerClock>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    let clock = AnswerClock::new();
    let service = service_fn(|request| {
        clock.begin();
        let answered = answer(request, clock.clone());
        async { Ok::<_, Infallible>(answered.await) }
    });
    let client = TokioIo::new(Client { stream, clock: clock.clone() });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(times.read)
        .serve_connection(client, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = async {
        // What went wrong with a connection concerns nobody but its client.
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    };
    tokio::select! {
        biased;
        () = ended => {}
        () = overdue(&clock, times.write) => {}
    }
}

async fn overdue(clock: &AnswerClock, limit: Option<Duration>) {
    match limit {
        Some(limit) => clock.overdue(limit + LAST_WORDS).await,
        None => std::future::pending().await,
    }
}
