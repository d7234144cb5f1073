//! One client's connection, and how long an answer on it may take. A client that stops reading is cut off: the
//! answer's body cannot see it, since nobody asks it for more.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, sleep, sleep_until},
};

/// Since when an answer is being given.
pub(crate) struct AnswerClock {
    opened: Instant,
    /// In milliseconds after that, and one; 0: none is.
    since: AtomicU64,
    /// All of it was written, and is yet to be sent.
    written: AtomicBool,
}

impl AnswerClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { opened: Instant::now(), since: AtomicU64::new(0), written: AtomicBool::new(false) })
    }

    /// A request's head is there.
    pub(crate) fn begin(&self) {
        let millis = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.written.store(false, Ordering::Relaxed);
        self.since.store(millis + 1, Ordering::Relaxed);
    }

    /// The answer's last byte is on its way.
    pub(crate) fn written(&self) {
        self.written.store(true, Ordering::Relaxed);
    }

    fn flushed(&self) {
        if self.written.swap(false, Ordering::Relaxed) {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    /// Returns when an answer has taken longer than `limit`.
    pub(crate) async fn overdue(&self, limit: Duration) {
        loop {
            match self.since.load(Ordering::Relaxed) {
                0 => sleep(limit).await,
                millis => {
                    let until = self.opened + Duration::from_millis(millis - 1) + limit;
                    if Instant::now() >= until {
                        return;
                    }
                    sleep_until(until).await;
                }
            }
        }
    }
}

/// The connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) clock: Arc<AnswerClock>,
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.clock.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
