//! The keys of an installation: kept as documents, looked up in memory without a lock.

use crate::{
    pair,
    token::{self, INSTALLATION, TokenHash},
};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc};
use xebec_core::{
    Error,
    auth::{Credential, KeyForm, KeyInfo, KeyRequest, Keys, Principal, Role},
    document::{Document, DocumentKey, Expect, ListQuery},
    error::ErrorKind,
    ports::{clock::Clock, clock::SystemClock, store::Store},
};

/// The kind of the documents that keys are kept as.
pub const KIND: &str = "key";
const NAMESPACE: &str = "xebec";

/// The id of the principal that the configured name and password stand for.
const LOGIN: &str = "login";

/// The longest note on a key, in bytes.
const MAX_NOTE_BYTES: usize = 1024;

/// The longest life that can be asked for; longer than anybody's installation.
const MAX_SECONDS: u64 = 100 * 366 * 24 * 3600;

/// The keys of an installation.
///
/// As long as no key was ever issued, or the last one was revoked, whoever comes over a local connection is
/// the local principal. A key that only ended by its time still counts as issued: a date must not open what
/// its owner had closed. The installation token is no issued key, and always an administrator's.
pub struct KeyRing {
    kept: Arc<Kept>,
    clock: Arc<dyn Clock>,
    installation: Option<TokenHash>,
    login: Option<TokenHash>,
}

/// The keys in memory and in the store. Changes run in tasks of their own: a caller that goes away in the
/// middle must not leave the two different.
struct Kept {
    store: Arc<dyn Store>,
    /// Replaced whole by every change, so that whoever authenticates waits for nobody.
    keys: ArcSwap<HashMap<String, Key>>,
    /// Changes come one after the other.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Key {
    info: KeyInfo,
    hash: TokenHash,
    principal: Principal,
}

/// A key as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    info: KeyInfo,
    /// The hash of the token, or of the pair as it is written, in hexadecimal.
    sha256: String,
}

impl KeyRing {
    /// The keys that are in the store.
    ///
    /// # Errors
    /// What the store says; `XB4003` for a key that cannot be understood.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, Error> {
        let query = ListQuery {
            kind: KIND.to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            ..ListQuery::default()
        };
        let mut keys = HashMap::new();
        for document in store.list(&query).await?.documents {
            let damaged =
                || Error::internal("XB4003", format!("the stored key {:?} is damaged", document.name));
            let stored: Stored = serde_json::from_value(document.spec.clone()).map_err(|_| damaged())?;
            let hash = TokenHash::from_hex(&stored.sha256).ok_or_else(damaged)?;
            keys.insert(document.name, Key::new(stored.info, hash));
        }
        let kept = Kept { store, keys: ArcSwap::from_pointee(keys), changing: tokio::sync::Mutex::default() };
        Ok(Self { kept: Arc::new(kept), clock: Arc::new(SystemClock), installation: None, login: None })
    }

    /// Also takes the installation's token, as an administrator's.
    pub fn with_installation_token(mut self, token: &str) -> Self {
        self.installation = Some(TokenHash::of(token));
        self
    }

    /// Also takes one name and password, as an administrator's, by HTTP Basic alone. With them, it counts as if a
    /// key was issued.
    pub fn with_login(mut self, user: &str, password: &str) -> Self {
        self.login = Some(login_hash(user, password));
        self
    }

    /// Tells the time by another clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Whether a key is there that was issued and not revoked, or a name and password.
    pub fn has_issued_keys(&self) -> bool {
        self.login.is_some() || !self.kept.keys.load().is_empty()
    }

    fn of_login(&self, user: &str, password: &str) -> Option<Principal> {
        let known = self.login.as_ref()?;
        let admin = Principal::Key { id: LOGIN.into(), role: Role::Admin, tenant: None };
        known.matches(&login_hash(user, password)).then_some(admin)
    }

    fn of_token(&self, token: &str) -> Option<Principal> {
        let id = token::id_of(token)?;
        let hash = TokenHash::of(token);
        if id == INSTALLATION {
            let known = self.installation.as_ref()?;
            let admin = Principal::Key { id: INSTALLATION.into(), role: Role::Admin, tenant: None };
            return known.matches(&hash).then_some(admin);
        }
        self.holder(id, KeyForm::Token, &hash)
    }

    fn of_pair(&self, user: &str, password: &str) -> Option<Principal> {
        let id = pair::id_of(user)?;
        self.holder(&id, KeyForm::Pair, &pair::hash(&id, password))
    }

    /// Who holds the key of that id, if that is its hash and it has not ended.
    fn holder(&self, id: &str, form: KeyForm, hash: &TokenHash) -> Option<Principal> {
        let keys = self.kept.keys.load();
        let key = keys.get(id).filter(|key| key.info.form == form)?;
        if !key.hash.matches(hash) || key.info.expires.is_some_and(|end| end <= self.clock.now()) {
            return None;
        }
        Some(key.principal.clone())
    }
}

