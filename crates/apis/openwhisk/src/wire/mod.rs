//! What is sent, received and stored: OpenWhisk's own shapes, read as it reads them.

pub mod action;
pub mod exec;
pub mod limits;
pub mod name;
pub mod package;
pub mod parameters;
pub mod rule;
pub mod trigger;
pub mod version;

/// Milliseconds since 1970, as `updated` says it.
pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
