//! The model of Xebec: its words as types, its rules as pure functions, its ports as traits.
//!
//! Nothing here does I/O or starts a task. Whatever depends on time takes `now`. The few names of
//! `tokio` that appear are its I/O *traits*; no runtime feature is enabled.
//!
//! * words: [`names`], [`workload`], [`revision`], [`environment`], [`limits`], [`policy`],
//!   [`function`], [`invocation`], [`message`], [`schedule`], [`outcome`], [`record`], [`log`], [`document`],
//!   [`tenant`], [`trace`], [`histogram`]
//! * rules: [`rules`] (traffic split, admission, scaling, keep-alive, retry, fairness)
//! * ports: [`ports`] (what the engine needs from the world, and what the world may ask of it)

pub mod auth;
pub mod body;
pub mod digest;
pub mod document;
pub mod environment;
pub mod error;
pub mod function;
pub mod headers;
pub mod histogram;
pub mod invocation;
pub mod limits;
pub mod log;
pub mod message;
pub mod names;
pub mod outcome;
pub mod policy;
pub mod ports;
pub mod record;
pub mod revision;
pub mod rules;
pub mod schedule;
pub mod slot;
pub mod tenant;
pub mod trace;
pub mod workload;

pub use body::{Body, BodyError};
pub use digest::Digest;
pub use error::{Error, ErrorKind};
pub use invocation::{Answer, Invocation, InvocationId, InvokeError};
pub use names::{FunctionKey, Tenant};
pub use outcome::Outcome;
