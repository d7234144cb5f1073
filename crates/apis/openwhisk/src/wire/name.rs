//! Names of entities, and the paths that lead to them.

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::fmt;
use xebec_core::{FunctionKey, Tenant};

/// The longest name, in characters.
pub const MAX_NAME: usize = 256;

/// What stands for the caller's namespace.
pub const OWN_NAMESPACE: &str = "_";

/// Whether a text may be the name of a namespace, package, action, trigger or rule: a word character, then word
/// characters and `@ . & -` and spaces, without a space at the end.
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = |byte: u8| word(byte) || matches!(byte, b'@' | b' ' | b'.' | b'&' | b'-');
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= MAX_NAME && word(*first) && *last != b' ' && bytes.iter().all(|byte| inner(*byte))
}

/// Whether a text is one or more names with slashes between and around them.
pub fn is_path(text: &str) -> bool {
    let mut parts = text.split('/').filter(|part| !part.is_empty()).peekable();
    parts.peek().is_some() && parts.all(is_name)
}

/// An entity's whole name: `/namespace/name`, or `/namespace/package/name` for actions in packages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FullName {
    /// Whose it is; `_` until it is resolved.
    pub namespace: Tenant,
    /// The package it is in.
    pub package: Option<CompactString>,
    /// Its own name.
    pub name: CompactString,
}

impl FullName {
    /// The name of something in no package.
    pub fn new(namespace: &Tenant, name: &str) -> Self {
        Self { namespace: namespace.clone(), package: None, name: name.into() }
    }

    /// The name of an action in a package.
    pub fn packaged(namespace: &Tenant, package: &str, name: &str) -> Self {
        Self { namespace: namespace.clone(), package: Some(package.into()), name: name.into() }
    }

    /// By what stands for it within its namespace: `name` or `package/name`.
    pub fn of_local(namespace: &Tenant, local: &str) -> Self {
        match local.split_once('/') {
            Some((package, name)) => Self::packaged(namespace, package, name),
            None => Self::new(namespace, local),
        }
    }

    /// Reads `[/]namespace/[package/]name`.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        if !parts.iter().all(|part| is_name(part)) {
            return None;
        }
        match parts[..] {
            [namespace, name] => Some(Self::new(&Tenant::new(namespace), name)),
            [namespace, package, name] => Some(Self::packaged(&Tenant::new(namespace), package, name)),
            _ => None,
        }
    }

    /// The same, where `_` is the caller's namespace.
    #[must_use]
    pub fn resolved(mut self, own: &Tenant) -> Self {
        if self.namespace.as_str() == OWN_NAMESPACE {
            self.namespace = own.clone();
        }
        self
    }

    /// Where it is: `namespace` or `namespace/package`.
    pub fn path(&self) -> String {
        match &self.package {
            Some(package) => format!("{}/{package}", self.namespace),
            None => self.namespace.to_string(),
        }
    }

    /// What stands for it within its namespace: `name` or `package/name`.
    pub fn local(&self) -> CompactString {
        match &self.package {
            Some(package) => compact_str::format_compact!("{package}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// The key of the function that it is.
    pub fn function(&self) -> FunctionKey {
        FunctionKey { tenant: self.namespace.clone(), door: crate::DOOR.into(), name: self.local() }
    }

    /// The name that a function of this door has.
    pub fn of_function(key: &FunctionKey) -> Self {
        Self::of_local(&key.tenant, &key.name)
    }

    /// `{"path", "name"}`, as rules name what they connect.
    pub fn as_object(&self) -> Value {
        serde_json::json!({ "path": self.path(), "name": self.name })
    }
}

impl fmt::Display for FullName {
    /// `namespace/[package/]name`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.package {
            Some(package) => write!(f, "{}/{package}/{}", self.namespace, self.name),
            None => write!(f, "{}/{}", self.namespace, self.name),
        }
    }
}

impl Serialize for FullName {
    /// `/namespace/[package/]name`
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("/{self}"))
    }
}

impl<'de> Deserialize<'de> for FullName {
    /// From a text or from `{"path", "name"}`.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Object { path: String, name: String },
        }
        let malformed = "the fully qualified name of the entity must contain at least the namespace and the name \
                         of the entity";
        let text = match Written::deserialize(from).map_err(|_| serde::de::Error::custom(malformed))? {
            Written::Text(text) => text,
            Written::Object { path, name } => format!("{path}/{name}"),
        };
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(malformed))
    }
}
