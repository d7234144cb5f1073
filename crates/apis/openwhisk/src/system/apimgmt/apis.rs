//! Where APIs are kept, and what is known of them in memory.

use super::routes::Api;
use parking_lot::RwLock;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    Error, ErrorKind, Tenant,
    document::{Document, DocumentKey, Expect, ListQuery},
    ports::store::Store,
};

/// The kind of documents that APIs are; their names are base paths.
const KIND: &str = "openwhisk.api";

/// APIs that a namespace may have.
const MOST: usize = 1000;

/// The largest API, in bytes.
const LARGEST: usize = 1024 * 1024;

/// How long what was read is taken for what there is: others may change it, too.
const FRESH: Duration = Duration::from_secs(1);

/// Namespaces that are known at a time.
const MOST_KNOWN: usize = 1024;

/// How often a change that others interfere with is tried.
const TRIES: usize = 8;

/// The APIs of all namespaces.
#[derive(Default)]
pub(crate) struct Apis {
    known: RwLock<HashMap<Tenant, Known>>,
}

#[derive(Clone)]
struct Known {
    since: Instant,
    apis: Arc<Vec<Api>>,
}

impl Apis {
    /// All of a namespace, by base path.
    pub(super) async fn list(&self, store: &dyn Store, namespace: &Tenant) -> Result<Vec<Value>, Error> {
        let query = ListQuery {
            kind: KIND.to_owned(),
            namespace: Some(namespace.as_str().to_owned()),
            ..ListQuery::default()
        };
        Ok(store.list(&query).await?.documents.into_iter().map(|document| document.spec).collect())
    }

    /// All of a namespace, ready to be asked: read no oftener than once in a while.
    pub(super) async fn ready(&self, store: &dyn Store, namespace: &Tenant) -> Result<Arc<Vec<Api>>, Error> {
        let known = self.known.read().get(namespace).cloned();
        if let Some(known) = known.filter(|known| known.since.elapsed() < FRESH) {
            return Ok(known.apis);
        }
        let since = Instant::now();
        let documents = self.list(store, namespace).await?;
        // What could not be read was refused when it came.
        let apis = Arc::new(documents.iter().filter_map(|swagger| Api::of(swagger).ok()).collect::<Vec<_>>());
        let mut known = self.known.write();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(namespace.clone(), Known { since, apis: Arc::clone(&apis) });
        Ok(apis)
    }

    /// Makes of an API what `change` says: `None` deletes it. What it refuses is handed back.
    pub(super) async fn change(
        &self,
        store: &dyn Store,
        namespace: &Tenant,
        base_path: &str,
        change: impl Fn(Option<Value>) -> Result<Option<Value>, String> + Send,
    ) -> Result<Result<Option<Value>, String>, Error> {
        if let Err(wrong) = check(base_path) {
            return Ok(Err(wrong));
        }
        let key = DocumentKey::new(KIND, namespace.as_str(), base_path);
        for _ in 0..TRIES {
            let there = store.get(&key).await?;
            let expect = there.as_ref().map_or(Expect::Absent, |there| Expect::Version(there.version));
            if there.is_none() && self.list(store, namespace).await?.len() >= MOST {
                return Ok(Err(format!("the namespace has {MOST} APIs, and no more are allowed")));
            }
            let changed = match change(there.map(|there| there.spec)) {
                Err(wrong) => return Ok(Err(wrong)),
                Ok(changed) => changed,
            };
            let written = match &changed {
                None => store.delete(key.clone(), expect).await.map(|_| ()),
                Some(swagger) if swagger.to_string().len() > LARGEST => {
                    return Ok(Err(format!(
                        "the API would have more than {LARGEST} bytes, which is the most"
                    )));
                }
                Some(swagger) => {
                    let document = Document::new(KIND, namespace.as_str(), base_path, swagger.clone());
                    store.put(document, expect).await.map(|_| ())
                }
            };
            match written {
                Ok(()) => {
                    self.known.write().remove(namespace);
                    return Ok(Ok(changed));
                }
                Err(error) if error.code == "XB4001" => {}
                Err(error) => return Err(error),
            }
        }
        let message = format!("the API {base_path:?} is being changed by others again and again");
        Err(Error::new(ErrorKind::Unavailable, "XB4005", message).with_hint("try again"))
    }
}

/// Whether a base path can be asked for.
fn check(base_path: &str) -> Result<(), String> {
    if !base_path.starts_with('/') {
        Err(format!("the base path '{base_path}' must begin with '/'"))
    } else if base_path.len() > 1024 || base_path.contains(['?', '#', '\'']) {
        Err("the base path is too long, or contains one of ? # '".to_owned())
    } else {
        Ok(())
    }
}
