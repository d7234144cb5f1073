//! The server's own API, as far as measuring needs it.

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// One connection to it.
pub(crate) struct Api {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Api {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    /// Calls it; anything but a 2xx is an error.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes, String> {
        let fault = |error: hyper::Error| format!("{path}: {error}");
        self.sender.ready().await.map_err(fault)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let answer = self.sender.send_request(request).await.map_err(fault)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(fault)?.to_bytes();
        if status.is_success() {
            Ok(body)
        } else {
            Err(format!("{path} answered {status}: {}", String::from_utf8_lossy(&body)))
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Value, String> {
        let body = self.call(Method::GET, path, Bytes::new()).await?;
        serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}"))
    }

    pub(crate) async fn send(&mut self, method: Method, path: &str, body: &Value) -> Result<Bytes, String> {
        self.call(method, path, body.to_string().into()).await
    }
}
