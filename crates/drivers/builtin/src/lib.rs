//! The `builtin` driver: functions that are part of the server ([`xebec_core::ports::builtin`]).
//!
//! There is nothing to start: an instance is a name's code and the settings of its revision, so it costs nothing
//! and takes as many calls at a time as its limits say. The code is registered under its name after the driver
//! was made, since some of it calls through the engine, which is made of its drivers.

mod driver;
mod instance;

pub use driver::BuiltinDriver;
