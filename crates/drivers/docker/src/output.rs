//! What a container prints, cut into lines on its way to the log.

use bollard::{
    Docker, container::LogOutput, errors::Error as DockerError,
    query_parameters::AttachContainerOptionsBuilder,
};
use futures_util::{Stream, StreamExt as _};
use std::{pin::Pin, time::Duration};
use tokio::time::{Instant, sleep};
use xebec_core::{
    log::{LogStream, MAX_LINE_BYTES},
    ports::instance::Lines,
};

/// A function that prints faster than this for long waits until it is read, so that it costs nobody else the
/// processor. A burst of as much passes at once.
const BYTES_PER_SECOND: u64 = 16 << 20;

/// What the engine sends of a container's streams.
pub(crate) type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, DockerError>> + Send>>;

/// Has the engine send what a container prints from now on.
pub(crate) async fn attach(docker: &Docker, container: &str) -> Result<Output, DockerError> {
    let what = AttachContainerOptionsBuilder::default().stdout(true).stderr(true).stream(true).build();
    Ok(docker.attach_container(container, Some(what)).await?.output)
}

/// Reads what a container prints to its end and hands on its lines.
pub(crate) async fn follow(mut output: Output, to: Lines) {
    let (mut out, mut err) = (Cutter::default(), Cutter::default());
    let mut pace = Pace::new();
    while let Some(Ok(chunk)) = output.next().await {
        let (cutter, stream, bytes) = match chunk {
            LogOutput::StdErr { message } => (&mut err, LogStream::Stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                (&mut out, LogStream::Stdout, message)
            }
            LogOutput::StdIn { .. } => continue,
        };
        cutter.feed(&bytes, |line| to.line(stream, line));
        pace.keep(bytes.len() as u64).await;
    }
    out.end(|line| to.line(LogStream::Stdout, line));
    err.end(|line| to.line(LogStream::Stderr, line));
}

/// Holds reading to a rate.
struct Pace {
    allowed: u64,
    since: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { allowed: BYTES_PER_SECOND, since: Instant::now() }
    }

    async fn keep(&mut self, bytes: u64) {
        while self.allowed < bytes {
            let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let earned = millis.saturating_mul(BYTES_PER_SECOND / 1000);
            self.allowed = self.allowed.saturating_add(earned).min(BYTES_PER_SECOND);
            self.since = Instant::now();
            if self.allowed < bytes {
                sleep(Duration::from_millis(50)).await;
            }
        }
        self.allowed -= bytes;
    }
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Cutter {
    line: Vec<u8>,
    /// The line at hand was longer than what is kept, and has been handed on.
    skipping: bool,
}

impl Cutter {
    fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.add(&bytes[..end], &mut take);
            self.finish(&mut take);
            bytes = &bytes[end + 1..];
        }
        self.add(bytes, &mut take);
    }

    fn add(&mut self, bytes: &[u8], take: &mut impl FnMut(&str)) {
        if self.skipping {
            return;
        }
        self.line.extend_from_slice(&bytes[..bytes.len().min(MAX_LINE_BYTES + 1 - self.line.len())]);
        if self.line.len() > MAX_LINE_BYTES {
            take(&format!("{}…", String::from_utf8_lossy(&self.line[..MAX_LINE_BYTES])));
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
    fn end(&mut self, mut take: impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.finish(&mut take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;
    use xebec_core::ports::instance::LineSink;

    #[derive(Default)]
    struct Kept(Mutex<Vec<(LogStream, String)>>);
    impl LineSink for Kept {
        fn line(&self, stream: LogStream, text: &str) {
            self.0.lock().push((stream, text.to_owned()));
        }
    }

    #[tokio::test]
    async fn streams_are_cut_each_for_itself() {
        let long = vec![b'y'; MAX_LINE_BYTES * 2];
        let out = |bytes: &[u8]| Ok(LogOutput::StdOut { message: bytes.to_vec().into() });
        let err = |bytes: &[u8]| Ok(LogOutput::StdErr { message: bytes.to_vec().into() });
        let chunks =
            vec![out(b"one\ntw"), err(b"oops"), out(b"o\r\n"), err(b"!\n"), out(&long), out(b"\nlast\xff")];
        let kept = Arc::new(Kept::default());
        follow(Box::pin(futures_util::stream::iter(chunks)), kept.clone()).await;
        let lines = kept.0.lock();
        let text: Vec<_> = lines.iter().map(|(stream, text)| (*stream, text.as_str())).collect();
        assert_eq!(
            text[..3],
            [(LogStream::Stdout, "one"), (LogStream::Stdout, "two"), (LogStream::Stderr, "oops!")]
        );
        assert!(text[3].1.ends_with('…') && text[3].1.len() == MAX_LINE_BYTES + '…'.len_utf8());
        assert_eq!((text[4].1, text.len()), ("last\u{fffd}", 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_slowed_down() {
        let (mut pace, began) = (Pace::new(), Instant::now());
        for _ in 0..BYTES_PER_SECOND * 4 / 4096 {
            pace.keep(4096).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(2900), "{:?}", began.elapsed());
    }
}
