//! The wasm driver against real components, written as text.

mod command;
mod deploy;
mod guest;
mod http;
mod rust;
