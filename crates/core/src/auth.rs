//! Who calls, and what they may do. One model; each door adapts its own credentials to it.

use crate::{error::Error, names::Tenant};
use compact_str::CompactString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a request carries to prove who sent it, in whichever form its door reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    /// HTTP Basic: the password is the token, or both together are a pair.
    Basic {
        /// Of a pair its first half; else any name, kept for the log.
        user: String,
        /// The token, or the second half of a pair.
        password: String,
    },
    /// A bearer token.
    Bearer(String),
}

/// On whose behalf something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular: may call public functions, nothing else.
    Anonymous,
    /// Whoever can reach a loopback listener that has no credentials: may do everything.
    Local,
    /// The holder of a key.
    Key {
        /// The key's id.
        id: CompactString,
        /// What it may do.
        role: Role,
        /// The one tenant it is confined to; `None`: all.
        tenant: Option<Tenant>,
    },
}

impl Principal {
    /// Whether it may deploy, change and remove functions of `tenant`, and read their logs.
    pub fn may_manage(&self, tenant: &Tenant) -> bool {
        match self {
            Self::Anonymous => false,
            Self::Local => true,
            Self::Key { role, tenant: only, .. } => {
                matches!(role, Role::Admin | Role::Manage) && only.as_ref().is_none_or(|t| t == tenant)
            }
        }
    }

    /// Whether it may call functions of `tenant` that are not public.
    pub fn may_invoke(&self, tenant: &Tenant) -> bool {
        match self {
            Self::Anonymous => false,
            Self::Local => true,
            Self::Key { tenant: only, .. } => only.as_ref().is_none_or(|t| t == tenant),
        }
    }

    /// Whether it may issue and revoke keys, take backups, and see every tenant.
    pub fn is_admin(&self) -> bool {
        match self {
            Self::Anonymous => false,
            Self::Local => true,
            Self::Key { role, tenant, .. } => *role == Role::Admin && tenant.is_none(),
        }
    }
}

/// What the holder of a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, keys included.
    Admin,
    /// Manage and call functions.
    Manage,
    /// Call functions.
    Invoke,
}

/// What a request wants, as its door reads it from method and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To manage: refused without a credential that may.
    Management,
    /// To call: the function's own visibility decides.
    Invocation,
    /// What everyone may see: health, static pages.
    Open,
}

/// What proves that somebody holds a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyForm {
    /// One token of our own making.
    #[default]
    Token,
    /// User name and password of HTTP Basic: a UUID and 64 characters, written `uuid:characters`.
    Pair,
}

impl KeyForm {
    fn is_token(&self) -> bool {
        *self == Self::Token
    }
}

/// A key as it is listed: never its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyInfo {
    /// Its id, which is also the first part of its token; of a pair the UUID.
    pub id: String,
    /// What proves that somebody holds it.
    #[serde(default, skip_serializing_if = "KeyForm::is_token")]
    pub form: KeyForm,
    /// What it is for, in its owner's words.
    #[serde(default)]
    pub note: String,
    /// What it may do.
    pub role: Role,
    /// The one tenant it is confined to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// When it was issued.
    pub created: Timestamp,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// What a new key shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"note": "the build server", "role": "manage", "tenant": "default", "expires_in_seconds": 86400})))]
pub struct KeyRequest {
    /// What it is for.
    #[serde(default)]
    pub note: String,
    /// What it may do.
    pub role: Role,
    /// The one tenant it is confined to.
    #[serde(default)]
    pub tenant: Option<Tenant>,
    /// Seconds until it ends; `None`: never.
    #[serde(default)]
    pub expires_in_seconds: Option<u64>,
    /// What shall prove that somebody holds it.
    #[serde(default)]
    pub form: KeyForm,
    /// A pair that its holder has already, from another installation; `None`: a new one is made.
    #[serde(default)]
    pub pair: Option<String>,
}

impl KeyRequest {
    /// A key by a new token, that never ends.
    pub fn of(role: Role) -> Self {
        Self {
            note: String::new(),
            role,
            tenant: None,
            expires_in_seconds: None,
            form: KeyForm::Token,
            pair: None,
        }
    }
}

/// The keys of an installation.
#[async_trait::async_trait]
pub trait Keys: Send + Sync {
    /// Who sent this. `local` says that it came over a loopback listener's connection.
    ///
    /// # Errors
    /// `XB5001` for a credential that is unknown, ended or revoked.
    fn authenticate(&self, credential: &Credential, local: bool) -> Result<Principal, Error>;

    /// Makes a key and returns its token, which is shown this once.
    ///
    /// # Errors
    /// `XB5007` for a wish that cannot be met, `XB5009` where a pair was brought that is there already, and when
    /// the key cannot be stored.
    async fn issue(&self, request: KeyRequest) -> Result<(KeyInfo, String), Error>;

    /// All keys, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn list(&self) -> Result<Vec<KeyInfo>, Error>;

    /// Ends a key at once.
    ///
    /// # Errors
    /// `XB5002` when there is none of that id.
    async fn revoke(&self, id: &str) -> Result<(), Error>;
}
