//! The environments and images that are there without any configuration.

use crate::table::ImageRule;
use serde::Deserialize;
use xebec_core::environment::Environment;

/// What the embedded file holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Builtin {
    pub(crate) environments: Vec<Environment>,
    pub(crate) images: Vec<ImageRule>,
}

/// Reads the embedded file.
pub(crate) fn read() -> Builtin {
    // A test reads it; it cannot change afterwards.
    #[allow(clippy::expect_used, reason = "the file is part of the program")]
    toml::from_str(include_str!("builtin.toml")).expect("builtin.toml is well-formed")
}
