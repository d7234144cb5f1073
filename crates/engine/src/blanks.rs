//! Blanks: instances started before any user's code is known, kept per environment from its first function on.

use crate::shared::Shared;
use parking_lot::Mutex;
use rand::RngExt as _;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use xebec_core::{environment::Environment, ports::driver::Blank, rules::backoff::Backoff};

/// How starting blanks backs off.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };

/// Blanks, per environment.
#[derive(Default)]
pub(crate) struct Blanks {
    kept: Mutex<BTreeMap<String, Kept>>,
}

#[derive(Default)]
struct Kept {
    ready: Vec<Blank>,
    /// Someone fills it up.
    filling: bool,
    wanted: bool,
}

impl Blanks {
    /// An environment has functions: blanks of it are kept from now on.
    pub(crate) fn want(&self, shared: &Arc<Shared>, environment: &Arc<Environment>) {
        if environment.blanks.is_some() {
            self.kept.lock().entry(environment.name.clone()).or_default().wanted = true;
            self.refill(shared, environment);
        }
    }

    /// An environment has no functions any more.
    pub(crate) fn unwant(&self, environment: &str) {
        // Dropped after the lock: dropping a blank ends a process.
        let _dropped = self.kept.lock().remove(environment);
    }

    /// A blank that still lives, if there is one.
    pub(crate) fn take(&self, environment: &Environment) -> Option<Blank> {
        let mut dead = Vec::new();
        let mut kept = self.kept.lock();
        let ready = &mut kept.get_mut(&environment.name)?.ready;
        let found = loop {
            match ready.pop() {
                Some(blank) if blank.inner.alive() => break Some(blank),
                Some(blank) => dead.push(blank),
                None => break None,
            }
        };
        drop(kept);
        found
    }

    /// Fills up in the background what was taken. Called when a start is through, so that the two do not
    /// compete for the processor.
    pub(crate) fn refill(&self, shared: &Arc<Shared>, environment: &Arc<Environment>) {
        let Some(blanks) = &environment.blanks else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut kept = self.kept.lock();
        let Some(kept) = kept.get_mut(&environment.name) else { return };
        if kept.wanted && !kept.filling && kept.ready.len() < blanks.keep as usize {
            kept.filling = true;
            runtime.spawn(fill(shared.clone(), environment.clone(), blanks.keep as usize));
        }
    }

    /// Blanks ready, by environment.
    pub(crate) fn counts(&self) -> Vec<(String, usize)> {
        self.kept.lock().iter().map(|(name, kept)| (name.clone(), kept.ready.len())).collect()
    }

    /// Drops all blanks, and keeps none any more.
    pub(crate) fn clear(&self) {
        let _dropped = std::mem::take(&mut *self.kept.lock());
    }

    /// Puts one in. False: there are enough now.
    fn put(&self, environment: &str, blank: Blank, keep: usize) -> bool {
        let mut kept = self.kept.lock();
        let Some(kept) = kept.get_mut(environment).filter(|kept| kept.wanted) else { return false };
        kept.ready.push(blank);
        kept.filling = kept.ready.len() < keep;
        kept.filling
    }

    fn is_wanted(&self, environment: &str) -> bool {
        self.kept.lock().get(environment).is_some_and(|kept| kept.wanted)
    }
}

async fn fill(shared: Arc<Shared>, environment: Arc<Environment>, keep: usize) {
    let Some(driver) = shared.driver(&environment.driver).cloned() else { return };
    let mut failures = 0;
    while shared.blanks.is_wanted(&environment.name) {
        match driver.start_blank(environment.clone()).await {
            Ok(blank) => {
                failures = 0;
                if !shared.blanks.put(&environment.name, blank, keep) {
                    return;
                }
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(environment = environment.name, %error, "a blank could not be started");
                let chance: f64 = rand::rng().random();
                tokio::time::sleep(BACKOFF.jittered(failures, chance)).await;
            }
        }
    }
}
