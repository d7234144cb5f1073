//! From documents to what is in memory.

use super::{Entities, Entity};
use crate::{
    DOOR,
    wire::{action::Action, limits::NamespaceLimits, package::Package, rule::Rule, trigger::Trigger},
};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, sync::Arc, time::Duration};
use xebec_core::{
    Error, FunctionKey, Tenant,
    document::{Document, FUNCTION, ListQuery, WatchEvent},
    ports::{
        control::Control,
        store::{Store, pages},
    },
};

/// The kind of documents that packages are.
pub(crate) const PACKAGE: &str = "openwhisk.package";
/// The kind of documents that rules are.
pub(crate) const RULE: &str = "openwhisk.rule";
/// The kind of documents that the limits of namespaces are.
pub(crate) const LIMITS: &str = "openwhisk.limits";

/// How many documents are read at a time.
const PAGE: usize = 500;

/// How long to wait before a watch is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// The document of one of this door's functions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "entity", rename_all = "snake_case")]
pub(crate) enum Stored {
    Action(Action),
    Trigger(Trigger),
    /// The code of a conductor, beside the flow that it is.
    ConductorsCode,
}

impl Entities {
    /// Reads what is there, and forgets what is not. Returns the store's version as of before that.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<u64, Error> {
        let mut version = None;
        let mut seen: HashSet<(String, String)> = HashSet::new();
        for kind in [FUNCTION, PACKAGE, RULE, LIMITS] {
            let query = ListQuery { kind: kind.to_owned(), ..ListQuery::default() };
            let mut listed = pages(store, query, PAGE);
            while let Some(page) = listed.next().await {
                let page = page?;
                version.get_or_insert(page.version);
                for document in page.documents {
                    let Some(local) = local_name(&document.kind, &document.name) else { continue };
                    // No entity's name is empty: that stands for the namespace's limits.
                    let local = if document.kind == LIMITS { "" } else { local };
                    seen.insert((document.namespace.clone(), local.to_owned()));
                    self.apply(document);
                }
            }
        }
        let version = version.unwrap_or_default();
        self.retain(version, |namespace, local| seen.contains(&(namespace.to_owned(), local.to_owned())));
        Ok(version)
    }

    /// Forgets what is older than a version and not there.
    fn retain(&self, version: u64, is_there: impl Fn(&str, &str) -> bool) {
        let mut spaces = self.spaces.write();
        spaces.retain(|namespace, space| {
            space.retain(version, |local| is_there(namespace.as_str(), local));
            !space.is_empty()
        });
        drop(spaces);
        self.known.forget();
    }

    /// Takes over a document that was read or written.
    pub(crate) fn apply(&self, document: Document) {
        let Some(local) = local_name(&document.kind, &document.name) else { return };
        let namespace = Tenant::new(&document.namespace);
        let version = document.version;
        if document.kind == LIMITS {
            match NamespaceLimits::deserialize(&document.spec) {
                Ok(limits) => self.change(&namespace, |space| space.put_limits(version, Some(limits))),
                Err(error) => tracing::warn!(%namespace, %error, "limits of a namespace cannot be read"),
            }
            return;
        }
        match entity(&document) {
            Ok(Some(entity)) => self.change(&namespace, |space| space.put(local, version, entity)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(kind = document.kind, %namespace, name = local, %error, "cannot be read");
            }
        }
    }

    /// Takes over that something was deleted by us: changes from before that may still be on their way.
    pub(crate) fn forget(&self, namespace: &Tenant, local: &str) {
        self.change(namespace, |space| {
            if let Some(version) = space.version(local) {
                space.remove(local, version, false);
            }
        });
    }

    /// Reads one of this door's functions again, after it was deployed.
    pub(crate) async fn read_again(
        &self,
        control: &dyn Control,
        function: &FunctionKey,
    ) -> Result<(), Error> {
        if let Some(document) = control.document(function).await? {
            self.apply(document);
        }
        Ok(())
    }

    /// Takes over that the store deleted a document.
    pub(crate) fn deleted(&self, document: &Document) {
        let Some(local) = local_name(&document.kind, &document.name) else { return };
        let version = document.version;
        self.change(&Tenant::new(&document.namespace), |space| {
            if document.kind == LIMITS {
                space.put_limits(version, None);
            } else {
                space.remove(local, version, true);
            }
        });
    }

    fn change(&self, namespace: &Tenant, with: impl FnOnce(&mut super::Space)) {
        let mut spaces = self.spaces.write();
        let space = spaces.entry(namespace.clone()).or_default();
        with(space);
        if space.is_empty() {
            spaces.remove(namespace);
        }
        drop(spaces);
        self.known.forget();
    }
}

/// The name within its namespace of a document that is this door's.
fn local_name<'a>(kind: &str, name: &'a str) -> Option<&'a str> {
    match kind {
        FUNCTION => name.strip_prefix(DOOR)?.strip_prefix('.'),
        PACKAGE | RULE | LIMITS => Some(name),
        _ => None,
    }
}

/// `None`: it has no name of its own.
fn entity(document: &Document) -> Result<Option<Entity>, serde_json::Error> {
    let spec = &document.spec;
    Ok(Some(match document.kind.as_str() {
        PACKAGE => Entity::Package(Arc::new(Package::deserialize(spec)?)),
        RULE => Entity::Rule(Arc::new(Rule::deserialize(spec)?)),
        _ => match Stored::deserialize(spec)? {
            Stored::Action(action) => Entity::Action(Arc::new(action)),
            Stored::Trigger(trigger) => Entity::Trigger(Arc::new(trigger)),
            Stored::ConductorsCode => return Ok(None),
        },
    }))
}

/// Follows the store for as long as it is polled.
pub(crate) async fn watch(entities: Arc<Entities>, store: Arc<dyn Store>, mut version: u64) {
    loop {
        match store.watch(None, version).await {
            Ok(mut changes) => {
                while let Some(Ok(change)) = changes.next().await {
                    match change {
                        WatchEvent::Put(document) => {
                            version = document.version;
                            entities.apply(document);
                        }
                        WatchEvent::Deleted(document) => {
                            version = document.version;
                            entities.deleted(&document);
                        }
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the store cannot be watched"),
        }
        tokio::time::sleep(PAUSE).await;
        // What was missed cannot be told apart from what was not: all of it is read again.
        match entities.load(store.as_ref()).await {
            Ok(now) => version = now,
            Err(error) => tracing::warn!(%error, "the store cannot be read"),
        }
    }
}
