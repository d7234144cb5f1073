//! `xebec rm`

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output,
};

/// Remove functions, with their revisions
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// The functions
    #[arg(required = true)]
    names: Vec<String>,
}

impl Remove {
    pub(crate) async fn run(self, server: &ServerArguments) -> Result<(), Failure> {
        let client = Client::new(server)?;
        for name in &self.names {
            client.delete(&format!("functions/{name}")).await?;
            output::line(&format!("removed {name}"))?;
        }
        Ok(())
    }
}
