//! How a guest's call failed.

use crate::state::{Interrupted, State};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};
use xebec_core::{
    log::LogStream,
    ports::instance::{IoError, LineSink},
};

/// Lines of a guest's stack that the log gets.
const TRACE_LINES: usize = 20;

/// A failed call: what its caller is told, and what the log gets besides.
pub(crate) struct Failure {
    pub(crate) error: IoError,
    /// The guest's stack, innermost frame first; empty unless it trapped.
    trace: Vec<String>,
}

impl Failure {
    /// Tells what `error` means, which ended a call in `store`.
    pub(crate) fn new(error: &wasmtime::Error, store: &Store<State>) -> Self {
        if error.is::<Interrupted>() {
            return IoError::Interrupted.into();
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return IoError::Overloaded(format!("{error:#}")).into();
        }
        if store.data().out_of_memory() {
            return Self { error: IoError::OutOfMemory, trace: trace(error) };
        }
        let why = match error.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string(),
            None => error.root_cause().to_string(),
        };
        Self { error: IoError::Trapped(why), trace: trace(error) }
    }

    /// Writes it to the instance's log.
    pub(crate) fn log(&self, lines: &dyn LineSink) {
        for line in self.text().lines() {
            lines.line(LogStream::Platform, line);
        }
    }

    /// What happened and where, one line each.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n", self.error);
        for line in &self.trace {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

impl From<IoError> for Failure {
    fn from(error: IoError) -> Self {
        Self { error, trace: Vec::new() }
    }
}

fn trace(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    trace.to_string().lines().filter(|line| !line.is_empty()).take(TRACE_LINES).map(str::to_owned).collect()
}
