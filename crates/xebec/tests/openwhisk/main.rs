//! OpenWhisk's door on the real server, spoken to with plain HTTP: what its clients do not reach by themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod calls;
mod compositions;
mod documents;
mod interrupted;
mod kinds;
#[path = "../support/mod.rs"]
mod support;
mod web;
