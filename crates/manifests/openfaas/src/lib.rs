//! The stack files of `faas-cli`, read strictly: what is not understood is named with its line.
//!
//! * [`substitute()`]: `${VAR:-default}` and kin, before anything else is read
//! * [`Stack`], [`Function`]: what a file says · [`environment_file`]: the files that it names
//! * [`Selection`]: `--filter` and `--regex` · [`language`]: how a function runs from its source
//! * [`document`]: a function as a deployment of the OpenFaaS API · [`differences`]: two of these compared
//!
//! Nothing here does I/O. Files are foreign input: their size, their depth and what their aliases expand to are
//! bounded, and no input panics.

mod difference;
mod document;
mod fault;
mod fields;
mod glob;
mod select;
mod stack;
mod substitute;
mod yaml;

pub mod language;

pub use difference::{Difference, differences};
pub use document::{Resolved, STACK_ANNOTATION, document};
pub use fault::Fault;
pub use select::Selection;
pub use stack::{Field, Function, Resources, Stack, environment_file};
pub use substitute::{Substituted, substitute};

/// The largest file that is read, in bytes, before and after substitution.
pub const MAX_FILE: usize = 1024 * 1024;
