//! The `process` driver: functions as sandboxed processes of this machine.

pub mod archive;
