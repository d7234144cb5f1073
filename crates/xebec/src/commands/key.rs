//! `xebec key`

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format},
};
use http::Method;
use xebec_api_native::wire::{KeyAnswer, Span};
use xebec_core::{
    Tenant,
    auth::{KeyInfo, KeyRequest, Role},
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

impl Key {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        match self.action {
            Action::Create { role, only, note, expires_in } => {
                let request = KeyRequest {
                    note,
                    role: match role {
                        RoleName::Admin => Role::Admin,
                        RoleName::Manage => Role::Manage,
                        RoleName::Invoke => Role::Invoke,
                    },
                    tenant: only.map(Tenant::new),
                    expires_in_seconds: expires_in.map(|span| span.0.as_secs()),
                };
                let issued: KeyAnswer = client.exchange(Method::POST, "keys", &request).await?;
                output::print(format, &issued, || {
                    format!(
                        "{}\n\nKeep this token; it is not shown again. Use it with --token or XEBEC_TOKEN.",
                        issued.token
                    )
                })
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
