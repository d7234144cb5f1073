//! Cutting a stream into lines for the log.

use bytes::{Buf, BytesMut};
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;
use xebec_core::{log::LogStream, ports::instance::Lines};

const READ_BYTES: usize = 4 * 1024;

/// Reads a stream and hands on its lines. Holds no more than one line.
pub struct LineReader {
    from: Option<Box<dyn AsyncRead + Send + Unpin>>,
    to: Lines,
    stream: LogStream,
    buffer: BytesMut,
    max_line_bytes: usize,
    /// The rest of the line at hand is beyond what is kept.
    skipping: bool,
}

impl LineReader {
    /// Lines that are longer than `max_line_bytes` are cut there.
    pub fn new(
        from: Box<dyn AsyncRead + Send + Unpin>,
        to: Lines,
        stream: LogStream,
        max_line_bytes: usize,
    ) -> Self {
        Self { from: Some(from), to, stream, buffer: BytesMut::new(), max_line_bytes, skipping: false }
    }

    /// Hands on everything until the stream has ended.
    pub async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// Hands on what is there; ready when the stream has ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(from) = &mut self.from {
            self.buffer.reserve(READ_BYTES);
            let read = ready!(poll_read_buf(Pin::new(from), cx, &mut self.buffer));
            self.cut();
            if !matches!(read, Ok(1..)) {
                self.from = None;
                if !self.buffer.is_empty() && !self.skipping {
                    self.emit(self.buffer.len());
                }
            }
        }
        Poll::Ready(())
    }

    fn cut(&mut self) {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            if !self.skipping {
                self.emit(end);
            }
            self.skipping = false;
            self.buffer.advance(end + 1);
        }
        if self.buffer.len() > self.max_line_bytes {
            if !self.skipping {
                self.emit(self.buffer.len());
            }
            self.skipping = true;
            self.buffer.clear();
        }
    }

    fn emit(&self, length: usize) {
        hand_on(&self.to, self.stream, &self.buffer[..length], self.max_line_bytes);
    }
}

/// Hands on one line, cut where it is too long.
pub(crate) fn hand_on(to: &Lines, stream: LogStream, line: &[u8], max_line_bytes: usize) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > max_line_bytes {
        let kept = String::from_utf8_lossy(&line[..max_line_bytes]);
        to.line(stream, &format!("{kept}…"));
    } else {
        to.line(stream, &String::from_utf8_lossy(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;
    use xebec_core::log::MAX_LINE_BYTES;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);
    impl xebec_core::ports::instance::LineSink for Kept {
        fn line(&self, _: LogStream, text: &str) {
            self.0.lock().push(text.to_owned());
        }
    }

    async fn lines(bytes: Vec<u8>) -> Vec<String> {
        let kept = Arc::new(Kept::default());
        let from = Box::new(std::io::Cursor::new(bytes));
        LineReader::new(from, kept.clone(), LogStream::Stderr, MAX_LINE_BYTES).run().await;
        std::mem::take(&mut *kept.0.lock())
    }

    #[tokio::test]
    async fn splits_keeps_the_last_and_cuts_the_long() {
        assert_eq!(lines(b"a\r\n\nb".to_vec()).await, ["a", "", "b"]);
        let mut flood = vec![b'x'; 3 * MAX_LINE_BYTES];
        flood.extend_from_slice(b"\nnext\n");
        let got = lines(flood).await;
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].len(), MAX_LINE_BYTES + '…'.len_utf8());
        assert!(got[0].ends_with('…'));
        assert_eq!(got[1], "next");
        assert_eq!(lines(b"\xff\n".to_vec()).await, ["\u{fffd}"]);
    }
}
