//! The `wasm` driver: WebAssembly components, in this process.
//!
//! A component that exports `wasi:http/incoming-handler` answers requests (contract `wasi-http`); one that
//! exports `wasi:cli/run` is a program (contract `stdio`). Both are compiled when they are deployed and
//! mapped when they are first needed. A call then costs an instantiation: a memory out of a pool, mapped
//! copy-on-write.
//!
//! What a guest may do is little, and bounded: no files but its secrets, no sockets, requests to others only where its
//! environment allows them; memory up to its limit; time up to its clock.

mod artefacts;
mod code;
mod command;
mod driver;
mod failure;
mod instance;
mod lines;
mod loaded;
mod outgoing;
mod pipe;
mod request;
mod runtime;
mod secrets;
mod state;
mod ticker;
mod time;

pub use driver::{DEFAULT_MEMORY_BYTES, WasmDriver, WasmOptions};
