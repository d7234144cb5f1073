//! The table of environments: the built-in ones, those of the configuration, and the images that they stand
//! in for. Also what comes with them: the language workers ([`runtimes`]) and what `xebec new` starts a
//! function from ([`templates`]).

mod builtin;
mod needs;
mod pattern;
pub mod runtimes;
mod table;
pub mod templates;

pub use table::{ImageRule, Table};
