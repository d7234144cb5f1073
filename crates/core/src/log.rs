//! What functions print.

use crate::{invocation::InvocationId, names::FunctionKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest line kept, in bytes; the rest of a longer one is cut and marked with `…`.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// What the platform says in the log where a call printed more than
/// [`log_bytes`](crate::limits::Limits::log_bytes); the limit in bytes stands behind it.
pub const CUT_OFF: &str = "what the call printed is cut off here, at bytes: ";

/// One line that a function printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogLine {
    /// When it arrived.
    pub time: Timestamp,
    /// Who printed it.
    pub function: FunctionKey,
    /// Which of its instances.
    pub instance: String,
    /// During which invocation, where that is certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<InvocationId>,
    /// On which stream.
    pub stream: LogStream,
    /// The line without its end.
    pub text: String,
}

/// Which stream a line came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The platform itself: starts, crashes, lines dropped.
    Platform,
}

/// Which lines to return. Oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogQuery {
    /// Of this function.
    pub function: Option<FunctionKey>,
    /// Of this instance.
    pub instance: Option<String>,
    /// Of this invocation.
    pub invocation: Option<InvocationId>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Only the last so many; implementations cap it at 10,000.
    pub tail: Option<u32>,
}
