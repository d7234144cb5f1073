//! Flows: calls that are made of calls, journalled.
//!
//! A flow is a function as any other, of [`Workload::Builtin`](xebec_core::workload::Workload::Builtin): it is
//! deployed, called, throttled and recorded by the engine. What is here is the code that runs when it is
//! called: [a chain](chain) hands each step's result to the next, [a conductor](conduct) is a function that says
//! what to call next. Both call through [`Invoker`](xebec_core::ports::invoker::Invoker) alone, so a step is an
//! ordinary call with a record of its own.
//!
//! Which function a step's name means, what it is sent and what its answer says is a front door's to tell: it
//! implements [`Steps`]. Nothing here knows a framework's words.
//!
//! A run is in the [`Journal`] before its first step and until its record is written. A crash in between ends
//! it: its record says so, and no step is ever made a second time.

mod bounds;
pub mod chain;
pub mod conduct;
mod counts;
mod fan_out;
mod flows;
mod journal;
mod session;
mod settings;
mod steps;

pub use bounds::Bounds;
pub use fan_out::{FanOut, Sent};
pub use flows::{Flows, Ports};
pub use journal::{Entry, Interrupted, Journal, JournalOptions, Kept, RUNS};
pub use steps::{Done, Ended, Nested, Refused, Run, Step, Steps, Trouble, Wanted, Words};
