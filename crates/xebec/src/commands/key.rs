//! `xebec key`

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format},
};
use http::Method;
use std::{io::Read as _, path::PathBuf};
use xebec_api_native::wire::{KeyAnswer, Span};
use xebec_core::{
    Tenant,
    auth::{KeyForm, KeyInfo, KeyRequest, Role},
};

/// Issue, list and revoke keys
///
/// As soon as there is one, managing the server needs one.
#[derive(Debug, clap::Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Issue a key; its token is shown this once
    Create {
        /// What its holder may do
        #[arg(long, value_enum, default_value_t = RoleName::Manage)]
        role: RoleName,
        /// Confine it to one tenant
        #[arg(long, value_name = "TENANT")]
        only: Option<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        note: String,
        /// When it ends, e.g. `720h`; left out: never
        #[arg(long, value_name = "SPAN")]
        expires_in: Option<Span>,
        /// As OpenWhisk's clients want it: prints what goes behind AUTH= in ~/.wskprops. Its namespace is the
        /// tenant that --tenant names
        #[arg(long)]
        openwhisk: bool,
    },
    /// Take over a credential of an OpenWhisk installation, so that its clients go on with it
    ///
    /// What stands behind AUTH= in ~/.wskprops is read from standard input or a file: on a command line it would
    /// end up in histories. Its namespace is the tenant that --tenant names.
    Import {
        /// Read it from here
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        /// What its holder may do
        #[arg(long, value_enum, default_value_t = RoleName::Manage)]
        role: RoleName,
        /// What it is for
        #[arg(long, default_value = "")]
        note: String,
    },
    /// List keys; never their tokens
    #[command(alias = "list")]
    Ls,
    /// End keys at once
    Revoke {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RoleName {
    /// Everything, keys included
    Admin,
    /// Manage and call functions
    Manage,
    /// Call functions
    Invoke,
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Admin => Self::Admin,
            RoleName::Manage => Self::Manage,
            RoleName::Invoke => Self::Invoke,
        }
    }
}

impl Key {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        match self.action {
            Action::Create { role, only, note, expires_in, openwhisk } => {
                let tenant = only.or_else(|| server.tenant.clone().filter(|_| openwhisk)).map(Tenant::new);
                let form = if openwhisk { KeyForm::Pair } else { KeyForm::Token };
                let expires_in_seconds = expires_in.map(|span| span.0.as_secs());
                let request =
                    KeyRequest { note, tenant, expires_in_seconds, form, ..KeyRequest::of(role.into()) };
                let issued: KeyAnswer = client.exchange(Method::POST, "keys", &request).await?;
                output::print(format, &issued, || match openwhisk {
                    true => issued.token.clone(),
                    false => format!(
                        "{}\n\nKeep this token; it is not shown again. Use it with --token or XEBEC_TOKEN.",
                        issued.token
                    ),
                })
            }
            Action::Import { from_file, role, note } => {
                let pair = match from_file {
                    Some(file) => std::fs::read_to_string(&file).map_err(Failure::io(file.display()))?,
                    None => typed()?,
                };
                let request = KeyRequest {
                    note,
                    tenant: server.tenant.clone().map(Tenant::new),
                    form: KeyForm::Pair,
                    pair: Some(credential(&pair)),
                    ..KeyRequest::of(role.into())
                };
                let issued: KeyAnswer = client.exchange(Method::POST, "keys", &request).await?;
                output::print(format, &issued.key, || format!("took over {}", issued.key.id))
            }
            Action::Ls => {
                let keys: Vec<KeyInfo> = client.get("keys").await?;
                output::print(format, &keys, || {
                    let row = |key: &KeyInfo| {
                        vec![
                            key.id.clone(),
                            format!("{:?}", key.role).to_lowercase(),
                            key.tenant.as_ref().map_or("*", Tenant::as_str).to_owned(),
                            output::age(key.created),
                            key.expires.map_or_else(|| "never".to_owned(), |at| at.to_string()),
                            key.note.clone(),
                        ]
                    };
                    let header = ["ID", "ROLE", "TENANT", "AGE", "EXPIRES", "NOTE"];
                    output::table(&header, keys.iter().map(row).collect())
                })
            }
            Action::Revoke { ids } => {
                for id in ids {
                    client.delete(&format!("keys/{id}")).await?;
                    output::line(&format!("revoked {id}"))?;
                }
                Ok(())
            }
        }
    }
}

/// Standard input to its end, as far as a credential can be.
fn typed() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text).map_err(Failure::io("standard input"))?;
    Ok(text)
}

/// The credential in a text: the text itself, or, where it is a whole `.wskprops`, what stands behind `AUTH=`.
fn credential(text: &str) -> String {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("AUTH="));
    line.unwrap_or(text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::credential;

    #[test]
    fn a_credential_alone_or_in_the_file_that_clients_keep() {
        for text in ["u:k", " u:k\n", "APIHOST=localhost\nAUTH=u:k\nNAMESPACE=_\n"] {
            assert_eq!(credential(text), "u:k");
        }
    }
}
