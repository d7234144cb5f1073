//! Lines on the standard streams, as the watchdogs write them: `2026/11/22 06:14:40 stdout: …`.

use http::{HeaderMap, Method, StatusCode, Uri};
use jiff::Timestamp;
use std::{
    fmt::{self, Write as _},
    time::Duration,
};
use xebec_core::{log::LogStream, ports::instance::LineSink};

/// A line of the shim's own.
pub(crate) fn own(line: fmt::Arguments<'_>) {
    write(&mut std::io::stderr().lock(), format!("{} {line}\n", now()));
}

/// Where lines of the function go.
pub(crate) struct FunctionLines {
    /// With the time and the stream's name.
    pub(crate) prefix: bool,
}

impl LineSink for FunctionLines {
    fn line(&self, stream: LogStream, text: &str) {
        let name = match stream {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
            LogStream::Platform => return own(format_args!("{text}")),
        };
        let line = if self.prefix { format!("{} {name}: {text}\n", now()) } else { format!("{text}\n") };
        match stream {
            LogStream::Stdout => write(&mut std::io::stdout().lock(), line),
            _ => write(&mut std::io::stderr().lock(), line),
        }
    }
}

/// One call, when its answer has ended.
pub(crate) struct CallLine<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) status: StatusCode,
    pub(crate) bytes: u64,
    pub(crate) taken: Duration,
    /// `X-Call-Id`, where it is to be logged; empty: it had none.
    pub(crate) call_id: Option<&'a str>,
}

impl CallLine<'_> {
    pub(crate) fn write(&self) {
        let mut line = String::with_capacity(128);
        let _ = write!(
            line,
            "{} {} - {} - ContentLength: {} ({:.4}s)",
            self.method,
            self.uri.path_and_query().map_or("/", |path| path.as_str()),
            self.status,
            Size(self.bytes),
            self.taken.as_secs_f64(),
        );
        if let Some(id) = self.call_id {
            let _ = write!(line, " [{}]", if id.is_empty() { "none" } else { id });
        }
        own(format_args!("{line}"));
    }
}

/// Headers, one a line.
pub(crate) fn headers(direction: &str, headers: &HeaderMap) {
    for (name, value) in headers {
        own(format_args!("[{direction}] {name}={}", String::from_utf8_lossy(value.as_bytes())));
    }
}

/// A number of bytes for people: `5B`, `1.234kB`.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut size = self.0 as f64;
        let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        while size >= 1000.0
            && let Some(next) = units.next()
        {
            size /= 1000.0;
            unit = next;
        }
        let rounded = format!("{size:.3}");
        write!(f, "{}{unit}", rounded.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn now() -> impl fmt::Display {
    Timestamp::now().strftime("%Y/%m/%d %H:%M:%S").to_string()
}

/// In one piece, so that lines of others are not mixed in. A log that nobody reads is no reason to stop.
fn write(to: &mut impl std::io::Write, line: String) {
    let _ = to.write_all(line.as_bytes()).and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [(0, "0B"), (5, "5B"), (999, "999B"), (1000, "1kB"), (1234, "1.234kB")] {
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert_eq!(Size(64 << 20).to_string(), "67.109MB");
    }

    #[test]
    fn times() {
        let text = now().to_string();
        assert_eq!(text.len(), "2026/11/22 06:14:40".len());
        assert_eq!(text.as_bytes()[4], b'/');
    }
}
