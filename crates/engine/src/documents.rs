//! How functions, revisions, secrets and tenants are kept as documents.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xebec_core::{
    Digest, Error, FunctionKey, Tenant,
    document::{Document, DocumentKey},
    function::Function,
    revision::{Revision, RevisionSpec},
};

/// The kind of documents that functions are: spec is what the user wrote, status what became of it.
pub(crate) use xebec_core::document::FUNCTION;
/// The kind of documents that revisions are.
pub(crate) const REVISION: &str = "revision";
/// The kind of documents that secrets are.
pub(crate) const SECRET: &str = "secret";
/// The kind of documents that tenants are.
pub(crate) const TENANT: &str = "tenant";

/// What became of what a user wrote.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) function: Function,
    /// The environment of its newest revision.
    pub(crate) environment: String,
}

/// Where a function is kept.
pub(crate) fn function_key(key: &FunctionKey) -> DocumentKey {
    DocumentKey::new(FUNCTION, key.tenant.as_str(), &format!("{}.{}", key.door, key.name))
}

/// A function's document.
pub(crate) fn function(function: &Function, environment: &str, document: Value) -> Result<Document, Error> {
    let key = function_key(&function.key);
    let mut document = Document::new(FUNCTION, &key.namespace, &key.name, document);
    document.labels = function.labels.clone();
    set_status(&mut document, function, environment)?;
    Ok(document)
}

/// Puts what became of it into a function's document.
pub(crate) fn set_status(
    document: &mut Document,
    function: &Function,
    environment: &str,
) -> Result<(), Error> {
    let function = serde_json::to_value(function).map_err(|error| unwritable("function", &error))?;
    document.status = json!({ "function": function, "environment": environment });
    Ok(())
}

/// What became of a function's document.
pub(crate) fn status(document: &Document) -> Result<Status, Error> {
    Status::deserialize(&document.status).map_err(|error| unreadable(document, &error))
}

/// Where a revision is kept.
pub(crate) fn revision_key(tenant: &Tenant, digest: &Digest) -> DocumentKey {
    DocumentKey::new(REVISION, tenant.as_str(), &digest.hex())
}

/// A revision's document.
pub(crate) fn revision(tenant: &Tenant, revision: &Revision) -> Result<Document, Error> {
    let spec = serde_json::to_value(&revision.spec).map_err(|error| unwritable("revision", &error))?;
    Ok(Document::new(REVISION, tenant.as_str(), &revision.digest.hex(), spec))
}

/// A revision, from its document.
pub(crate) fn revision_spec(document: &Document) -> Result<RevisionSpec, Error> {
    RevisionSpec::deserialize(&document.spec).map_err(|error| unreadable(document, &error))
}

pub(crate) fn unwritable(what: &str, error: &serde_json::Error) -> Error {
    Error::internal("XB4003", format!("the {what} cannot be written as JSON: {error}"))
}

pub(crate) fn unreadable(document: &Document, error: &serde_json::Error) -> Error {
    Error::internal(
        "XB4003",
        format!("the {} {:?} as stored cannot be read: {error}", document.kind, document.name),
    )
}
