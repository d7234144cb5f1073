//! A toy door, a store in memory, a running gateway, and clients that speak bytes.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{Request, Response, StatusCode, header, request::Parts};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    task::JoinHandle,
};
use xebec_core::{
    Body, Error,
    auth::{Access, Principal},
    document::{Document, DocumentKey, Expect, List, ListQuery, WatchEvent, Write},
    ports::{
        door::{Door, Peer},
        store::Store,
    },
};
use xebec_gateway::{Gateway, GatewayOptions, GatewayParts, Handle, KeyRing, Limits, Readiness, Served};

/// The longest that anything in a test may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    soon(what, async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Documents in memory.
#[derive(Default)]
pub(crate) struct Memory {
    documents: Mutex<BTreeMap<DocumentKey, Document>>,
    pub(crate) full: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, Error> {
        Ok(self.documents.lock().unwrap().get(key).cloned())
    }

    async fn list(&self, query: &ListQuery) -> Result<List, Error> {
        let documents = self.documents.lock().unwrap();
        let matching = documents.values().filter(|d| d.kind == query.kind);
        Ok(List { documents: matching.cloned().collect(), version: 0, more: false })
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Option<Document>>, Error> {
        if self.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::new(xebec_core::ErrorKind::Unavailable, "XB4002", "the storage is full"));
        }
        let mut documents = self.documents.lock().unwrap();
        let mut written = Vec::new();
        for write in writes {
            match write {
                Write::Put(document, expect) => {
                    if expect == Expect::Absent && documents.contains_key(&document.key()) {
                        return Err(Error::new(xebec_core::ErrorKind::Conflict, "XB4001", "it is there"));
                    }
                    documents.insert(document.key(), document.clone());
                    written.push(Some(document));
                }
                Write::Delete(key, _) => written.push(documents.remove(&key)),
            }
        }
        Ok(written)
    }

    async fn watch(
        &self,
        _kind: Option<String>,
        _version: u64,
    ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
        Err(Error::internal("XB4003", "not in these tests"))
    }

    async fn backup(&self, _file: &Path) -> Result<(), Error> {
        Err(Error::internal("XB4003", "not in these tests"))
    }
}

/// A door that does what its path says.
pub(crate) struct Toy {
    /// `/toy/gate` waits for a permit.
    pub(crate) gate: Semaphore,
    /// How many came to the gate.
    pub(crate) waiting: std::sync::atomic::AtomicUsize,
    /// How many left it without an answer.
    pub(crate) given_up: Arc<std::sync::atomic::AtomicUsize>,
}

#[async_trait]
impl Door for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn claims(&self) -> &[&'static str] {
        &["/toy/", "/toy/exact"]
    }

    fn access(&self, request: &Parts) -> Access {
        match request.uri.path() {
            path if path.starts_with("/toy/manage") => Access::Management,
            path if path.starts_with("/toy/open") => Access::Open,
            _ => Access::Invocation,
        }
    }

    fn refuse(&self, error: &Error) -> Response<Body> {
        let mut response = Response::new(Body::full(format!("toy refuses: {} {error}", error.code)));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response
    }

    async fn handle(&self, mut request: Request<Body>) -> Response<Body> {
        use std::sync::atomic::Ordering::Relaxed;
        match request.uri().path() {
            "/toy/echo" => match request.into_body().collect(u64::MAX).await {
                Ok(bytes) => Response::new(Body::full(bytes)),
                Err(error) => {
                    let mut response = Response::new(Body::full(format!("toy says: {error}")));
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    response
                }
            },
            "/toy/stream" => Response::new(request.into_body()),
            "/toy/headers" => {
                let mut text = String::new();
                for (name, value) in request.headers() {
                    text += &format!("{name}: {}\n", value.to_str().unwrap_or("?"));
                }
                text += &format!("peer {}\n", request.extensions().get::<Peer>().unwrap().0);
                Response::new(Body::full(text))
            }
            "/toy/gate" => {
                struct GivenUp(Option<Arc<std::sync::atomic::AtomicUsize>>);
                impl Drop for GivenUp {
                    fn drop(&mut self) {
                        if let Some(count) = &self.0 {
                            count.fetch_add(1, Relaxed);
                        }
                    }
                }
                let mut given_up = GivenUp(Some(self.given_up.clone()));
                self.waiting.fetch_add(1, Relaxed);
                self.gate.acquire().await.unwrap().forget();
                given_up.0 = None;
                Response::new(Body::full("through the gate"))
            }
            "/toy/upgrade" => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut io = TokioIo::new(upgrade.await.unwrap());
                    let mut buffer = [0; 1024];
                    while let Ok(read @ 1..) = io.read(&mut buffer).await {
                        if io.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                });
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
                response.headers_mut().insert(header::UPGRADE, "toy".parse().unwrap());
                response
            }
            "/toy/unread" => {
                let mut response = Response::new(Body::full("not interested"));
                *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                response
            }
            "/toy/flood" => Response::new(Body::stream(Flood)),
            "/toy/empty-400" => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response
            }
            "/toy/panic" => panic!("the toy door was asked to panic"),
            _ => {
                let who = match request.extensions().get::<Principal>() {
                    Some(Principal::Key { id, role, .. }) => format!("key {id} {role:?}"),
                    Some(other) => format!("{other:?}"),
                    None => "nobody was named".to_owned(),
                };
                Response::new(Body::full(who))
            }
        }
    }

    fn metrics(&self, out: &mut String) {
        out.push_str("toy_series 1\n");
    }

    fn greeting(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::from_iter([("toy".to_owned(), "hello".into())])
    }
}

