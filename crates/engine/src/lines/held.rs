//! Lines from before an instance's first call, which they belong to.

use jiff::Timestamp;
use xebec_core::log::LogStream;

/// How many of them are held.
const MOST_LINES: usize = 1000;

/// How many bytes.
const MOST_BYTES: usize = 256 * 1024;

/// A line that waits for its call.
pub(super) struct HeldLine {
    pub(super) time: Timestamp,
    pub(super) stream: LogStream,
    pub(super) text: String,
}

/// Lines from before an instance's first call.
#[derive(Default)]
pub(super) struct Held {
    lines: Vec<HeldLine>,
    bytes: usize,
}

impl Held {
    /// Whether one more can be held.
    pub(super) fn has_room(&self, text: &str) -> bool {
        self.lines.len() < MOST_LINES && self.bytes + text.len() <= MOST_BYTES
    }

    /// Holds a line.
    pub(super) fn hold(&mut self, line: HeldLine) {
        self.bytes += line.text.len();
        self.lines.push(line);
    }

    /// All of them, once.
    pub(super) fn take(&mut self) -> Vec<HeldLine> {
        self.bytes = 0;
        std::mem::take(&mut self.lines)
    }
}
