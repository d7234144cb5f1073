//! Calls that outlive their caller: accepted, kept in a queue, made, made again, and their results brought to
//! where they shall go. It knows ports only; the binary names their implementations.
//!
//! * accepting: `submit` → `wishes` (what may be asked for) → `bodies` (large ones become blobs) → queue
//! * making: `dispatch` claims → `run` → `attempt` (a function) or `hosts` (a URL) or `batch` (several messages
//!   in one call) → `conclude` (what becomes of it, by [`xebec_core::rules::retry`]) → queue
//! * while it runs: `lease` keeps the claim, and hears of cancelling and of the end of the server
//! * around it: `lanes` (how the queue serves whom), `backlog`, `results`, `sweep`, `metrics`, `trace`

mod attempt;
mod backlog;
mod batch;
mod batch_wire;
mod bodies;
mod conclude;
mod delivery;
mod dispatch;
mod flush;
mod headers;
mod hosts;
mod lanes;
mod lease;
mod metrics;
mod options;
mod persist;
mod private;
mod results;
mod run;
mod shared;
mod submit;
mod sweep;
mod trace;
mod wishes;

pub use delivery::Delivery;
pub use options::{DeliveryOptions, DeliveryParts};
