//! Which workers claim: each says so once a second.

use crate::{shared::Shared, wire::WorkerId};
use futures_util::StreamExt as _;
use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};
use xebec_core::Error;

/// How often a worker says that it is there.
const EVERY: Duration = Duration::from_secs(1);

/// Who was silent for so long is gone.
const SILENT: Duration = Duration::from_millis(3500);

/// Who did not claim for so long does no work, and need not be left any.
const CLAIMED: Duration = Duration::from_secs(5);

/// Says that this worker claims, and listens who else does. That the words may be lost matters little: they
/// only keep workers from reaching for the same messages.
pub(crate) async fn meet(shared: &Shared, me: &WorkerId) {
    let subject = format!("{}.w", shared.options.prefix);
    loop {
        if let Err(error) = talk(shared, me, &subject).await {
            tracing::debug!(%error, "workers do not hear of each other");
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn talk(shared: &Shared, me: &WorkerId, subject: &str) -> Result<(), Error> {
    let mut words = shared.link.client.subscribe(subject.to_owned()).await.map_err(crate::errors::away)?;
    let mut seen: HashMap<WorkerId, Instant> = HashMap::new();
    let mut crew = BTreeSet::new();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => if shared.claims(CLAIMED) && shared.link.log().is_ok() {
                let payload = me.as_bytes().to_vec().into();
                shared.link.client.publish(subject.to_owned(), payload).await.map_err(crate::errors::away)?;
            },
            word = words.next() => {
                let Some(word) = word else { return Ok(()) };
                if let Ok(worker) = std::str::from_utf8(&word.payload)
                    && worker != me.as_str() && worker.len() <= 64
                {
                    seen.insert(worker.into(), Instant::now());
                }
            }
        }
        seen.retain(|_, at| at.elapsed() < SILENT);
        let now: BTreeSet<WorkerId> = seen.keys().cloned().collect();
        if now != crew {
            crew = now;
            shared.index.lock().crew(&crew, shared.now());
        }
    }
}
