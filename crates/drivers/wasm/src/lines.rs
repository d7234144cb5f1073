//! What a guest prints, as lines.

use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError},
};
use xebec_core::{
    log::{LogStream, MAX_LINE_BYTES},
    ports::instance::Lines,
};

/// The most a guest may write at a time.
const WRITE_BYTES: usize = 64 * 1024;

/// One of a guest's output streams, cut into lines. Writing never waits: what is too much, the sink drops
/// and counts.
#[derive(Clone)]
pub(crate) struct LineStream(Arc<Mutex<Splitter>>);

impl LineStream {
    pub(crate) fn new(lines: Lines, stream: LogStream) -> Self {
        Self(Arc::new(Mutex::new(Splitter { lines, stream, partial: Vec::new(), overlong: false })))
    }
}

struct Splitter {
    lines: Lines,
    stream: LogStream,
    /// The line so far; at most [`MAX_LINE_BYTES`].
    partial: Vec<u8>,
    /// The line was too long: the rest of it is left out.
    overlong: bool,
}

impl Splitter {
    fn write(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.push(&bytes[..end]);
            self.finish();
            bytes = &bytes[end + 1..];
        }
        self.push(bytes);
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = MAX_LINE_BYTES - self.partial.len();
        if bytes.len() > room {
            self.overlong = true;
        }
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(&mut self) {
        let line = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
        let text = String::from_utf8_lossy(line);
        if self.overlong {
            self.lines.line(self.stream, &format!("{text}…"));
        } else {
            self.lines.line(self.stream, &text);
        }
        self.partial.clear();
        self.overlong = false;
    }
}

impl Drop for Splitter {
    /// A last line needs no end.
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            self.finish();
        }
    }
}

impl IsTerminal for LineStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl OutputStream for LineStream {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.0.lock().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(WRITE_BYTES)
    }
}

#[async_trait::async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LineStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.lock().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use xebec_core::ports::instance::LineSink;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl LineSink for Kept {
        fn line(&self, _: LogStream, text: &str) {
            self.0.lock().push(text.to_owned());
        }
    }

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let kept = Arc::new(Kept::default());
        let mut stream = LineStream::new(kept.clone(), LogStream::Stdout);
        for piece in pieces {
            stream.write(Bytes::copy_from_slice(piece)).unwrap();
        }
        drop(stream);
        let kept = kept.0.lock();
        kept.clone()
    }

    #[test]
    fn lines_come_whole_whatever_the_writes() {
        assert_eq!(split(&[b"one\ntw", b"o\r\n\nlast"]), ["one", "two", "", "last"]);
    }

    #[test]
    fn an_endless_line_is_cut_once() {
        let long = vec![b'x'; MAX_LINE_BYTES];
        let lines = split(&[&long, &long, b"\nnext\n"]);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), MAX_LINE_BYTES + '…'.len_utf8());
        assert_eq!(lines[1], "next");
    }

    proptest! {
        #[test]
        fn how_text_is_cut_into_writes_does_not_matter(text in "[a-z\n]{0,200}", cut in 0usize..200) {
            let cut = cut.min(text.len());
            let (left, right) = text.as_bytes().split_at(cut);
            prop_assert_eq!(split(&[left, right]), split(&[text.as_bytes()]));
        }
    }
}
