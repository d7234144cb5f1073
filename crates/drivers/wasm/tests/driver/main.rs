//! The wasm driver against real components, written as text.

#![allow(clippy::unwrap_used)]

mod command;
mod conformance;
mod deploy;
mod guest;
mod http;
mod rust;
