//! Requests that guests send: none, unless their environment allows it, and then to anywhere but this host.

use http::uri::Scheme;
use http_body_util::BodyExt as _;
use std::{
    future::Future,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, io::TokioIo};
use xebec_core::{log::LogStream, ports::instance::Lines};

/// Bytes of an answer that a guest may write at a time, and writes that wait for the host: together they
/// bound what the host holds for a guest whose client reads slowly.
const WRITE_BYTES: usize = 64 * 1024;
const WAITING_WRITES: usize = 16;

/// Until a connection stands, and until an answer begins, where the guest sets no times of its own.
const CONNECT: Duration = Duration::from_secs(10);
const FIRST_BYTE: Duration = Duration::from_secs(60);

/// What a guest may send where.
pub(crate) struct Outgoing {
    pub(crate) allowed: bool,
    pub(crate) lines: Lines,
}

/// An answer, and the connection that must be driven for its body to arrive.
type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        if self.allowed {
            return Box::new(send(request, options.unwrap_or_default()));
        }
        self.lines.line(
            LogStream::Platform,
            "a request was not sent: the environment does not let functions send any (its contract's option \
             `network` is not set)",
        );
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        WAITING_WRITES
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        WRITE_BYTES
    }
}

async fn send(request: http::Request<WasiBody>, options: RequestOptions) -> Result<Sent, Error> {
    let secure = request.uri().scheme() == Some(&Scheme::HTTPS);
    let host = request.uri().host().ok_or(Error::HttpRequestUriInvalid)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = request.uri().port_u16().unwrap_or(if secure { 443 } else { 80 });
    let connecting = async {
        let stream = dial(&host, port).await?;
        if !secure {
            return Ok::<Box<dyn Stream>, Error>(Box::new(stream));
        }
        let name = rustls::pki_types::ServerName::try_from(host).map_err(|_| Error::HttpRequestUriInvalid)?;
        let stream = TlsConnector::from(tls()?).connect(name, stream).await.map_err(Error::Tls)?;
        Ok(Box::new(stream))
    };
    let stream = timeout(options.connect_timeout.unwrap_or(CONNECT), connecting)
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    exchange(stream, request, options.first_byte_timeout.unwrap_or(FIRST_BYTE)).await
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the first address of `host` that is reachable and not this host's own.
async fn dial(host: &str, port: u16) -> Result<TcpStream, Error> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port))
        .await
        .map_err(|error| Error::DnsError { rcode: Some(error.to_string()), info_code: None })?
        .collect();
    let mut last =
        if addresses.is_empty() { Error::DestinationNotFound } else { Error::DestinationIpProhibited };
    for address in addresses.into_iter().filter(|address| !is_ours(address.ip())) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Error::Connect(error),
        }
    }
    Err(last)
}

/// Whether an address is this host's own, or one that only reaches its surroundings (link-local: where
/// clouds hand out credentials). Functions must not get at what listens there, management above all.
fn is_ours(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    local
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        // The kernel lets us bind to our own addresses and to no others.
        || UdpSocket::bind((address, 0)).is_ok()
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    mut request: http::Request<WasiBody>,
    first_byte: Duration,
) -> Result<Sent, Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Dropped with the answer, it ends the connection.
    let connection = wasmtime_wasi::runtime::spawn(connection);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let answer = timeout(first_byte, sender.send_request(request))
        .await
        .map_err(|_| Error::ConnectionReadTimeout)??;
    let answer = answer.map(|body| body.map_err(Error::from).boxed_unsync());
    Ok((answer, Box::new(async { connection.await.map_err(Error::from) })))
}

/// TLS as this machine trusts it.
fn tls() -> Result<Arc<rustls::ClientConfig>, Error> {
    use rustls_platform_verifier::BuilderVerifierExt as _;
    static CONFIG: OnceLock<Result<Arc<rustls::ClientConfig>, String>> = OnceLock::new();
    let made = CONFIG.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let builder = builder.with_platform_verifier().map_err(|error| error.to_string())?;
        Ok(Arc::new(builder.with_no_client_auth()))
    });
    made.clone().map_err(|error| Error::InternalError(Some(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;
    use parking_lot::Mutex;
    use std::pin::Pin;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use xebec_core::ports::instance::LineSink;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl LineSink for Kept {
        fn line(&self, _: LogStream, text: &str) {
            self.0.lock().push(text.to_owned());
        }
    }

    fn request(uri: &str) -> http::Request<WasiBody> {
        let body = Full::new(Bytes::from_static(b"ahoy")).map_err(|never| match never {}).boxed_unsync();
        http::Request::post(uri).body(body).unwrap()
    }

    async fn sent(allowed: bool, uri: &str) -> Result<(), Error> {
        let mut outgoing = Outgoing { allowed, lines: Arc::new(Kept::default()) };
        let sending = outgoing.send_request(request(uri), None, Box::new(async { Ok(()) }));
        Pin::from(sending).await.map(drop)
    }

    #[tokio::test]
    async fn nothing_is_sent_unless_it_is_allowed_and_the_log_says_why() {
        let lines = Arc::new(Kept::default());
        let mut outgoing = Outgoing { allowed: false, lines: lines.clone() };
        let sending = outgoing.send_request(request("http://192.0.2.1/"), None, Box::new(async { Ok(()) }));
        assert!(matches!(Pin::from(sending).await, Err(Error::HttpRequestDenied)));
        assert!(lines.0.lock()[0].contains("`network`"));
    }

    #[tokio::test]
    async fn this_host_is_out_of_reach() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254"] {
            let error = sent(true, &format!("http://{host}:{port}/")).await.unwrap_err();
            assert!(matches!(error, Error::DestinationIpProhibited), "{host}: {error}");
        }
    }

    #[test]
    fn other_hosts_are_not_ours() {
        for address in ["192.0.2.1", "2001:db8::1"] {
            assert!(!is_ours(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn a_request_goes_out_and_its_answer_comes_back() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let server = tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"ahoy") {
                head.push(theirs.read_u8().await.unwrap());
            }
            theirs.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
            String::from_utf8(head).unwrap()
        });
        let uri = "http://example.com/path?a=b";
        let (answer, connection) = exchange(ours, request(uri), FIRST_BYTE).await.unwrap();
        let driving = tokio::spawn(Pin::from(connection));
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hi");
        assert!(server.await.unwrap().starts_with("POST /path?a=b HTTP/1.1\r\n"));
        driving.await.unwrap().unwrap();
    }
}
