//! The `docker` driver: functions as containers of any engine that speaks Docker's API over a Unix socket.
//!
//! A deploy pulls the image and notes what its name meant just then ([`Driver::prepare`]); an instance is a
//! container of exactly that image. What Docker cannot promise is refused by the field that asked for it, or
//! said in the driver's report.
//!
//! [`Driver::prepare`]: xebec_core::ports::driver::Driver::prepare

mod accepting;
mod blank;
mod credentials;
mod driver;
mod early;
mod engine;
mod files;
mod images;
mod instance;
mod network;
mod options;
mod output;
mod prepared;
mod preparing;
mod reference;
mod removing;
mod report;
mod shape;
mod starting;
mod usage;
mod watching;

pub use driver::DockerDriver;
pub use options::{Credentials, DefaultLimits, DockerOptions, Pull, Reach};
