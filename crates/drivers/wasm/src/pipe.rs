//! Bounded pipes between a guest and the host: a command's standard streams.
//!
//! What a guest writes is in the pipe when its call returns: nothing is lost when it ends right afterwards.

use bytes::{Buf as _, Bytes, BytesMut};
use parking_lot::Mutex;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::{
    cli::{IsTerminal, StdinStream, StdoutStream},
    p2::{InputStream, OutputStream, Pollable, StreamError},
};

/// Bytes that wait in a pipe; the writer waits beyond that.
const CAPACITY: usize = 64 * 1024;

/// A pipe's two ends. Each end closes when its last copy is dropped.
pub(crate) fn pipe() -> (Writer, Reader) {
    let shared = Arc::new(Shared(Mutex::new(State::default())));
    (Writer(Arc::new(WriterEnd(shared.clone()))), Reader(Arc::new(ReaderEnd(shared))))
}

/// The end that is written to. Copies write to the same pipe.
#[derive(Clone)]
pub(crate) struct Writer(Arc<WriterEnd>);

/// The end that is read from.
#[derive(Clone)]
pub(crate) struct Reader(Arc<ReaderEnd>);

struct WriterEnd(Arc<Shared>);
struct ReaderEnd(Arc<Shared>);
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    bytes: BytesMut,
    /// Nobody writes any more.
    ended: bool,
    /// Nobody reads any more.
    unread: bool,
    reading: Option<Waker>,
    writing: Option<Waker>,
}

impl State {
    fn room(&self) -> usize {
        CAPACITY - self.bytes.len().min(CAPACITY)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        wake(&mut self.reading);
    }

    fn took(&mut self) {
        wake(&mut self.writing);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Drop for WriterEnd {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.ended = true;
        wake(&mut state.reading);
    }
}

impl Drop for ReaderEnd {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.unread = true;
        state.bytes.clear();
        wake(&mut state.writing);
    }
}

impl Writer {
    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.0.0.0.lock()
    }

    fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.unread || state.room() > 0 {
            return Poll::Ready(());
        }
        state.writing = Some(context.waker().clone());
        Poll::Pending
    }

    /// Writes as much as fits, without waiting: for the last words of a guest that ended.
    pub(crate) fn write_now(&self, text: &str) {
        let mut state = self.state();
        if !state.unread {
            let fits = text.len().min(state.room());
            state.put(&text.as_bytes()[..fits]);
        }
    }
}

impl Reader {
    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.0.0.0.lock()
    }

    fn poll_bytes(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.ended || !state.bytes.is_empty() {
            return Poll::Ready(());
        }
        state.reading = Some(context.waker().clone());
        Poll::Pending
    }
}

// The host's side.

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.poll_room(context).is_pending() {
            return Poll::Pending;
        }
        let mut state = self.state();
        if state.unread {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let fits = bytes.len().min(state.room());
        state.put(&bytes[..fits]);
        Poll::Ready(Ok(fits))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        state.ended = true;
        wake(&mut state.reading);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_bytes(context).is_pending() {
            return Poll::Pending;
        }
        let mut state = self.state();
        let length = state.bytes.len().min(into.remaining());
        into.put_slice(&state.bytes[..length]);
        state.bytes.advance(length);
        state.took();
        Poll::Ready(Ok(()))
    }
}

// The guest's side.

#[async_trait::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let mut state = self.state();
        if state.unread {
            return Err(StreamError::Closed);
        }
        if bytes.len() > state.room() {
            return Err(StreamError::trap("wrote more than it was allowed to"));
        }
        state.put(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        if self.state().unread { Err(StreamError::Closed) } else { Ok(()) }
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        let state = self.state();
        if state.unread { Err(StreamError::Closed) } else { Ok(state.room()) }
    }
}

#[async_trait::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll_room(context)).await;
    }
}

#[async_trait::async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> Result<Bytes, StreamError> {
        let mut state = self.state();
        if state.bytes.is_empty() && state.ended {
            return Err(StreamError::Closed);
        }
        let length = state.bytes.len().min(size);
        let bytes = state.bytes.split_to(length).freeze();
        state.took();
        Ok(bytes)
    }
}

#[async_trait::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll_bytes(context)).await;
    }
}

impl IsTerminal for Writer {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Writer {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl IsTerminal for Reader {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Reader {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn bytes_arrive_in_order_and_the_end_is_seen() {
        let (mut writer, mut reader) = pipe();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move { writer.write_all(&sent).await });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
        sending.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_writer_learns_that_nobody_reads() {
        let (mut writer, reader) = pipe();
        assert_eq!(OutputStream::check_write(&mut writer).unwrap(), CAPACITY);
        drop(reader);
        assert!(matches!(OutputStream::check_write(&mut writer), Err(StreamError::Closed)));
        assert_eq!(writer.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn what_was_written_before_the_end_is_read() {
        let (mut writer, mut reader) = pipe();
        OutputStream::write(&mut writer, Bytes::from_static(b"last words")).unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last words");
    }
}
