//! The instance.

use async_trait::async_trait;
use bytes::Bytes;
use std::{
    io::{Cursor, Read as _},
    path::Path,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use xebec_core::{
    Body,
    ports::instance::{
        Child, ChildStreams, Command, Connection, Endpoint, Exit, InstanceId, InstanceIo, IoError, Listener,
        Signal,
    },
};

/// What an instance says.
pub struct Scripted {
    id: InstanceId,
    /// What comes on each connection, the last first.
    connections: Mutex<Vec<Vec<u8>>>,
    output: Vec<u8>,
    error: Vec<u8>,
    result: Vec<u8>,
    code: i32,
}

impl Scripted {
    /// One that answers on connections, in this order; then it is connected to no more.
    pub fn server(mut answers: Vec<Vec<u8>>) -> Self {
        answers.reverse();
        Self {
            id: InstanceId("scripted".into()),
            connections: Mutex::new(answers),
            output: Vec::new(),
            error: Vec::new(),
            result: Vec::new(),
            code: 0,
        }
    }

    /// One whose processes all write this, and end.
    pub fn program(output: Vec<u8>, error: Vec<u8>, result: Vec<u8>, code: i32) -> Self {
        Self { output, error, result, code, ..Self::server(Vec::new()) }
    }

    fn end(&self) -> Exit {
        Exit { code: Some(self.code), signal: None, out_of_memory: false }
    }
}

#[async_trait]
impl InstanceIo for Scripted {
    fn id(&self) -> &InstanceId {
        &self.id
    }

    async fn connect(&self, _: &Endpoint) -> Result<Connection, IoError> {
        let next = self.connections.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let answer = next.ok_or(IoError::Exited(self.end()))?;
        Ok(Box::new(Line { answer: Cursor::new(answer), asked: false, reader: None }))
    }

    async fn listen(&self, _: &Endpoint) -> Result<Box<dyn Listener>, IoError> {
        Err(IoError::Unsupported { driver: "scripted", what: "listen" })
    }

    async fn spawn(&self, command: Command) -> Result<Box<dyn Child>, IoError> {
        let stream = |bytes: &[u8]| Box::new(Cursor::new(bytes.to_vec()));
        let streams = ChildStreams {
            stdin: Box::new(tokio::io::sink()),
            stdout: stream(&self.output),
            stderr: (!command.combine_output).then(|| stream(&self.error) as _),
            result: command.result.then(|| stream(&self.result) as _),
        };
        Ok(Box::new(Ended { streams: Some(streams), exit: self.end() }))
    }

    fn take_stdio(&self) -> Option<Connection> {
        None
    }

    async fn request(&self, _: http::Request<Body>) -> Result<http::Response<Body>, IoError> {
        Err(IoError::Unsupported { driver: "scripted", what: "take requests in process" })
    }

    async fn write_file(&self, _: &Path, _: Bytes) -> Result<(), IoError> {
        Ok(())
    }

    async fn signal(&self, _: Signal) -> Result<(), IoError> {
        Ok(())
    }

    async fn exited(&self) -> Exit {
        std::future::pending().await
    }

    async fn destroy(&self) {}
}

/// A process that has ended before anyone asks.
struct Ended {
    streams: Option<ChildStreams>,
    exit: Exit,
}

#[async_trait]
impl Child for Ended {
    fn take_streams(&mut self) -> Option<ChildStreams> {
        self.streams.take()
    }

    async fn wait(&mut self) -> Exit {
        self.exit
    }

    fn kill(&mut self) {}
}

/// A connection that takes whatever is sent, and answers once something was.
struct Line {
    answer: Cursor<Vec<u8>>,
    asked: bool,
    reader: Option<Waker>,
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.asked {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let read = self.answer.read(to.initialize_unfilled())?;
        to.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.asked = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
