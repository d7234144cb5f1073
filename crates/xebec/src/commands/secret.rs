//! `xebec secret`

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format},
};
use base64::Engine as _;
use http::Method;
use std::{io::Read as _, path::PathBuf};
use xebec_api_native::wire::SecretRequest;
use xebec_core::ports::control::SecretInfo;

/// Keep secrets for functions
#[derive(Debug, clap::Args)]
pub(crate) struct Secret {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Store a secret, read from standard input or a file: values on a command line end up in histories
    Set {
        /// Its name
        name: String,
        /// Read it from here
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// List secrets; never their values
    #[command(alias = "list")]
    Ls,
    /// Delete secrets
    #[command(alias = "remove")]
    Rm {
        /// Which
        #[arg(required = true)]
        names: Vec<String>,
    },
}

impl Secret {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        match self.action {
            Action::Set { name, from_file } => {
                let value = match from_file {
                    Some(file) => std::fs::read(&file).map_err(Failure::io(file.display()))?,
                    None => typed()?,
                };
                let request =
                    SecretRequest { value: base64::engine::general_purpose::STANDARD.encode(value) };
                let stored: SecretInfo =
                    client.exchange(Method::PUT, &format!("secrets/{name}"), &request).await?;
                output::print(format, &stored, || {
                    format!(
                        "stored {name} (version {}); functions see it from their next deploy on",
                        stored.version
                    )
                })
            }
            Action::Ls => {
                let secrets: Vec<SecretInfo> = client.get("secrets").await?;
                output::print(format, &secrets, || {
                    let row = |secret: &SecretInfo| {
                        vec![secret.name.clone(), secret.version.to_string(), output::age(secret.updated)]
                    };
                    output::table(&["NAME", "VERSION", "AGE"], secrets.iter().map(row).collect())
                })
            }
            Action::Rm { names } => {
                for name in names {
                    client.delete(&format!("secrets/{name}")).await?;
                    output::line(&format!("deleted {name}"))?;
                }
                Ok(())
            }
        }
    }
}

/// Standard input to its end, without the line end that an editor or `echo` leaves.
fn typed() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    std::io::stdin().read_to_end(&mut value).map_err(Failure::io("standard input"))?;
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}
