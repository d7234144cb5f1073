//! A connection's bytes: counted on their way, and said goodbye to properly.

use crate::{
    refusal::Refusal,
    state::{ConnectionState, Place},
};
use bytes::Bytes;
use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// How long a connection that was refused is read on, so that its client sees the refusal.
const FAREWELL: Duration = Duration::from_secs(2);

/// Plain, or within TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! either {
    ($stream:expr, $method:ident $(, $argument:expr)*) => {
        match $stream {
            Stream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        either!(&mut *self, poll_read, cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        either!(&mut *self, poll_write, cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        either!(&mut *self, poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        either!(&mut *self, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        either!(&mut *self, poll_shutdown, cx)
    }
}

/// A stream under the eyes of its connection's state. Holds the connection's place in the register, since it
/// outlives the HTTP connection where that was upgraded.
pub(crate) struct Io {
    /// `None` only while it is dropped.
    open: Option<(Stream, Place)>,
    state: Arc<ConnectionState>,
    /// Said when it is dropped, in place of what the HTTP library wrote.
    refusal: Option<Refusal>,
}

impl Io {
    pub(crate) fn new(stream: Stream, state: Arc<ConnectionState>, place: Place) -> Self {
        Self { open: Some((stream, place)), state, refusal: None }
    }

    fn stream(&mut self) -> Result<Pin<&mut Stream>> {
        match &mut self.open {
            Some((stream, _)) => Ok(Pin::new(stream)),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// The HTTP library answers bytes that are no request with a bare status. Notices that, and keeps the
    /// same status with a sentence for the farewell.
    fn replaces(&mut self, written: &[u8]) -> bool {
        if self.refusal.is_none() && !self.state.is_answering() {
            self.refusal = bare_refusal(written);
        }
        self.refusal.is_some()
    }

    fn note_written(&self, result: &Poll<Result<usize>>) {
        self.state.set_blocked(result.is_pending());
        if let Poll::Ready(Ok(bytes)) = result {
            self.state.gave(*bytes);
        }
    }
}

/// The refusal that a bare answer of the HTTP library stands for.
fn bare_refusal(written: &[u8]) -> Option<Refusal> {
    let status = written.strip_prefix(b"HTTP/1.1 ").or_else(|| written.strip_prefix(b"HTTP/1.0 "))?;
    let refusal = match status.get(..3)? {
        b"400" => Refusal::MALFORMED,
        b"414" => Refusal::TARGET_TOO_LONG,
        b"431" => Refusal::HEAD_TOO_LARGE,
        _ => return None,
    };
    written.ends_with(b"\r\n\r\n").then_some(refusal)
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.state.is_late() {
            self.refusal = Some(Refusal::HEAD_TOO_SLOW);
            return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, Refusal::HEAD_TOO_SLOW.message)));
        }
        let before = buf.filled().len();
        ready!(self.stream()?.poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        if !fresh.is_empty() {
            self.state.took(fresh);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        if self.replaces(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = self.stream()?.poll_write(cx, buf);
        self.note_written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        if self.replaces(first) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let result = self.stream()?.poll_write_vectored(cx, bufs);
        self.note_written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.open.as_ref().is_some_and(|(stream, _)| stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        let result = self.stream()?.poll_flush(cx);
        self.state.set_blocked(result.is_pending());
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.stream()?.poll_shutdown(cx)
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        let Some((stream, place)) = self.open.take() else { return };
        if self.refusal.is_none() && !self.state.lingers() {
            return;
        }
        let last = self.refusal.map_or_else(Bytes::new, |refusal| refusal.raw());
        // Outside a runtime (it is shutting down) there is nobody left to say goodbye.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(farewell(stream, last, place));
        }
    }
}

/// Says `last`, closes our half, and reads on for a while: closing a socket with unread bytes in it would
/// make the kernel reset it, and the client would never see the answer.
pub(crate) async fn farewell(mut stream: Stream, last: Bytes, place: Place) {
    let said = async {
        stream.write_all(&last).await?;
        stream.shutdown().await?;
        let mut rest = vec![0; 16 * 1024];
        while stream.read(&mut rest).await? > 0 {}
        Result::Ok(())
    };
    // Whether it was heard changes nothing.
    let _ = tokio::time::timeout(FAREWELL, said).await;
    drop(place);
}
