//! Following the stream.

use crate::{
    shared::Shared,
    wire::{Key, Record},
};
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures_util::StreamExt as _;
use std::{collections::HashSet, time::Duration};
use tokio::sync::watch;

/// What is silent for so long has nothing more to say for now.
const SILENCE: Duration = Duration::from_secs(1);

/// How long until the stream is read again after reading failed.
const AGAIN: Duration = Duration::from_millis(100);

/// Follows the stream, reading it anew after each connection, until `fresh` ends.
pub(crate) async fn follow(shared: &Shared, mut fresh: watch::Receiver<u64>) {
    while fresh.borrow().eq(&0) {
        if fresh.changed().await.is_err() {
            return;
        }
    }
    loop {
        fresh.mark_unchanged();
        tokio::select! {
            result = read(shared) => {
                if let Err(why) = result {
                    tracing::warn!(%why, "following the queue's stream failed; reading it anew");
                }
                tokio::time::sleep(AGAIN).await;
            }
            changed = fresh.changed() => if changed.is_err() { return },
        }
    }
}

/// Reads the stream from its beginning and on, until something fails.
async fn read(shared: &Shared) -> Result<(), String> {
    let log = shared.link.log().map_err(|e| e.to_string())?;
    let info = log.stream().get_info().await.map_err(|e| e.to_string())?;
    let created = info.created.unix_timestamp_nanos();
    let reach = info.state.last_sequence;
    shared.index.lock().begin_anew(created, reach);
    let config = pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let consumer = log.stream().create_consumer(config).await.map_err(|e| e.to_string())?;
    let nothing = consumer.cached_info().num_pending == 0;
    let mut messages = consumer.messages().await.map_err(|e| e.to_string())?;
    // What is seen while reading from the beginning, to know afterwards what is no more.
    let mut seen = Some(HashSet::new());
    let mut position = 0;
    if nothing {
        caught_up(shared, &mut seen, reach, position);
    }
    loop {
        let message = match tokio::time::timeout(SILENCE, messages.next()).await {
            Err(_) => {
                caught_up(shared, &mut seen, reach, position);
                continue;
            }
            Ok(None) => return Err("it ended".to_owned()),
            Ok(Some(message)) => message.map_err(|e| e.to_string())?,
        };
        let info = message.info().map_err(|e| e.to_string())?;
        let (sequence, pending) = (info.stream_sequence, info.pending);
        position = sequence;
        let payload = message.payload.clone();
        let record = Record::read(
            &shared.options.prefix,
            &message.subject,
            sequence,
            message.headers.as_ref(),
            payload,
        );
        if let Some(record) = record {
            if let Some(seen) = &mut seen {
                seen.insert(record.key.clone());
            }
            let now = shared.now();
            let mut index = shared.index.lock();
            index.apply(record, now);
            index.read_up_to(sequence, false, now);
            drop(index);
            shared.wake.notify_waiters();
        }
        if pending == 0 {
            caught_up(shared, &mut seen, reach, position);
        }
    }
}

/// Everything that was in the stream is known by now; `reach` is how far it went when reading began.
fn caught_up(shared: &Shared, seen: &mut Option<HashSet<Key>>, reach: u64, position: u64) {
    let Some(seen) = seen.take() else { return };
    let now = shared.now();
    let mut index = shared.index.lock();
    index.keep_only(&seen, reach, now);
    index.read_up_to(position.max(reach), true, now);
    drop(index);
    shared.wake.notify_waiters();
}
