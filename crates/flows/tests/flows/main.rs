//! Flows over a toy engine: what they call, what they answer, and what is left of them when the server ends in
//! the middle.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod chains;
mod conductors;
mod crashes;
mod fan_out;
mod journals;
mod storage;
mod world;
