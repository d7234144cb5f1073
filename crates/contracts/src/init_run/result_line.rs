//! Lines of a stream, each kept as far as it is wanted.

use super::answer::Said;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Reads lines from what a process writes.
pub(super) struct ResultLines {
    from: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    max_bytes: usize,
}

impl ResultLines {
    pub(super) fn new(from: Box<dyn AsyncRead + Send + Unpin>, max_bytes: usize) -> Self {
        Self { from, buffer: BytesMut::new(), max_bytes }
    }

    /// Throws away what came after the last line: it belongs to nothing.
    pub(super) fn forget(&mut self) {
        self.buffer.clear();
    }

    /// The next line, without its end; `None` where the stream ended before it did.
    pub(super) async fn next(&mut self) -> Option<Said> {
        let mut line = Line::default();
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                line.add(&self.buffer.split_to(end + 1)[..end], self.max_bytes);
                return Some(line.take());
            }
            line.add(&self.buffer, self.max_bytes);
            self.buffer.clear();
            if !matches!(self.from.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }
}

/// A line that grows.
#[derive(Default)]
pub(super) struct Line {
    kept: BytesMut,
    length: u64,
}

impl Line {
    pub(super) fn add(&mut self, bytes: &[u8], max_bytes: usize) {
        self.length += bytes.len() as u64;
        let room = max_bytes - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn take(&mut self) -> Said {
        let Self { kept, length } = std::mem::take(self);
        Said { bytes: kept.freeze(), length }
    }
}

/// Tells the last line of an output from those before it, which are handed on as they come.
pub(super) struct LastLine<F> {
    earlier: F,
    last: Option<Said>,
    line: Line,
    max_bytes: usize,
}

impl<F: FnMut(&[u8])> LastLine<F> {
    pub(super) fn new(max_bytes: usize, earlier: F) -> Self {
        Self { earlier, last: None, line: Line::default(), max_bytes }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.line.add(&bytes[..end], self.max_bytes);
            self.complete();
            bytes = &bytes[end + 1..];
        }
        self.line.add(bytes, self.max_bytes);
    }

    fn complete(&mut self) {
        if let Some(earlier) = self.last.replace(self.line.take()) {
            (self.earlier)(&earlier.bytes);
        }
    }

    /// The last line; it need not have an end.
    pub(super) fn end(mut self) -> Said {
        if !self.line.is_empty() {
            self.complete();
        }
        self.last.unwrap_or_else(|| Said { bytes: Bytes::new(), length: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn lines_end_where_they_end() {
        let from = std::io::Cursor::new(b"one\n\ntoo long\nrest".to_vec());
        let mut lines = ResultLines::new(Box::new(from), 5);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await {
            read.push((String::from_utf8(line.bytes.to_vec()).unwrap(), line.length));
        }
        assert_eq!(read, [("one".to_owned(), 3), (String::new(), 0), ("too l".to_owned(), 8)]);
    }

    #[tokio::test]
    async fn what_comes_after_a_line_can_be_forgotten() {
        let from = std::io::Cursor::new(b"one\nleft over".to_vec());
        let mut lines = ResultLines::new(Box::new(from), 100);
        assert_eq!(lines.next().await.unwrap().bytes, "one");
        lines.forget();
        assert!(lines.next().await.is_none());
    }

    proptest! {
        #[test]
        fn the_last_line_is_told_from_the_others(
            output in "[ab\n]{0,40}",
            cuts in prop::collection::vec(0usize..40, 0..6),
        ) {
            let mut earlier = Vec::new();
            let mut last = LastLine::new(100, |line: &[u8]| earlier.push(String::from_utf8(line.to_vec()).unwrap()));
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(output.len())).collect();
            cuts.sort_unstable();
            let mut from = 0;
            for cut in cuts.into_iter().chain([output.len()]) {
                last.feed(&output.as_bytes()[from..cut]);
                from = cut;
            }
            let last = last.end();
            let mut expected: Vec<String> = output.lines().map(str::to_owned).collect();
            let expected_last = expected.pop().unwrap_or_default();
            prop_assert_eq!(earlier, expected);
            prop_assert_eq!(last.bytes, expected_last);
        }
    }
}
