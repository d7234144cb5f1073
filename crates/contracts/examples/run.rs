//! What the `init-run` contract adds to calling a proxy, beside what `http` does: one client, one connection, the
//! loopback, parameters and a result of some size.
//!
//! ```text
//! cargo run --release -p xebec-contracts --example run [-- <calls> [<bytes>]]
//! ```
//!
//! The same request goes to the same server in turns: *direct* (hyper's client), *http*, *init-run*.
#![allow(clippy::unwrap_used)]

mod loopback;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use loopback::{Unlimited, open, table, thread_serving, timed};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpStream;
use xebec_contracts::{Call, Session};
use xebec_core::{
    Body, InvocationId,
    slot::{Slot, SlotOwner},
};

const ROUNDS: usize = 20;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|number| number.parse::<usize>().unwrap());
    let calls = arguments.next().unwrap_or(100_000);
    let text = format!("{{\"text\":\"{}\"}}", "x".repeat(arguments.next().unwrap_or(100)));
    let value = Bytes::from(text);
    let result = value.clone();
    let server = thread_serving(1, move |request| {
        let result = result.clone();
        async move {
            request.into_body().collect().await.unwrap();
            Response::new(Full::new(result))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut direct = client(server).await;
        let http = open("http", server, &[]).await;
        let init_run = open("init-run", server, &[("sentinels", false)]).await;
        let owner: Arc<dyn SlotOwner> = Arc::new(Unlimited);
        let mut taken: [Vec<Duration>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for _ in 0..calls / ROUNDS {
                taken[0].push(timed(post(&mut direct, &value)).await);
            }
            for (session, taken) in [&http, &init_run].into_iter().zip(&mut taken[1..]) {
                for _ in 0..calls / ROUNDS {
                    taken.push(timed(call(&**session, &owner, &value)).await);
                }
            }
        }
        table(["direct", "http", "init-run"], taken);
    });
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

async fn client(port: u16) -> Sender {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request<B>(body: B) -> Request<B> {
    Request::post("/run")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("x-xebec-run-action-name", "/guest/hello")
        .header("x-xebec-run-namespace", "guest")
        .body(body)
        .unwrap()
}

async fn post(sender: &mut Sender, value: &Bytes) {
    sender.ready().await.unwrap();
    let answer = sender.send_request(request(Full::new(value.clone()))).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), value);
}

async fn call(session: &dyn Session, owner: &Arc<dyn SlotOwner>, value: &Bytes) {
    let request = request(Body::full(value.clone()));
    let call = Call { id: InvocationId::new(), slot: Slot::new(owner.clone()), request };
    let answer = session.call(call).await.unwrap();
    assert_eq!(answer.into_body().collect(1 << 30).await.unwrap(), value);
}
