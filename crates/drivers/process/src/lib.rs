//! The `process` driver: functions as sandboxed processes of this machine.
//!
//! A deploy unpacks the code and installs what it depends on ([`Driver::prepare`]); an instance is a sandbox
//! that sees both read-only. Functions given as source run under a language worker, which is told over a
//! control socket what to run; a worker that has not been told yet is a blank.
//!
//! [`Driver::prepare`]: xebec_core::ports::driver::Driver::prepare

pub mod archive;
mod dependencies;
mod driver;
mod host_settings;
mod instance;
mod layout;
mod output;
mod prepared;
mod preparing;
mod programs;
mod running;
mod runtimes;
mod starting;
mod worker;
mod zygotes;

pub use driver::{ProcessDriver, ProcessOptions};
pub use layout::DefaultLimits;
