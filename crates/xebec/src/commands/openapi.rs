//! `xebec openapi`

use crate::{failure::Failure, output};

/// Print the description of the native API: OpenAPI 3.1, as JSON
///
/// A server has the same at `/xebec/v1/openapi.json`.
#[derive(Debug, clap::Args)]
pub(crate) struct OpenApi {}

impl OpenApi {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut text = xebec_api_native::describe::json(env!("CARGO_PKG_VERSION")).to_vec();
        text.push(b'\n');
        output::bytes(&text)
    }
}
