//! Claiming messages as long as there is room, and running what was claimed.

use crate::{persist::PAUSES, run::run, shared::Shared};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, timeout},
};
use xebec_core::{
    Error,
    ports::queue::{Ask, Claim},
};

/// How long a claim waits for the first message. Asking again costs nothing that matters.
const WAIT: Duration = Duration::from_secs(20);

/// How long a claim that is under way may still bring messages after the end was announced.
const LAST: Duration = Duration::from_millis(100);

/// A claim that waited for less than this and brought nothing is not asked again at once.
const SOON: Duration = Duration::from_millis(5);

/// Claims and runs until `stopping` is true.
pub(crate) async fn dispatch(shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let mut failures = 0;
    while let Some(mut permits) = room(&shared, &mut stopping).await {
        let asked = Instant::now();
        let Some(claimed) = claim(&shared, permits.num_permits(), &mut stopping).await else { return };
        let pause = match claimed {
            Ok(claims) => {
                let pause = claims.is_empty() && asked.elapsed() < SOON;
                for claim in claims {
                    spawn(&shared, claim, permits.split(1));
                }
                failures = 0;
                if pause { SOON } else { Duration::ZERO }
            }
            Err(error) => {
                failures += 1;
                if failures == 1 {
                    tracing::warn!(%error, "cannot claim messages for now, trying again");
                }
                PAUSES.jittered(failures, rand::random())
            }
        };
        drop(permits);
        if !pause.is_zero() {
            tokio::select! {
                () = sleep(pause) => {}
                () = ended(&mut stopping) => return,
            }
        }
    }
}

async fn ended(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone has ended, too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Room for one claim or more; `None`: the end.
async fn room(shared: &Shared, stopping: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
    let mut permits = tokio::select! {
        biased;
        () = ended(stopping) => return None,
        permit = shared.room.clone().acquire_owned() => permit.ok()?,
    };
    let more = u32::try_from(shared.room.available_permits()).unwrap_or(u32::MAX);
    if let Ok(more) = shared.room.clone().try_acquire_many_owned(more) {
        permits.merge(more);
    }
    Some(permits)
}

/// What there is to run; `None`: the end.
async fn claim(
    shared: &Shared,
    most: usize,
    stopping: &mut watch::Receiver<bool>,
) -> Option<Result<Vec<Claim>, Error>> {
    let ask = Ask { most, lease: shared.options.lease, wait: WAIT };
    let mut claims = pin!(shared.queue.claim(ask));
    tokio::select! {
        biased;
        claims = &mut claims => Some(claims),
        // What is claimed in this moment should not be left to its lease.
        () = ended(stopping) => timeout(LAST, claims).await.ok(),
    }
}

fn spawn(shared: &Arc<Shared>, claim: Claim, permit: Option<OwnedSemaphorePermit>) {
    let shared = shared.clone();
    tokio::spawn(async move {
        let _permit = permit;
        run(&shared, claim).await;
    });
}
