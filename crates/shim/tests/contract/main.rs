//! What is expected of a watchdog, of ours and of the originals:
//!
//! ```sh
//! cargo test -p xebec-shim
//! OF_WATCHDOG=/path/of-watchdog CLASSIC_WATCHDOG=/path/classic-watchdog cargo test -p xebec-shim
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod client;
mod files;
mod forked;
mod life;
mod served;
mod table;
mod watchdog;
