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

mod loopback;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use loopback::{Unlimited, table, thread_serving, timed};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpStream;
use xebec_contracts::{Call, Session};
use xebec_core::{
    Body, InvocationId,
    slot::{Slot, SlotOwner},
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
        table(["direct", "contract", "front"], taken);
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
    loopback::open("http", port, &[]).await
}
