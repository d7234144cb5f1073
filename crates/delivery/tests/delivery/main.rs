//! Delivery between a queue and an engine in memory, and real HTTP servers.

// Each module uses its own part of the support.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod accepting;
mod backlog;
mod batches;
mod calls;
mod crashes;
mod faults;
mod letters;
mod life;
mod notes;
mod results;
mod support;
mod urls;
