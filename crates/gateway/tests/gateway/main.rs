//! The gateway over real sockets, with a toy door behind it.

#![allow(clippy::unwrap_used, reason = "functions of tests count as tests")]

mod access;
mod admission;
mod ending;
mod garbage;
mod limits;
mod listening;
mod own;
mod serving;
mod spans;
mod support;
mod tls;
