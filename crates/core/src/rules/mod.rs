//! The rules: pure decisions. Whatever depends on time or chance takes it as an argument; `now` is a
//! [`std::time::Duration`] since any fixed moment.

pub mod admission;
pub mod backoff;
pub mod fairness;
pub mod hops;
pub mod keep_alive;
pub mod ledger;
pub mod retry;
pub mod scaling;
pub mod schedule;
pub mod traffic;