/// A body without end.
struct Flood;

impl http_body::Body for Flood {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(&[b'x'; 16 * 1024])))))
    }
}

/// A gateway that serves. Dropping it ends it.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) handle: Handle,
    pub(crate) readiness: Readiness,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) toy: Arc<Toy>,
    pub(crate) stop: tokio::sync::oneshot::Sender<()>,
    pub(crate) served: JoinHandle<Served>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.now();
    }
}

/// Ends a gateway when a test is over.
pub(crate) struct Guard(Handle);

pub(crate) const TOKEN: &str = "xbk_installation_0123456789abcdef";

/// Options for a test: any port, short clocks where a test says so.
pub(crate) fn options() -> GatewayOptions {
    GatewayOptions { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], ..GatewayOptions::default() }
}

/// Options with these limits.
pub(crate) fn limited(limits: Limits) -> GatewayOptions {
    GatewayOptions { limits, ..options() }
}

pub(crate) fn toy() -> Arc<Toy> {
    Arc::new(Toy { gate: Semaphore::new(0), waiting: Default::default(), given_up: Default::default() })
}

pub(crate) async fn keys() -> Arc<KeyRing> {
    Arc::new(KeyRing::load(Arc::new(Memory::default())).await.unwrap().with_installation_token(TOKEN))
}

pub(crate) fn parts(toy: Arc<Toy>, keys: Arc<KeyRing>, options: GatewayOptions) -> GatewayParts {
    let engine = Arc::new(|out: &mut String| out.push_str("engine_series 1\n"));
    GatewayParts { doors: vec![toy], keys, metrics: vec![engine], options }
}

pub(crate) async fn start(options: GatewayOptions) -> (Running, Guard) {
    start_with(options, keys().await).await
}

pub(crate) async fn start_with(options: GatewayOptions, keys: Arc<KeyRing>) -> (Running, Guard) {
    let toy = toy();
    let gateway = Gateway::new(parts(toy.clone(), keys.clone(), options)).unwrap();
    let readiness = gateway.readiness();
    let bound = gateway.bind().await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (addresses, handle) = (bound.addresses(), bound.handle());
    let served = tokio::spawn(bound.serve(async {
        // A test that drops its half ends the gateway by the handle.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    }));
    let guard = Guard(handle.clone());
    (Running { address: addresses[0], addresses, handle, readiness, keys, toy, stop, served }, guard)
}

/// An answer as text, taken apart.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Heard {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// The code of a refusal, having checked that it comes with a sentence.
    pub(crate) fn code(&self) -> String {
        let object: serde_json::Value =
            serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: no JSON object in {self:?}"));
        assert!(object["message"].as_str().is_some_and(|m| m.len() > 10), "{self:?}");
        assert!(object["hint"].as_str().is_none_or(|h| h.len() > 5), "{self:?}");
        object["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends bytes and reads until the server closes.
pub(crate) async fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Heard {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may have answered and stopped reading before all was sent.
    let _ = stream.write_all(bytes.as_ref()).await;
    Heard::of(&rest(&mut stream).await)
}

/// Reads until the other side closes.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let read = soon("the server closes", stream.read_to_end(&mut text)).await;
    if let Err(error) = read {
        panic!("after {:?}: {error}", String::from_utf8_lossy(&text));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// One request of its own connection.
pub(crate) async fn ask(address: SocketAddr, line: &str, headers: &[(&str, &str)]) -> Heard {
    let mut text = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        text += &format!("host: {address}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    send(address, text + "\r\n").await
}

/// Sends a request on an open connection and reads its answer, whose length must be given.
pub(crate) async fn ask_on(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> Heard {
    stream.write_all(request.as_bytes()).await.unwrap();
    answer_on(stream).await
}

/// Reads one answer from an open connection.
pub(crate) async fn answer_on(stream: &mut (impl AsyncRead + Unpin)) -> Heard {
    let mut text = Vec::new();
    soon("an answer", async {
        loop {
            let so_far = String::from_utf8_lossy(&text).into_owned();
            if let Some((head, body)) = so_far.split_once("\r\n\r\n") {
                let length = head.to_lowercase().lines().find_map(|line| {
                    line.strip_prefix("content-length: ").map(|n| n.trim().parse::<usize>().unwrap())
                });
                if body.len() >= length.unwrap_or(0) {
                    return Heard::of(&so_far);
                }
            }
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "closed after {so_far:?}");
            text.push(byte[0]);
        }
    })
    .await
}

pub(crate) type Http2 = hyper::client::conn::http2::SendRequest<Body>;

/// HTTP/2 with prior knowledge.
pub(crate) async fn http2<I: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: I) -> Http2 {
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

/// An HTTP/2 answer, whole.
pub(crate) async fn ask_http2(client: &mut Http2, request: Request<Body>) -> (StatusCode, String) {
    let response = soon("an answer", client.send_request(request)).await.unwrap();
    let status = response.status();
    let bytes = soon("its body", response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}
