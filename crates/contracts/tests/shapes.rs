//! Do the traits fit contracts that are yet to come? Two of them in outline, each with a toy function: one
//! that is dialled by its instance, and one with a socket file.
#![allow(clippy::unwrap_used)]

mod server;
mod toy;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::{Notify, oneshot},
    task::JoinSet,
};
use toy::{Owner, SOON, Toy, opening, post, spec, text, until};
use xebec_contracts::{Call, CallError, Contract, Opening, Session, StartError};
use xebec_core::{
    Body, Error, InvocationId, Outcome,
    outcome::FunctionFault,
    ports::instance::{Connection, Endpoint, InstanceIo, Signal},
    revision::RevisionSpec,
    slot::{Retire, Slot, SlotOwner},
};

fn place(opening: &Opening) -> Endpoint {
    Endpoint::Socket(opening.spec.options["socket"].as_str().unwrap().into())
}

fn broken() -> CallError {
    CallError::new(Outcome::FunctionError(FunctionFault::BadResponse), "the connection broke")
}

// --- dialled by its instance -------------------------------------------------------------------------

/// The instance asks for its next call, and posts the answer. Each question is a slot.
struct Dialled;

/// What calls and questions share.
struct Desk {
    slots: Arc<dyn SlotOwner>,
    state: Mutex<DeskState>,
    asked: Notify,
}

#[derive(Default)]
struct DeskState {
    /// Questions that wait for a call.
    questions: VecDeque<oneshot::Sender<(InvocationId, Bytes)>>,
    /// Calls that wait for their answer.
    calls: HashMap<String, oneshot::Sender<Bytes>>,
    /// Slots of calls that were answered: they come back with the next question.
    answered: Vec<Slot>,
}

struct DialledSession {
    io: Arc<dyn InstanceIo>,
    desk: Arc<Desk>,
    _listening: JoinSet<()>,
}

#[async_trait]
impl Contract for Dialled {
    fn name(&self) -> &'static str {
        "dialled"
    }

    fn check(&self, _: &RevisionSpec) -> Result<(), Error> {
        Ok(())
    }

    async fn open(&self, opening: Opening) -> Result<Arc<dyn Session>, StartError> {
        let mut listener =
            opening.io.listen(&place(&opening)).await.map_err(|error| StartError::new(error.to_string()))?;
        let desk = Arc::new(Desk { slots: opening.slots, state: Mutex::default(), asked: Notify::new() });
        let mut listening = JoinSet::new();
        listening.spawn({
            let desk = desk.clone();
            async move {
                let mut connections = JoinSet::new();
                while let Ok(connection) = listener.accept().await {
                    connections.spawn(desk.clone().serve(connection));
                }
            }
        });
        // It takes calls once it has asked for one.
        tokio::select! {
            () = desk.asked.notified() => {}
            exit = opening.io.exited() => return Err(StartError::new(format!("the function {exit} before it asked"))),
        }
        Ok(Arc::new(DialledSession { io: opening.io, desk, _listening: listening }))
    }
}

