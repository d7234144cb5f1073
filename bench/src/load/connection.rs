//! One connection: sends a request, reads the answer, connects again when it was closed.

use super::target::Target;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

pub(crate) struct Connection<'a> {
    target: &'a Target,
    timeout: Duration,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    /// It says when to come again.
    pub(crate) later: bool,
    /// How long the function took, where the answer says so.
    pub(crate) seconds: Option<f64>,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(target: &'a Target, timeout: Duration) -> Self {
        Self { target, timeout, sender: None }
    }

    /// Connects ahead of the first call.
    pub(crate) async fn connect_now(&mut self) -> Result<(), String> {
        self.sender = Some(self.connect().await.map_err(|error| format!("cannot connect: {error}"))?);
        Ok(())
    }

    /// Calls once and reads the answer to its end.
    pub(crate) async fn call(&mut self) -> Result<Answer, String> {
        match tokio::time::timeout(self.timeout, self.exchange()).await {
            Ok(answer) => answer,
            Err(_) => {
                self.sender = None;
                Err("timed out".into())
            }
        }
    }

    async fn exchange(&mut self) -> Result<Answer, String> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.connect().await.map_err(|error| format!("cannot connect: {error}"))?,
        };
        if sender.ready().await.is_err() {
            sender = self.connect().await.map_err(|error| format!("cannot connect: {error}"))?;
        }
        let answer = sender.send_request(self.target.request()).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let later = answer.headers().contains_key(http::header::RETRY_AFTER);
        let seconds = answer.headers().get("x-duration-seconds");
        let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = answer.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        self.sender = Some(sender);
        Ok(Answer { status, bytes, later, seconds })
    }

    async fn connect(&self) -> std::io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.target.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        sender.ready().await.map_err(std::io::Error::other)?;
        Ok(sender)
    }
}
