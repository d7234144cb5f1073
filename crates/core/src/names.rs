//! Who a thing belongs to and what it is called.

use crate::error::{Error, ErrorKind};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The tenant that everything belongs to where a door knows no tenants, or the caller named none.
pub const DEFAULT_TENANT: &str = "default";

/// The longest name of a tenant, function, secret or environment, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// An isolation boundary. Each door's namespace, app, account or key maps to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct Tenant(CompactString);

impl Tenant {
    /// A tenant by name. Doors validate what their users may write; any text is a tenant here.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(CompactString::from(name.as_ref()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self::new(DEFAULT_TENANT)
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What identifies a function: its tenant, the door it came through, its name there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FunctionKey {
    /// Whose it is.
    pub tenant: Tenant,
    /// The door that owns its document, e.g. `native`.
    pub door: CompactString,
    /// Its name, unique within tenant and door.
    pub name: CompactString,
}

impl FunctionKey {
    /// The key of `name`, deployed through `door` by `tenant`.
    pub fn new(tenant: &Tenant, door: &str, name: &str) -> Self {
        Self { tenant: tenant.clone(), door: door.into(), name: name.into() }
    }
}

impl fmt::Display for FunctionKey {
    /// `tenant/door/name`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.door, self.name)
    }
}

/// A place in a space of addresses that several doors share. Two functions never have the same one:
/// the second is refused at deploy time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Address {
    /// The space, e.g. `function` for what is called at `/function/<name>`.
    pub space: CompactString,
    /// Whose.
    pub tenant: Tenant,
    /// The name within it.
    pub name: CompactString,
}

impl Address {
    /// The address of `name` in `space`.
    pub fn new(space: &str, tenant: &Tenant, name: &str) -> Self {
        Self { space: space.into(), tenant: tenant.clone(), name: name.into() }
    }
}

/// Checks a name against the rule of DNS labels (RFC 1123): 1 to 63 of `a-z`, `0-9` and `-`,
/// starting and ending with a letter or digit.
///
/// # Errors
/// `XB1001`, saying which character or length is at fault.
pub fn check_dns_label(what: &str, name: &str) -> Result<(), Error> {
    let fault = if name.is_empty() {
        Some("it is empty".to_owned())
    } else if name.len() > 63 {
        Some(format!("it has {} characters, 63 are allowed", name.len()))
    } else if let Some(bad) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        Some(format!("{bad:?} is not one of a-z, 0-9 and -"))
    } else if name.starts_with('-') || name.ends_with('-') {
        Some("it starts or ends with -".to_owned())
    } else {
        None
    };
    match fault {
        None => Ok(()),
        Some(fault) => Err(Error::new(
            ErrorKind::Invalid,
            "XB1001",
            format!("{what} {name:?} is not a valid name: {fault}"),
        )
        .with_hint("use lower-case letters, digits and -, at most 63 of them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_labels() {
        for good in ["a", "hello", "a-1", &"x".repeat(63)] {
            assert!(check_dns_label("name", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "../x", "ü", &"x".repeat(64)] {
            assert!(check_dns_label("name", bad).is_err(), "{bad}");
        }
    }
}
