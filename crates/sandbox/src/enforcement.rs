//! What is enforced, and what could not be and why.

use serde::{Deserialize, Serialize};

/// What sandboxes of this spawner enforce.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// One line per protection.
    pub protections: Vec<Protection>,
    /// Sandboxes share the host's network: what listens on the host's loopback can be reached from inside.
    pub shares_host_network: bool,
    /// Sandboxes see a root of their own, with binds where they were asked for. Otherwise paths inside are
    /// those of the host, and [`Sandbox::translate`](crate::Sandbox::translate) says where a bind is found.
    pub own_root: bool,
    /// Sandboxes with [`Network::Outward`](crate::Network::Outward) have a way out.
    pub way_out: bool,
}

/// One protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// E.g. `memory limit`.
    pub name: String,
    /// It is enforced.
    pub enforced: bool,
    /// By what, or why not and what to do about it.
    pub detail: String,
}

impl Enforcement {
    /// Whether the protection of that name is enforced.
    pub fn enforces(&self, name: &str) -> bool {
        self.protections.iter().any(|protection| protection.name == name && protection.enforced)
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn add(&mut self, name: &str, enforced: bool, detail: impl Into<String>) {
        self.protections.push(Protection { name: name.to_owned(), enforced, detail: detail.into() });
    }
}
