//! Secrets: encrypted at rest, opened only on their way into an instance. Older versions are kept for as
//! long as a revision was made with them.

use crate::{documents, documents::SECRET, engine::Engine};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use chacha20poly1305::{
    ChaCha20Poly1305, Key, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use jiff::Timestamp;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use xebec_core::{
    Error, Tenant,
    document::{Document, DocumentKey, Expect, ListQuery},
    error::ErrorKind,
    names::MAX_NAME_BYTES,
    ports::{control::SecretInfo, driver::OpenSecret},
    revision::{RevisionSpec, SecretMount},
};

/// A secret as it is kept: its versions, the newest last. Never empty.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    versions: Vec<Sealed>,
}

/// One version of a secret, encrypted; bound to tenant, name and version.
#[derive(Debug, Serialize, Deserialize)]
struct Sealed {
    version: u64,
    nonce: String,
    sealed: String,
    updated: Timestamp,
}

/// Seals and opens.
pub(crate) struct Vault(ChaCha20Poly1305);

impl Vault {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(&Key::from(key)))
    }

    fn seal(&self, bound_to: &[u8], value: &[u8]) -> Result<(String, String), Error> {
        let nonce: [u8; 12] = rand::rng().random();
        let payload = Payload { msg: value, aad: bound_to };
        let sealed = self
            .0
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| Error::internal("XB4016", "the secret cannot be encrypted"))?;
        Ok((BASE64.encode(nonce), BASE64.encode(sealed)))
    }

    fn open(&self, bound_to: &[u8], sealed: &Sealed) -> Option<Bytes> {
        let nonce: [u8; 12] = BASE64.decode(&sealed.nonce).ok()?.try_into().ok()?;
        let contents = BASE64.decode(&sealed.sealed).ok()?;
        let payload = Payload { msg: &contents, aad: bound_to };
        self.0.decrypt(&Nonce::from(nonce), payload).ok().map(Bytes::from)
    }
}

fn bound_to(tenant: &str, name: &str, version: u64) -> Vec<u8> {
    format!("{tenant}/{name}/{version}").into_bytes()
}

impl Engine {
    pub(crate) async fn store_secret(
        &self,
        tenant: &Tenant,
        name: &str,
        value: Bytes,
        expect: Expect,
    ) -> Result<SecretInfo, Error> {
        check_name(name)?;
        let most = self.shared.options.max_secret_bytes;
        if value.len() > most {
            let message = format!("the secret has {} bytes, {most} are allowed", value.len());
            return Err(Error::new(ErrorKind::TooLarge, "XB1006", message));
        }
        // One at a time: a version is given once.
        let _turn = self.secrets_turn.write().await;
        let before = self.kept_secret(tenant, name).await?;
        match (&before, expect) {
            (Some(_), Expect::Absent) => {
                let message = format!("the secret {name:?} exists already");
                return Err(Error::new(ErrorKind::Conflict, "XB2001", message));
            }
            (None, Expect::Present | Expect::Version(_)) => return Err(no_secret(name)),
            _ => {}
        }
        let (mut document, mut kept) = before.unwrap_or_else(|| {
            (Document::new(SECRET, tenant.as_str(), name, ().into()), Kept { versions: vec![] })
        });
        if let Some(last) = kept.versions.last()
            && self.vault.open(&bound_to(tenant.as_str(), name, last.version), last).as_ref() == Some(&value)
        {
            // The same value is no change: functions need no new revision for it.
            return Ok(SecretInfo { name: name.to_owned(), version: last.version, updated: last.updated });
        }
        let version = kept.versions.last().map_or(1, |last| last.version + 1);
        let updated = self.shared.clock.now();
        let (nonce, sealed) = self.vault.seal(&bound_to(tenant.as_str(), name, version), &value)?;
        kept.versions.push(Sealed { version, nonce, sealed, updated });
        document.spec = write_kept(&kept)?;
        let expect = match (document.version, expect) {
            (_, Expect::Version(version)) | (version @ 1.., _) => Expect::Version(version),
            _ => Expect::Absent,
        };
        self.store.put(document, expect).await?;
        Ok(SecretInfo { name: name.to_owned(), version, updated })
    }

    pub(crate) async fn list_secrets(&self, tenant: &Tenant) -> Result<Vec<SecretInfo>, Error> {
        let query = ListQuery {
            kind: SECRET.to_owned(),
            namespace: Some(tenant.as_str().to_owned()),
            ..ListQuery::default()
        };
        let documents = self.store.list(&query).await?.documents;
        documents.iter().map(info).collect()
    }

    pub(crate) async fn drop_secret(&self, tenant: &Tenant, name: &str) -> Result<(), Error> {
        let _turn = self.secrets_turn.write().await;
        let Some((document, _)) = self.kept_secret(tenant, name).await? else { return Err(no_secret(name)) };
        if let Some(user) = self.user_of_secret(tenant, name).await? {
            let message = format!("the secret {name:?} is used by the function {user:?}");
            return Err(Error::new(ErrorKind::Conflict, "XB2008", message).with_hint(
                "deploy the function without it, or remove the function, then delete the secret",
            ));
        }
        self.store.delete(document.key(), Expect::Any).await?;
        Ok(())
    }

