//! Looking at what is in the queue, and seeing to it by hand.

use crate::{
    errors::{self, Failure},
    requirements,
    shared::{Shared, TRIES},
    wire::{Key, Phase, Run, Standing, Write, pack, unpack},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use std::time::Duration;
use xebec_core::{
    Digest, Error, ErrorKind, InvocationId, Tenant,
    message::Message,
    ports::queue::{Entry, EntryPage, EntryQuery, LaneStats, Place, Selection},
};

/// Reads and changes in flight for one call.
const AT_ONCE: usize = 32;

/// Messages on a page, and taken away at once, at most.
const MOST: usize = 1000;

/// Messages on a page, unless asked otherwise.
const PAGE: usize = 100;

/// What messages may be.
const STATES: [&str; 3] = ["waiting", "running", "dead"];

/// How messages are sorted: oldest accepted first.
type Age = (Timestamp, u64, InvocationId);

impl Shared {
    pub(crate) async fn get(&self, id: &InvocationId) -> Result<Option<Entry>, Error> {
        let Some(found) = self.refresh(&Key::Message(*id)).await? else { return Ok(None) };
        let Some(standing) = found.living() else { return Ok(None) };
        Ok(standing.entry(unpack(&found.payload)?))
    }

    pub(crate) async fn list(&self, query: &EntryQuery) -> Result<EntryPage, Error> {
        if let Some(state) = query.state.as_deref().filter(|state| !STATES.contains(state)) {
            return Err(Error::invalid("XB4025", format!("no message is {state:?}"))
                .with_hint(format!("states are {}", STATES.join(", "))));
        }
        let after = query.cursor.as_deref().map(read_cursor).transpose()?;
        let limit = query.limit.map_or(PAGE, |limit| limit as usize).clamp(1, MOST);
        let wanted = |phase: &Phase| query.state.as_deref().is_none_or(|state| state == name(phase));
        let mut found = self.select(&query.which, wanted);
        found.retain(|age| after.is_none_or(|after| *age > after));
        found.sort_unstable();
        let more = found.len() > limit;
        found.truncate(limit);
        let cursor = found.last().filter(|_| more).map(write_cursor);
        let work = found.into_iter().map(|(_, _, id)| async move { self.entry(&id).await });
        let read: Vec<_> = stream::iter(work).buffered(AT_ONCE).collect().await;
        let mut entries = Vec::with_capacity(read.len());
        for entry in read {
            // What went meanwhile, or is in another state by now, is left out.
            entries.extend(
                entry?.filter(|entry| query.state.as_deref().is_none_or(|state| state == entry.state.name())),
            );
        }
        Ok(EntryPage { entries, cursor })
    }

    /// A message as it is known here.
    async fn entry(&self, id: &InvocationId) -> Result<Option<Entry>, Error> {
        let Some(payload) = self.payload(id).await? else { return Ok(None) };
        let standing = match self.index.lock().entries.get(id) {
            Some(known) => known.standing.clone(),
            None => return Ok(None),
        };
        Ok(standing.entry(unpack(&payload)?))
    }

    fn select(&self, which: &Selection, wanted: impl Fn(&Phase) -> bool) -> Vec<Age> {
        let index = self.index.lock();
        let age = |(id, known): (&InvocationId, &crate::index::Known)| {
            (wanted(&known.standing.phase) && which.covers(id, &known.lane))
                .then(|| (known.accepted, known.order(), *id))
        };
        match &which.ids {
            Some(ids) => {
                ids.iter().filter_map(|id| index.entries.get_key_value(id)).filter_map(age).collect()
            }
            None => index.entries.iter().filter_map(age).collect(),
        }
    }

    fn dead(&self, which: &Selection) -> Vec<InvocationId> {
        let mut found = self.select(which, |phase| matches!(phase, Phase::Dead { .. }));
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|(_, _, id)| id).collect()
    }

    pub(crate) async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error> {
        for _ in 0..TRIES {
            let none = || Error::not_found("XB4021", format!("no message {id}"));
            let found = self.refresh(&Key::Message(*id)).await?.ok_or_else(none)?;
            let standing = found.living().ok_or_else(none)?;
            let message = unpack(&found.payload)?;
            let (write, entry) = match &standing.phase {
                Phase::Running(run) => {
                    let run = Phase::Running(Run { cancelled: true, ..run.clone() });
                    let order = Some(standing.order.unwrap_or(found.sequence));
                    let standing = Standing { order, ..standing.to(run) };
                    let entry = standing.entry(message);
                    (Write::change(*id, found.sequence, standing, found.payload), entry)
                }
                Phase::Waiting | Phase::Dead { .. } | Phase::Gone => {
                    (Write::gone(*id, found.sequence, standing), standing.entry(message))
                }
            };
            match self.commit(&[write]).await {
                Ok(()) => return entry.ok_or_else(none),
                Err(Failure::Conflict) => {}
                Err(failure) => return Err(failure.error()),
            }
        }
        Err(Failure::Conflict.error())
    }

    pub(crate) async fn redrive(&self, which: &Selection, rate: Option<u32>) -> Result<u64, Error> {
        let began = self.clock.now();
        let due = |place: usize| match rate {
            Some(rate) => {
                let after = Duration::from_secs_f64(place as f64 / f64::from(rate.max(1)));
                began.saturating_add(after).unwrap_or(Timestamp::MAX)
            }
            None => began,
        };
        let dead = self.dead(which);
        let work = dead.into_iter().enumerate().map(|(place, id)| self.revive(id, due(place)));
        let results: Vec<_> = stream::iter(work).buffered(AT_ONCE).collect().await;
        let mut revived = 0;
        for result in results {
            revived += u64::from(result?);
        }
        Ok(revived)
    }

    /// `false`: it is no dead letter any more.
    async fn revive(&self, id: InvocationId, due: Timestamp) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let Some(payload) = self.payload(&id).await? else { return Ok(false) };
            let mut message = unpack(&payload)?;
            // It shall not end of what it died of.
            (message.due, message.expires) = (due, None);
            let payload = pack(&message)?;
            let write = match self.index.lock().entries.get(&id) {
                Some(known) if matches!(known.standing.phase, Phase::Dead { .. }) => {
                    let standing = Standing { order: Some(known.order()), ..Standing::fresh(due) };
                    Write::change(id, known.sequence, standing, payload)
                }
                _ => return Ok(false),
            };
            match self.commit(&[write]).await {
                Ok(()) => return Ok(true),
                Err(Failure::Conflict) => self.refresh(&Key::Message(id)).await?,
                Err(failure) => return Err(failure.error()),
            };
        }
        Err(Failure::Conflict.error())
    }

    pub(crate) async fn discard(&self, which: &Selection) -> Result<Vec<Message>, Error> {
        let mut dead = self.dead(which);
        dead.truncate(MOST);
        let work = dead.into_iter().map(|id| self.bury(id));
        let results: Vec<_> = stream::iter(work).buffered(AT_ONCE).collect().await;
        let mut gone = Vec::new();
        for result in results {
            gone.extend(result?);
        }
        Ok(gone)
    }

    /// `None`: it is no dead letter any more.
    async fn bury(&self, id: InvocationId) -> Result<Option<Message>, Error> {
        let Some(message) = self.message(&id).await? else { return Ok(None) };
        let write = match self.index.lock().entries.get(&id) {
            Some(known) if matches!(known.standing.phase, Phase::Dead { .. }) => {
                Write::gone(id, known.sequence, &known.standing)
            }
            _ => return Ok(None),
        };
        match self.commit(&[write]).await {
            Ok(()) => Ok(Some(message)),
            Err(Failure::Conflict) => self.refresh(&Key::Message(id)).await.map(|_| None),
            Err(failure) => Err(failure.error()),
        }
    }

    pub(crate) async fn set_pause(&self, place: &Place, paused: bool) -> Result<(), Error> {
        let text = serde_json::to_vec(place).map_err(|e| Error::internal("XB4003", e.to_string()))?;
        let payload = if paused { text.into() } else { Bytes::new() };
        let ttl = (!paused).then_some(crate::wire::GONE_FOR);
        let write = Write { key: Key::pause(place), expected: None, standing: None, payload, ttl };
        self.commit(&[write]).await.map_err(Failure::error)
    }

    pub(crate) fn paused(&self) -> Vec<Place> {
        let index = self.index.lock();
        let mut places: Vec<Place> = index.paused.values().filter_map(|(_, place)| place.clone()).collect();
        places.sort_unstable();
        places
    }

    pub(crate) fn stats(&self, tenant: Option<&Tenant>) -> Vec<LaneStats> {
        let now = self.clock.now();
        let index = self.index.lock();
        let mut all: Vec<_> = index
            .lanes
            .iter()
            .filter(|(lane, _)| tenant.is_none_or(|tenant| *tenant == lane.tenant))
            .map(|(lane, state)| LaneStats {
                lane: (**lane).clone(),
                waiting: state.waiting.len() as u64,
                delayed: state.waiting.iter().rev().take_while(|(due, _)| *due > now).count() as u64,
                running: state.running,
                dead: state.dead,
                oldest_due: state.waiting.first().map(|(due, _)| *due).filter(|due| *due <= now),
                paused: state.paused,
            })
            .filter(|stats| stats.waiting + stats.running + stats.dead > 0)
            .collect();
        all.sort_unstable_by(|a, b| a.lane.cmp(&b.lane));
        all
    }

    /// Waits until everything is known that was written before now, then names the blobs.
    pub(crate) async fn blobs(&self) -> Result<Vec<Digest>, Error> {
        let log = self.link.log()?;
        let info = log.stream().get_info().await.map_err(errors::away)?;
        let read = async {
            loop {
                let woken = self.wake.notified();
                {
                    let index = self.index.lock();
                    if index.synced && index.position >= info.state.last_sequence {
                        return;
                    }
                }
                let _ = tokio::time::timeout(Duration::from_millis(100), woken).await;
            }
        };
        if tokio::time::timeout(self.options.answer, read).await.is_err() {
            let message = "the queue's stream is not read to its end yet";
            return Err(Error::new(ErrorKind::Unavailable, "XB4005", message).with_hint("try again"));
        }
        Ok(self.index.lock().entries.values().filter_map(|known| known.blob).collect())
    }

    pub(crate) async fn health(&self) -> Result<(), Error> {
        let info = self.link.log()?.stream().get_info().await.map_err(errors::away)?;
        if info.state.messages >= self.options.max_records {
            return Err(errors::api(10077, "maximum messages exceeded"));
        }
        self.check_room(&[])?;
        // Without it nothing was asked there when it was connected to, either.
        let asked = !self.options.accept_unsynced || !self.options.monitoring.is_empty();
        match if asked { requirements::complaint(&self.options).await } else { None } {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Running(_) => "running",
        Phase::Dead { .. } => "dead",
        Phase::Gone => "gone",
    }
}

fn write_cursor((accepted, order, id): &Age) -> String {
    format!("{}.{order}.{}", accepted.as_nanosecond(), id.0.simple())
}

fn read_cursor(text: &str) -> Result<Age, Error> {
    let read = || {
        let mut parts = text.split('.');
        let accepted = Timestamp::from_nanosecond(parts.next()?.parse().ok()?).ok()?;
        let order = parts.next()?.parse().ok()?;
        let id = InvocationId(uuid::Uuid::try_parse(parts.next()?).ok()?);
        Some((accepted, order, id))
    };
    read().ok_or_else(|| Error::invalid("XB4014", "the cursor is none that this queue gave"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back() {
        let age = (Timestamp::from_nanosecond(-7).unwrap(), 9, InvocationId::new());
        assert_eq!(read_cursor(&write_cursor(&age)).unwrap(), age);
        assert!(read_cursor("no").is_err() && read_cursor("1.2.x").is_err());
    }
}
