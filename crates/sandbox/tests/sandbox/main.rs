//! Sandboxes, each test with a spawner of its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "these are tests, and so are the functions that they share")]

mod bare;
mod isolation;
mod life;
mod limits;
mod network;
mod ordinary;
mod processes;
mod world;
mod zygote;