impl Kept {
    async fn add(&self, key: Key) -> Result<(), Error> {
        let _turn = self.changing.lock().await;
        if self.keys.load().contains_key(&key.info.id) {
            let message = format!("there is a key {:?} already", key.info.id);
            return Err(Error::new(ErrorKind::Conflict, "XB5009", message).with_hint("revoke it first"));
        }
        let stored = Stored { info: key.info.clone(), sha256: key.hash.to_hex() };
        let spec = serde_json::to_value(stored)
            .map_err(|e| Error::internal("XB4003", format!("the key cannot be stored: {e}")))?;
        self.store.put(Document::new(KIND, NAMESPACE, &key.info.id, spec), Expect::Absent).await?;
        self.change(|keys| {
            keys.insert(key.info.id.clone(), key);
        });
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        let _turn = self.changing.lock().await;
        if !self.keys.load().contains_key(id) {
            return Err(Error::not_found("XB5002", format!("there is no key {id:?}"))
                .with_hint("xebec key list shows all"));
        }
        self.store.delete(DocumentKey::new(KIND, NAMESPACE, id), Expect::Any).await?;
        self.change(|keys| {
            keys.remove(id);
        });
        Ok(())
    }

    /// Replaces the map in memory by a changed copy.
    fn change(&self, with: impl FnOnce(&mut HashMap<String, Key>)) {
        let mut keys = HashMap::clone(&self.keys.load());
        with(&mut keys);
        self.keys.store(Arc::new(keys));
    }
}

impl Key {
    fn new(info: KeyInfo, hash: TokenHash) -> Self {
        let principal =
            Principal::Key { id: info.id.as_str().into(), role: info.role, tenant: info.tenant.clone() };
        Self { info, hash, principal }
    }
}

#[async_trait]
impl Keys for KeyRing {
    fn authenticate(&self, credential: &Credential, local: bool) -> Result<Principal, Error> {
        if local && !self.has_issued_keys() {
            return Ok(Principal::Local);
        }
        let token = match credential {
            Credential::Bearer(token) => token,
            Credential::Basic { user, password } => {
                if let Some(known) = self.of_login(user, password).or_else(|| self.of_pair(user, password)) {
                    return Ok(known);
                }
                password
            }
            Credential::None => {
                return Err(Error::new(ErrorKind::Forbidden, "XB5001", "this needs a key")
                    .with_hint("send Authorization: Bearer <token>; xebec key create issues one"));
            }
        };
        self.of_token(token).ok_or_else(|| {
            Error::new(ErrorKind::Forbidden, "XB5001", "the key is unknown, has ended or was revoked")
                .with_hint("check that the token is whole; xebec key create issues a new one")
        })
    }

    async fn issue(&self, request: KeyRequest) -> Result<(KeyInfo, String), Error> {
        if request.note.len() > MAX_NOTE_BYTES {
            return Err(Error::invalid("XB5007", format!("a note has at most {MAX_NOTE_BYTES} bytes")));
        }
        let created = self.clock.now();
        let expires = request.expires_in_seconds.map(|seconds| end(created, seconds)).transpose()?;
        let KeyRequest { note, role, tenant, form, pair, expires_in_seconds: _ } = request;
        let (id, token) = match (form, pair) {
            (KeyForm::Token, None) => token::generate(),
            (KeyForm::Token, Some(_)) => {
                return Err(Error::invalid(
                    "XB5007",
                    "a pair that is brought along makes a key of the form pair",
                ));
            }
            (KeyForm::Pair, _) if tenant.as_ref().is_none_or(|tenant| tenant.as_str().is_empty()) => {
                return Err(Error::invalid(
                    "XB5007",
                    "a key by a pair is confined to one tenant, and none is named",
                )
                .with_hint("xebec key create --openwhisk --tenant <name>"));
            }
            (KeyForm::Pair, None) => pair::generate(),
            (KeyForm::Pair, Some(pair)) => pair::read(&pair)?,
        };
        let info = KeyInfo { id, form, note, role, tenant, created, expires };
        let key = Key::new(info.clone(), TokenHash::of(&token));
        let kept = self.kept.clone();
        finish(tokio::spawn(async move { kept.add(key).await })).await?;
        tracing::info!(id = %info.id, role = ?info.role, tenant = ?info.tenant, "key issued");
        Ok((info, token))
    }

    async fn list(&self) -> Result<Vec<KeyInfo>, Error> {
        let mut keys: Vec<KeyInfo> = self.kept.keys.load().values().map(|key| key.info.clone()).collect();
        keys.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.id.cmp(&b.id)));
        Ok(keys)
    }

    async fn revoke(&self, id: &str) -> Result<(), Error> {
        if id == INSTALLATION {
            return Err(Error::new(
                ErrorKind::Refused,
                "XB5008",
                "the installation's token cannot be revoked",
            )
            .with_hint(
                "to replace it, stop the server, delete the file `token` in its data directory, start it",
            ));
        }
        let (kept, name) = (self.kept.clone(), id.to_owned());
        finish(tokio::spawn(async move { kept.remove(&name).await })).await?;
        tracing::info!(id, "key revoked");
        Ok(())
    }
}

/// A name has no colon in HTTP Basic, so no two pairs are written the same.
fn login_hash(user: &str, password: &str) -> TokenHash {
    TokenHash::of(&format!("{user}:{password}"))
}

/// Waits for a change.
async fn finish(change: tokio::task::JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    change.await.unwrap_or_else(|_| Err(Error::internal("XB4003", "the change of the keys did not finish")))
}

fn end(created: Timestamp, seconds: u64) -> Result<Timestamp, Error> {
    let seconds = i64::try_from(seconds.min(MAX_SECONDS)).unwrap_or(i64::MAX);
    created
        .checked_add(SignedDuration::from_secs(seconds))
        .map_err(|_| Error::invalid("XB5007", "the key would end after the end of time"))
}
