//! The engine against a world in memory: a driver that does as it is told, a contract that speaks with it,
//! ports that keep everything in maps. Most tests run on paused time, so that waits are exact and free.
#![allow(missing_docs, clippy::unwrap_used)]

mod calls;
mod deploys;
mod driver;
mod figures;
mod logs;
mod notes;
mod ports;
mod quotas;
mod records;
mod scaling;
mod secrets;
mod simulation;
mod starts;
mod tenants;
mod upkeep;
mod world;
