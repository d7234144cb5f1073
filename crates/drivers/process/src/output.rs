//! What an instance prints, cut into lines on its way to the log.

use parking_lot::Mutex;
use std::{sync::OnceLock, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    task::JoinHandle,
    time::{Instant, sleep},
};
use xebec_core::{
    log::{LogStream, MAX_LINE_BYTES},
    ports::instance::{LineSink, Lines},
};

/// A function that prints faster than this for long waits for its pipe, so that it costs nobody else the
/// processor. A burst of as much passes at once.
const BYTES_PER_SECOND: u64 = 16 << 20;

/// Lines of a blank that are kept until it is known whose they are.
const EARLY_LINES: usize = 200;

/// Where lines go; for a blank that is settled later.
#[derive(Default)]
pub(crate) struct Sink {
    to: OnceLock<Lines>,
    early: Mutex<Vec<(LogStream, String)>>,
}

impl Sink {
    pub(crate) fn to(lines: Lines) -> Self {
        let sink = Self::default();
        sink.connect(lines);
        sink
    }

    /// Lets lines go to `lines` from now on, those that came already first.
    pub(crate) fn connect(&self, lines: Lines) {
        let mut early = self.early.lock();
        for (stream, text) in early.drain(..) {
            lines.line(stream, &text);
        }
        // Set while the lock is held: no line that comes now is missed or out of order.
        self.to.set(lines).ok();
    }

    /// What was printed before it was known for whom.
    pub(crate) fn early(&self) -> String {
        let early = self.early.lock();
        early.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

impl LineSink for Sink {
    fn line(&self, stream: LogStream, text: &str) {
        if let Some(lines) = self.to.get() {
            return lines.line(stream, text);
        }
        let mut early = self.early.lock();
        match self.to.get() {
            Some(lines) => lines.line(stream, text),
            None if early.len() < EARLY_LINES => early.push((stream, text.to_owned())),
            None => {}
        }
    }
}

/// Reads a stream to its end and hands on its lines.
pub(crate) fn follow(
    from: impl AsyncRead + Send + Unpin + 'static,
    stream: LogStream,
    to: std::sync::Arc<Sink>,
) -> JoinHandle<()> {
    tokio::spawn(async move { read(from, |line| to.line(stream, line)).await })
}

/// Reads a stream to its end, not faster than it may be.
pub(crate) async fn read(mut from: impl AsyncRead + Unpin, mut take: impl FnMut(&str)) {
    let mut cutter = Cutter::default();
    let mut buffer = vec![0; 16 * 1024];
    let (mut allowed, mut since) = (BYTES_PER_SECOND, Instant::now());
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        cutter.feed(&buffer[..read], &mut take);
        if allowed < read as u64 {
            let earned = (since.elapsed().as_millis() as u64).saturating_mul(BYTES_PER_SECOND / 1000);
            allowed = earned.min(BYTES_PER_SECOND);
            since = Instant::now();
            if allowed < BYTES_PER_SECOND / 10 {
                sleep(Duration::from_millis(100)).await;
            }
        }
        allowed = allowed.saturating_sub(read as u64);
    }
    cutter.end(&mut take);
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Cutter {
    line: Vec<u8>,
    /// The line at hand was longer than what is kept, and has been handed on.
    skipping: bool,
}

impl Cutter {
    fn feed(&mut self, mut bytes: &[u8], take: &mut impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.add(&bytes[..end], take);
            self.finish(take);
            bytes = &bytes[end + 1..];
        }
        self.add(bytes, take);
    }

    fn add(&mut self, bytes: &[u8], take: &mut impl FnMut(&str)) {
        if self.skipping {
            return;
        }
        self.line.extend_from_slice(&bytes[..bytes.len().min(MAX_LINE_BYTES + 1 - self.line.len())]);
        if self.line.len() > MAX_LINE_BYTES {
            let kept = String::from_utf8_lossy(&self.line[..MAX_LINE_BYTES]);
            take(&format!("{kept}…"));
            self.line.clear();
            self.skipping = true;
        }
    }

    fn finish(&mut self, take: &mut impl FnMut(&str)) {
        if !self.skipping {
            let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
            take(&String::from_utf8_lossy(line));
        }
        self.line.clear();
        self.skipping = false;
    }

    /// The last line may have no end.
    fn end(&mut self, take: &mut impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.finish(take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    async fn lines(parts: &[&[u8]]) -> Vec<String> {
        let (mut write, read_end) = tokio::io::duplex(7);
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        let writing = tokio::spawn(async move {
            for part in parts {
                tokio::io::AsyncWriteExt::write_all(&mut write, &part).await.unwrap();
            }
        });
        let mut lines = Vec::new();
        read(read_end, |line| lines.push(line.to_owned())).await;
        writing.await.unwrap();
        lines
    }

    #[tokio::test]
    async fn lines_are_cut_wherever_the_bytes_break() {
        assert_eq!(lines(&[b"one\ntwo\r\n\nthr", b"ee\nrest"]).await, ["one", "two", "", "three", "rest"]);
        assert_eq!(lines(&[b"\xff\xc3\xa4\n"]).await, ["\u{fffd}ä"]);
        assert!(lines(&[b""]).await.is_empty());
    }

    #[tokio::test]
    async fn long_lines_are_cut_and_what_follows_is_whole() {
        let exact = vec![b'x'; MAX_LINE_BYTES];
        let long = vec![b'y'; MAX_LINE_BYTES * 3];
        let lines = lines(&[&exact, b"\n", &long, b"\nnext\n", &long]).await;
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0].len(), MAX_LINE_BYTES);
        assert!(lines[1].ends_with('…') && lines[1].len() == MAX_LINE_BYTES + '…'.len_utf8());
        assert_eq!(lines[2], "next");
        assert!(lines[3].ends_with('…'));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_slowed_down() {
        let began = Instant::now();
        let total = BYTES_PER_SECOND * 4;
        let flood = tokio::io::AsyncReadExt::take(tokio::io::repeat(b'\n'), total);
        let mut count = 0_u64;
        read(flood, |_| count += 1).await;
        assert_eq!(count, total);
        assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[test]
    fn early_lines_come_first() {
        #[derive(Default)]
        struct Kept(Mutex<Vec<String>>);
        impl LineSink for Kept {
            fn line(&self, _: LogStream, text: &str) {
                self.0.lock().push(text.to_owned());
            }
        }
        let (sink, kept) = (Sink::default(), Arc::new(Kept::default()));
        sink.line(LogStream::Stdout, "early");
        assert_eq!(sink.early(), "early");
        sink.connect(kept.clone());
        sink.line(LogStream::Stdout, "late");
        assert_eq!(*kept.0.lock(), ["early", "late"]);
    }
}
