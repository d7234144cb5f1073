//! HTTPS.

use crate::support::{ask_http2, ask_on, http2, limited, options, rest, send, start};
use http::{Request, StatusCode};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use xebec_core::Body;
use xebec_gateway::{GatewayOptions, Limits, Tls};

/// Connects, trusting that certificate alone.
async fn connect(address: SocketAddr, name: &str, certificate: &Path, alpn: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

async fn both_protocols(address: SocketAddr, name: &str, certificate: &Path) {
    let mut stream = connect(address, name, certificate, &["http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = "POST /toy/echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(ask_on(&mut stream, request).await.body, "hi");

    let stream = connect(address, name, certificate, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = http2(stream).await;
    let request = Request::post(format!("https://{name}/toy/manage")).body(Body::empty()).unwrap();
    assert_eq!(ask_http2(&mut client, request).await, (StatusCode::OK, "Local".into()));
}

#[tokio::test]
async fn with_a_certificate_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Tls::SelfSigned { directory: directory.path().to_owned(), names: vec!["xebec.example".into()] };
    let own = GatewayOptions { tls: Some(tls), hosts: vec!["xebec.example".into()], ..options() };
    let certificate = directory.path().join("certificate.pem");
    let (first, _guard) = start(own.clone()).await;
    both_protocols(first.address, "localhost", &certificate).await;
    both_protocols(first.address, "127.0.0.1", &certificate).await;
    let before = std::fs::read(&certificate).unwrap();
    let (again, _guard) = start(own).await;
    both_protocols(again.address, "xebec.example", &certificate).await;
    assert_eq!(
        std::fs::read(&certificate).unwrap(),
        before,
        "clients that trust it need not learn a new one"
    );
}

#[tokio::test]
async fn with_a_given_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["given.example".to_owned()]).unwrap();
    let (certificate, key) = (directory.path().join("chain.pem"), directory.path().join("secret.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Tls::Files { certificate: certificate.clone(), key };
    let given = GatewayOptions { tls: Some(tls), hosts: vec!["given.example".into()], ..options() };
    let (server, _guard) = start(given).await;
    both_protocols(server.address, "given.example", &certificate).await;
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Tls::SelfSigned { directory: directory.path().to_owned(), names: vec![] };
    let (server, _guard) = start(GatewayOptions { tls: Some(tls), ..options() }).await;
    let heard = send(server.address, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!((heard.status, heard.code().as_str()), (400, "XB1021"));
    assert!(heard.body.contains("https://"), "{heard:?}");
}

#[tokio::test]
async fn handshakes_have_a_clock_and_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Some(Tls::SelfSigned { directory: directory.path().to_owned(), names: vec![] });
    let short = Limits { handshake_time: Duration::from_millis(200), ..Limits::default() };
    let (server, _guard) = start(GatewayOptions { tls: tls.clone(), ..limited(short) }).await;
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
    }
    // One that is under way does not hold up the end.
    let (server, _guard) = start(GatewayOptions { tls, ..options() }).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"\x16").await.unwrap();
    server.handle.drain();
    assert_eq!(crate::support::soon("it ends", server.served).await.unwrap().cut, 0);
}
