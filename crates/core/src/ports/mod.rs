//! The ports: what the engine needs of the world ([`driver`], [`instance`], [`store`], [`blobs`],
//! [`records`], [`clock`]), and what doors may ask of the engine ([`control`], [`invoker`]) and the gateway
//! of doors ([`door`]). The binary names the implementations.

pub mod blobs;
pub mod clock;
pub mod control;
pub mod door;
pub mod driver;
pub mod instance;
pub mod invoker;
pub mod records;
pub mod store;