impl Desk {
    async fn serve(self: Arc<Self>, connection: Connection) {
        let service = service_fn(move |request| {
            let desk = self.clone();
            async move { Ok::<_, Infallible>(desk.answer(request).await) }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(connection), service)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if request.method() == Method::GET {
            let (question, call) = oneshot::channel();
            let came_back = {
                let mut state = self.state.lock();
                state.questions.push_back(question);
                state.answered.pop()
            };
            match came_back {
                Some(slot) => slot.free(),
                None => self.slots.announce(1),
            }
            self.asked.notify_one();
            let Ok((id, body)) = call.await else { return Response::new(Body::empty()) };
            return Response::builder().header("id", id.to_string()).body(Body::full(body)).unwrap();
        }
        let id = request.uri().path().trim_start_matches('/').to_owned();
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let call = self.state.lock().calls.remove(&id);
        let mut response = Response::new(Body::empty());
        if call.is_none_or(|call| call.send(body).is_err()) {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    }
}

#[async_trait]
impl Session for DialledSession {
    async fn call(&self, call: Call) -> Result<Response<Body>, CallError> {
        let body = call.request.into_body().collect(1 << 20).await.map_err(|_| broken())?;
        let (answer, answered) = oneshot::channel();
        let question = {
            let mut state = self.desk.state.lock();
            state.calls.insert(call.id.to_string(), answer);
            state.questions.pop_front()
        };
        question.and_then(|question| question.send((call.id, body)).ok()).ok_or_else(broken)?;
        tokio::select! {
            Ok(answer) = answered => {
                self.desk.state.lock().answered.push(call.slot);
                Ok(Response::new(Body::full(answer)))
            }
            exit = self.io.exited() => {
                call.slot.retire(Retire::Exited);
                Err(CallError::new(Outcome::FunctionError(FunctionFault::Crash), format!("the function {exit}")))
            }
        }
    }

    async fn close(&self, grace: Duration) {
        let _ = self.io.signal(Signal::Stop).await;
        let _ = tokio::time::timeout(grace, self.io.exited()).await;
    }
}

/// The toy function: asks, shouts back, asks again.
async fn shouter(socket: std::path::PathBuf) {
    let stream = loop {
        match UnixStream::connect(&socket).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    loop {
        let Ok(next) = sender.send_request(Request::get("/next").body(Body::empty()).unwrap()).await else {
            return;
        };
        let id = next.headers()["id"].to_str().unwrap().to_owned();
        let body = next.into_body().collect().await.unwrap().to_bytes();
        let shout = String::from_utf8(body.to_vec()).unwrap().to_uppercase();
        let post = Request::post(format!("/{id}")).body(Body::full(shout)).unwrap();
        assert_eq!(sender.send_request(post).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_contract_that_is_dialled_by_its_instance() {
    let directory = tempfile::tempdir().unwrap();
    let io = Toy::rooted(directory.path());
    let owner = Arc::new(Owner::default());
    let spec = spec("dialled", serde_json::json!({"socket": "/next.sock"}));
    let mut function = JoinSet::new();
    for _ in 0..2 {
        function.spawn(shouter(directory.path().join("next.sock")));
    }
    let session = Dialled.open(opening(io.clone(), owner.clone(), spec, &[])).await.unwrap();
    // Two questions are out: two slots, whatever the limits say.
    until("both slots", || owner.announced.load(Ordering::SeqCst) == 2).await;
    for round in 1..=3 {
        let call = |body: &'static str| {
            let slot = Slot::new(owner.clone());
            let call = Call { id: InvocationId::new(), slot, request: post(body) };
            let session = session.clone();
            async move { text(session.call(call).await.unwrap().into_body()).await }
        };
        let (first, second) = tokio::join!(call("one"), call("two"));
        assert_eq!((first.as_str(), second.as_str()), ("ONE", "TWO"));
        until("the slots", || owner.freed() == round * 2).await;
    }
    assert_eq!(owner.announced.load(Ordering::SeqCst), 2);
    session.close(SOON).await;
    assert_eq!(*io.signals.lock(), [Signal::Stop]);
}

// --- a socket file -----------------------------------------------------------------------------------

/// The instance makes a socket; a call is a `POST /call` to it.
struct SocketFile;

struct SocketFileSession {
    io: Arc<dyn InstanceIo>,
    socket: Endpoint,
}

#[async_trait]
impl Contract for SocketFile {
    fn name(&self) -> &'static str {
        "socket-file"
    }

    fn check(&self, _: &RevisionSpec) -> Result<(), Error> {
        Ok(())
    }

    async fn open(&self, opening: Opening) -> Result<Arc<dyn Session>, StartError> {
        let socket = place(&opening);
        while opening.io.connect(&socket).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        opening.slots.announce(1);
        Ok(Arc::new(SocketFileSession { io: opening.io, socket }))
    }
}

#[async_trait]
impl Session for SocketFileSession {
    async fn call(&self, call: Call) -> Result<Response<Body>, CallError> {
        let connection = match self.io.connect(&self.socket).await {
            Ok(connection) => connection,
            Err(_) => return Err(CallError { unsent: Some(Box::new(call.request)), ..broken() }),
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(connection)).await.map_err(|_| broken())?;
        let driving = tokio::spawn(connection);
        let request = Request::post("/call").header("fn-call-id", call.id.to_string());
        let request = request.body(call.request.into_body()).map_err(|_| broken())?;
        let answer = sender.send_request(request).await.map_err(|_| broken())?;
        let body = answer.into_body().collect().await.map_err(|_| broken())?.to_bytes();
        driving.abort();
        call.slot.free();
        Ok(Response::new(Body::full(body)))
    }

    async fn close(&self, _: Duration) {
        let _ = self.io.signal(Signal::Stop).await;
    }
}

#[tokio::test]
async fn a_contract_with_a_socket_file() {
    let directory = tempfile::tempdir().unwrap();
    let io = Toy::rooted(directory.path());
    let owner = Arc::new(Owner::default());
    let spec = spec("socket-file", serde_json::json!({"socket": "/call.sock"}));
    let start = opening(io.clone(), owner.clone(), spec, &[]);
    let function = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut listener = io.listen(&Endpoint::Socket(Path::new("/call.sock").into())).await.unwrap();
        tokio::spawn(async move {
            while let Ok(connection) = listener.accept().await {
                let answer = |request: Request<Incoming>| async move {
                    assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/call"));
                    assert!(request.headers().contains_key("fn-call-id"));
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    Ok::<_, Infallible>(Response::new(Body::full([b"got ".as_slice(), &body].concat())))
                };
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(connection), service_fn(answer))
                    .await;
            }
        });
    };
    let (session, ()) = tokio::join!(SocketFile.open(start), function);
    let call = Call { id: InvocationId::new(), slot: Slot::new(owner.clone()), request: post("it") };
    assert_eq!(text(session.unwrap().call(call).await.unwrap().into_body()).await, "got it");
    assert_eq!((owner.freed(), owner.retired()), (1, vec![]));
}
