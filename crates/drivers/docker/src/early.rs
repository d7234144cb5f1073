//! Where a blank's lines go: nowhere yet.

use parking_lot::Mutex;
use std::sync::OnceLock;
use xebec_core::{
    log::LogStream,
    ports::instance::{LineSink, Lines},
};

/// Lines of a blank that are kept until it is known whose they are.
const EARLY_LINES: usize = 200;

/// Lines that are kept until they can be handed on.
#[derive(Default)]
pub(crate) struct EarlyLines {
    to: OnceLock<Lines>,
    kept: Mutex<Vec<(LogStream, String)>>,
}

impl EarlyLines {
    /// Lets lines go to `lines` from now on, those that came already first.
    pub(crate) fn connect(&self, lines: Lines) {
        let mut kept = self.kept.lock();
        for (stream, text) in kept.drain(..) {
            lines.line(stream, &text);
        }
        // Set while the lock is held: no line that comes now is missed or out of order.
        self.to.set(lines).ok();
    }
}

impl LineSink for EarlyLines {
    fn line(&self, stream: LogStream, text: &str) {
        if let Some(lines) = self.to.get() {
            return lines.line(stream, text);
        }
        let mut kept = self.kept.lock();
        match self.to.get() {
            Some(lines) => lines.line(stream, text),
            None if kept.len() < EARLY_LINES => kept.push((stream, text.to_owned())),
            None => {}
        }
    }
}
