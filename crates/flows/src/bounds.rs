//! What a flow may take.

use std::time::Duration;

/// What a flow may take. How deep flows may be nested is bounded by
/// [`MAX_HOPS`](xebec_core::rules::hops::MAX_HOPS), as for all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Steps of a chain, those of the chains nested in it included; and steps that a conductor may ask for,
    /// those of the conductors nested in it included. A conductor itself is asked at most twice as often, and
    /// once more.
    pub steps: u32,
    /// Calls in all that one flow may lead to, whatever is nested in it.
    pub calls: u32,
    /// From a flow's begin to its end; between two steps it is looked at, and no step may take longer than what
    /// is left. A deployment gives its function's clocks more than this.
    pub time: Duration,
    /// Bytes of a step's answer.
    pub answer_bytes: u64,
    /// Bytes of a flow's own request.
    pub request_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            steps: 50,
            calls: 10_000,
            time: Duration::from_secs(3600),
            answer_bytes: 8 << 20,
            request_bytes: 8 << 20,
        }
    }
}
