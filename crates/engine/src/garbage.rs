//! What nothing points at any more: revisions, blobs, versions of secrets, what drivers prepared.

use crate::{documents, documents::REVISION, engine::Engine};
use futures_util::TryStreamExt as _;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Weak},
};
use xebec_core::{
    Digest, Error,
    document::{Document, Expect, ListQuery, Write},
    ports::store::pages,
};

/// How many revisions are looked at, and deleted, at a time.
const PAGE: usize = 500;

/// What is being deployed, and so points at things that nothing else may point at yet.
#[derive(Default)]
pub(crate) struct Pins {
    held: Mutex<Held>,
    /// Read by whoever pins, written by whoever deletes: between the look at a pin and the deletion nobody pins.
    gate: tokio::sync::RwLock<()>,
}

#[derive(Default)]
struct Held {
    counts: HashMap<Digest, u32>,
    /// What was pinned at any time since the collection began; `None` while there is none. What was deployed
    /// meanwhile is not in the collector's picture of what is live.
    lately: Option<HashSet<Digest>>,
}

/// Holds pins until it is dropped.
pub(crate) struct Pinned {
    pins: Arc<Pins>,
    digests: Vec<Digest>,
}

impl Pins {
    /// Pins digests: while they are, what they name is not deleted.
    pub(crate) async fn pin(self: &Arc<Self>, digests: Vec<Digest>) -> Pinned {
        let _gate = self.gate.read().await;
        let mut held = self.held.lock();
        for digest in &digests {
            *held.counts.entry(*digest).or_default() += 1;
            if let Some(lately) = &mut held.lately {
                lately.insert(*digest);
            }
        }
        drop(held);
        Pinned { pins: self.clone(), digests }
    }

    fn collection_begins(&self) {
        let mut held = self.held.lock();
        held.lately = Some(held.counts.keys().copied().collect());
    }

    fn collection_ends(&self) {
        self.held.lock().lately = None;
    }

    fn has(&self, digest: &Digest) -> bool {
        let held = self.held.lock();
        held.counts.contains_key(digest) || held.lately.as_ref().is_some_and(|lately| lately.contains(digest))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut held = self.pins.held.lock();
        for digest in &self.digests {
            if let Some(count) = held.counts.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    held.counts.remove(digest);
                }
            }
        }
    }
}

/// What is pointed at.
#[derive(Default)]
struct Live {
    /// Revisions, each with its tenant.
    revisions: HashSet<(String, Digest)>,
    archives: HashSet<Digest>,
    secrets: BTreeSet<(String, String, u64)>,
}

impl Engine {
    /// Deletes what nothing points at; returns bytes freed.
    pub(crate) async fn collect(&self) -> Result<u64, Error> {
        let _cleaning = self.cleaning.lock().await;
        self.pins.collection_begins();
        let freed = self.collect_all().await;
        self.pins.collection_ends();
        freed
    }

    async fn collect_all(&self) -> Result<u64, Error> {
        let mut live = Live::default();
        for deployed in self.functions.select(None, None) {
            let function = &deployed.function;
            let tenant = function.key.tenant.as_str();
            live.revisions.extend(function.revisions.iter().map(|entry| (tenant.to_owned(), entry.digest)));
        }
        let query = ListQuery { kind: REVISION.to_owned(), ..ListQuery::default() };
        let mut list = pages(&*self.store, query, PAGE);
        while let Some(page) = list.try_next().await? {
            self.collect_revisions(page.documents, &mut live).await?;
        }
        drop(list);
        self.prune_secrets(&live.secrets).await?;
        let freed = self.collect_blobs(&live).await?;
        Ok(freed + self.collect_prepared(&live).await?)
    }

    async fn collect_revisions(&self, documents: Vec<Document>, live: &mut Live) -> Result<(), Error> {
        let _gate = self.pins.gate.write().await;
        let mut dead = Vec::new();
        for document in documents {
            let digest: Digest = document.name.parse()?;
            if !live.revisions.contains(&(document.namespace.clone(), digest)) && !self.pins.has(&digest) {
                dead.push(Write::Delete(document.key(), Expect::Any));
                continue;
            }
            let spec = documents::revision_spec(&document)?;
            if let Some(archive) = spec.workload.archive() {
                live.archives.insert(archive);
            }
            let tenant = document.namespace;
            let mounts = spec.secrets.into_iter();
            live.secrets.extend(mounts.map(|mount| (tenant.clone(), mount.name, mount.version)));
        }
        if !dead.is_empty() {
            self.store.write(dead).await?;
        }
        Ok(())
    }

    async fn collect_blobs(&self, live: &Live) -> Result<u64, Error> {
        let grace = self.shared.options.blob_grace.as_secs();
        let mut freed = 0;
        for blob in self.shared.blobs.list().await? {
            if blob.age_seconds < grace || live.archives.contains(&blob.digest) {
                continue;
            }
            let _gate = self.pins.gate.write().await;
            if !self.pins.has(&blob.digest) {
                self.shared.blobs.delete(&blob.digest).await?;
                freed += blob.bytes;
            }
        }
        Ok(freed)
    }

    async fn collect_prepared(&self, live: &Live) -> Result<u64, Error> {
        let known: HashSet<Digest> = live.revisions.iter().map(|(_, digest)| *digest).collect();
        let is_live = |digest: &Digest| known.contains(digest) || self.pins.has(digest);
        let mut freed = 0;
        for driver in &self.shared.drivers {
            freed += driver.collect(&is_live).await?;
        }
        Ok(freed)
    }
}

/// Collects garbage again and again, for as long as the engine is there.
pub(crate) async fn collect_regularly(engine: Weak<Engine>) {
    loop {
        let Some(every) = engine.upgrade().map(|engine| engine.shared.options.collect_every) else { return };
        tokio::time::sleep(every).await;
        let Some(engine) = engine.upgrade() else { return };
        match engine.collect().await {
            Ok(bytes) => tracing::debug!(bytes, "garbage collected"),
            Err(error) => tracing::warn!(%error, "garbage could not be collected"),
        }
    }
}