    /// A function whose newest revision, or one with traffic, mounts a secret.
    async fn user_of_secret(&self, tenant: &Tenant, name: &str) -> Result<Option<String>, Error> {
        for deployed in self.functions.select(Some(tenant), None) {
            let function = &deployed.function;
            let used: BTreeSet<_> = function
                .latest()
                .map(|latest| latest.digest)
                .into_iter()
                .chain(function.traffic.shares().iter().map(|share| share.revision))
                .collect();
            for digest in used {
                let spec = self.load_revision(tenant, &digest).await?;
                if spec.is_some_and(|spec| spec.secrets.iter().any(|mount| mount.name == name)) {
                    return Ok(Some(function.key.name.to_string()));
                }
            }
        }
        Ok(None)
    }

    /// Fills in the current versions of the secrets that a revision mounts.
    pub(crate) async fn fill_in_versions(
        &self,
        tenant: &Tenant,
        spec: &mut RevisionSpec,
    ) -> Result<(), Error> {
        for mount in &mut spec.secrets {
            let kept = self.kept_secret(tenant, &mount.name).await?;
            let newest = kept.and_then(|(_, kept)| kept.versions.last().map(|last| last.version));
            mount.version = newest.ok_or_else(|| missing(&mount.name))?;
        }
        Ok(())
    }

    /// Opens the secrets that a revision mounts.
    pub(crate) async fn open_secrets(
        &self,
        tenant: &Tenant,
        mounts: &[SecretMount],
    ) -> Result<Vec<OpenSecret>, Error> {
        let mut opened = Vec::with_capacity(mounts.len());
        for mount in mounts {
            let kept = self.kept_secret(tenant, &mount.name).await?.map(|(_, kept)| kept);
            let sealed =
                kept.as_ref().and_then(|kept| kept.versions.iter().find(|one| one.version == mount.version));
            let sealed = sealed.ok_or_else(|| missing(&mount.name))?;
            let value = self
                .vault
                .open(&bound_to(tenant.as_str(), &mount.name, mount.version), sealed)
                .ok_or_else(|| undecipherable(&mount.name))?;
            opened.push(OpenSecret {
                name: mount.name.clone(),
                path: mount.path.clone(),
                variable: mount.variable.clone(),
                value,
            });
        }
        Ok(opened)
    }

    /// Forgets versions of secrets that no revision was made with, but never the newest.
    pub(crate) async fn prune_secrets(&self, used: &BTreeSet<(String, String, u64)>) -> Result<(), Error> {
        let _turn = self.secrets_turn.write().await;
        let query = ListQuery { kind: SECRET.to_owned(), ..ListQuery::default() };
        for mut document in self.store.list(&query).await?.documents {
            let mut kept = read_kept(&document)?;
            let newest = kept.versions.last().map(|last| last.version);
            let before = kept.versions.len();
            kept.versions.retain(|one| {
                let name = (document.namespace.clone(), document.name.clone(), one.version);
                Some(one.version) == newest || used.contains(&name)
            });
            if kept.versions.len() < before {
                document.spec = write_kept(&kept)?;
                let version = document.version;
                self.store.put(document, Expect::Version(version)).await?;
            }
        }
        Ok(())
    }

    async fn kept_secret(&self, tenant: &Tenant, name: &str) -> Result<Option<(Document, Kept)>, Error> {
        match self.store.get(&DocumentKey::new(SECRET, tenant.as_str(), name)).await? {
            Some(document) => {
                let kept = read_kept(&document)?;
                Ok(Some((document, kept)))
            }
            None => Ok(None),
        }
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let fault = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "it is too long"
    } else if name == "." || name == ".." || name.contains(['/', '\0']) {
        "it would not be a file's name"
    } else {
        return Ok(());
    };
    Err(Error::invalid("XB1001", format!("the secret's name {name:?} is not valid: {fault}"))
        .with_hint("use letters, digits, - and ."))
}

fn read_kept(document: &Document) -> Result<Kept, Error> {
    Kept::deserialize(&document.spec).map_err(|error| documents::unreadable(document, &error))
}

fn write_kept(kept: &Kept) -> Result<serde_json::Value, Error> {
    serde_json::to_value(kept)
        .map_err(|error| Error::internal("XB4003", format!("the secret cannot be written as JSON: {error}")))
}

fn info(document: &Document) -> Result<SecretInfo, Error> {
    let kept = read_kept(document)?;
    let last = kept.versions.last().ok_or_else(|| undecipherable(&document.name))?;
    Ok(SecretInfo { name: document.name.clone(), version: last.version, updated: last.updated })
}

fn no_secret(name: &str) -> Error {
    Error::not_found("XB2005", format!("there is no secret {name:?}"))
}

fn missing(name: &str) -> Error {
    no_secret(name).with_hint(format!("create it first: xebec secret set {name}"))
}

fn undecipherable(name: &str) -> Error {
    Error::internal("XB4016", format!("the secret {name:?} cannot be decrypted"))
        .with_hint("the file secret.key in the data directory is not the one that it was encrypted with")
}
