//! The ports: what the engine needs of the world ([`driver`], [`instance`], [`store`], [`blobs`],
//! [`records`], [`queue`], [`clock`], [`tracer`]), what doors may ask ([`control`], [`invoker`], [`deliveries`], [`schedules`]) and the gateway
//! of doors ([`door`]); and what functions are that are part of the server ([`builtin`]). The binary names the implementations.

pub mod blobs;
pub mod builtin;
pub mod clock;
pub mod control;
pub mod deliveries;
pub mod door;
pub mod driver;
pub mod instance;
pub mod invoker;
pub mod queue;
pub mod records;
pub mod schedules;
pub mod store;
pub mod tracer;
