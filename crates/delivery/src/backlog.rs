//! What waits for functions that are scaled by it: told to the engine every second, as long as there are such
//! functions. Never on the way of a message.

use crate::shared::Shared;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};
use tokio::time::sleep;
use xebec_core::{Error, FunctionKey, Tenant, message::Target, ports::queue::LaneStats};

/// How often it is told.
const EVERY: Duration = Duration::from_secs(1);

/// Where more tenants than these have such functions, all lanes are looked at together.
const SINGLE_TENANTS: usize = 4;

/// Tells, for ever.
pub(crate) async fn tell(shared: &Shared) {
    let mut told = BTreeMap::new();
    loop {
        let scaled = shared.lanes.scaled_by_queue().await;
        match look(shared, &scaled).await {
            Ok(waiting) => {
                // What has run dry is told, too, once.
                let dry = told.keys().filter(|key| !waiting.contains_key(*key));
                dry.for_each(|key| shared.control.note_backlog(key, 0));
                waiting.iter().for_each(|(key, count)| shared.control.note_backlog(key, *count));
                told = waiting;
            }
            Err(error) => tracing::debug!(%error, "the queue does not say what waits in it"),
        }
        sleep(EVERY).await;
    }
}

/// How many messages could begin, of those functions for which there are any.
async fn look(shared: &Shared, scaled: &HashSet<FunctionKey>) -> Result<BTreeMap<FunctionKey, u64>, Error> {
    let tenants: BTreeSet<&Tenant> = scaled.iter().map(|key| &key.tenant).collect();
    let mut lanes = Vec::new();
    if tenants.len() > SINGLE_TENANTS {
        lanes = shared.queue.stats(None).await?;
    } else {
        for tenant in tenants {
            lanes.extend(shared.queue.stats(Some(tenant)).await?);
        }
    }
    let mut waiting = BTreeMap::new();
    for stats in &lanes {
        let taker = match &stats.lane.target {
            Target::Function(key) => Some(key.clone()),
            Target::Consumer => shared.lanes.consumer(&stats.lane),
            Target::Host(_) => None,
        };
        let (Some(key), count @ 1..) = (taker, could_begin(stats)) else { continue };
        if scaled.contains(&key) {
            *waiting.entry(key).or_insert(0) += count;
        }
    }
    Ok(waiting)
}

fn could_begin(stats: &LaneStats) -> u64 {
    if stats.paused { 0 } else { stats.waiting.saturating_sub(stats.delayed) }
}
