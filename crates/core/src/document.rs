//! Documents: what users wrote, kept losslessly, with the semantics of the Kubernetes API.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The kind of documents that deployed functions are, named `<door>.<name>`: the spec is what the user wrote.
pub const FUNCTION: &str = "function";

/// What a user wrote, in some framework's own shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Its kind, e.g. `native.function`, `openfaas.function`, `revision`.
    pub kind: String,
    /// Its namespace: for most kinds the tenant.
    pub namespace: String,
    /// Its name, unique within kind and namespace.
    pub name: String,
    /// Changes with every write; from one counter per store, so versions order all writes.
    pub version: u64,
    /// Counts changes of `spec`.
    pub generation: u64,
    /// Labels to select by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the user wrote.
    pub spec: Value,
    /// What became of it.
    #[serde(default)]
    pub status: Value,
    /// When it was first written.
    pub created: Timestamp,
    /// When it was last written.
    pub updated: Timestamp,
}

impl Document {
    /// A document that was not stored yet.
    pub fn new(kind: &str, namespace: &str, name: &str, spec: Value) -> Self {
        let now = Timestamp::now();
        Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version: 0,
            generation: 0,
            labels: BTreeMap::new(),
            spec,
            status: Value::Null,
            created: now,
            updated: now,
        }
    }

    /// What names it.
    pub fn key(&self) -> DocumentKey {
        DocumentKey { kind: self.kind.clone(), namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// What names a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DocumentKey {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl DocumentKey {
    /// The key of a document.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// What must be true of the stored document for a write to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// That there is none.
    Absent,
    /// That there is one.
    Present,
    /// That it is at this version.
    Version(u64),
}

/// One change of a batch. A batch is written whole or not at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Creates or replaces. The store fills in version, generation (raised if `spec` differs), created and updated.
    Put(Document, Expect),
    /// Deletes. Deleting what is not there is no error under [`Expect::Any`].
    Delete(DocumentKey, Expect),
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// The kind.
    pub kind: String,
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only what carries all these labels.
    pub labels: BTreeMap<String, String>,
    /// At most so many; 0: all.
    pub limit: usize,
    /// Only after this (namespace, name): where the previous page ended.
    pub after: Option<(String, String)>,
}

/// What was listed, sorted by namespace and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// The documents.
    pub documents: Vec<Document>,
    /// The store's version as of this list: watch from here to miss nothing.
    pub version: u64,
    /// There is more after the last one.
    pub more: bool,
}

/// A change, as a watcher sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// A document was created or changed.
    Put(Document),
    /// A document was deleted; this is its last state, at the version of the deletion.
    Deleted(Document),
}
