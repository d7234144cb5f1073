//! Changes of one thing come one after the other.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};
use tokio::sync::OwnedMutexGuard;
use xebec_core::Tenant;

/// What one thing is changed under.
type Turn = tokio::sync::Mutex<()>;

/// Who may change what.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<(Tenant, String), Weak<Turn>>>);

/// How many unused turns are kept before they are swept.
const SWEEP_AT: usize = 1024;

impl Turns {
    /// The right to change what has a name in a namespace until it is dropped; for a package, with all that is
    /// in it.
    pub(crate) async fn take(&self, namespace: &Tenant, local: &str) -> OwnedMutexGuard<()> {
        let first = local.split('/').next().unwrap_or(local).to_owned();
        let turn = {
            let mut turns = self.0.lock();
            if turns.len() >= SWEEP_AT {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            let slot = turns.entry((namespace.clone(), first)).or_default();
            match slot.upgrade() {
                Some(turn) => turn,
                None => {
                    let turn = Arc::default();
                    *slot = Arc::downgrade(&turn);
                    turn
                }
            }
        };
        turn.lock_owned().await
    }
}
