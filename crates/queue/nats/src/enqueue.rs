//! Accepting messages.

use crate::{
    errors::Failure,
    shared::{Shared, TRIES},
    wire::{Key, Once, Write},
};
use std::{collections::HashMap, time::Duration};
use xebec_core::{
    Error, InvocationId,
    message::{Idempotency, Message, Receipt},
};

/// How much longer than its window an idempotency key lies in the stream: clocks differ.
const SLACK: Duration = Duration::from_secs(60);

impl Shared {
    /// Accepts messages, all or none.
    pub(crate) async fn enqueue(&self, messages: &[Message]) -> Result<Vec<Receipt>, Error> {
        let mut draft = Draft::of(messages);
        for _ in 0..TRIES {
            let writes = draft.writes(messages)?;
            self.check_room(&writes)?;
            match self.commit(&writes).await {
                Ok(()) => return Ok(draft.receipts(messages)),
                Err(Failure::Conflict) => self.look_up(messages, &mut draft).await?,
                Err(failure) => return Err(failure.error()),
            }
        }
        Err(Failure::Conflict.error())
    }

    /// Some messages, or their idempotency keys, are there already: finds out which.
    pub(crate) async fn look_up(&self, messages: &[Message], draft: &mut Draft) -> Result<(), Error> {
        let log = self.link.log()?;
        let now = self.clock.now();
        for (at, message) in messages.iter().enumerate() {
            if draft.first[at].is_some() {
                continue;
            }
            if let Some(found) = log.last(&Key::Message(message.id)).await? {
                if found.living().is_some() {
                    draft.first[at] = Some(message.id);
                    continue;
                }
                draft.expected[at] = found.sequence;
            }
            let Some(idempotency) = &message.idempotency else { continue };
            let key = Key::once(&message.lane, &idempotency.key);
            let Some(found) = log.last(&key).await? else { continue };
            match serde_json::from_slice::<Once>(&found.payload) {
                Ok(once) if once.until > now => draft.first[at] = Some(once.id),
                _ => draft.expected_once[at] = found.sequence,
            }
        }
        Ok(())
    }
}

/// What is to be accepted, as far as it is known what is there.
pub(crate) struct Draft {
    /// Where it was accepted before: the first one's id.
    first: Vec<Option<InvocationId>>,
    expected: Vec<u64>,
    expected_once: Vec<u64>,
}

impl Draft {
    pub(crate) fn of(messages: &[Message]) -> Self {
        let mut ids = HashMap::new();
        let mut keys = HashMap::new();
        let first = messages.iter().map(|message| {
            if ids.insert(message.id, ()).is_some() {
                return Some(message.id);
            }
            let idempotency = message.idempotency.as_ref()?;
            match keys.entry((&message.lane, &idempotency.key)) {
                std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(message.id);
                    None
                }
            }
        });
        let none = vec![0; messages.len()];
        Self { first: first.collect(), expected: none.clone(), expected_once: none }
    }

    pub(crate) fn writes(&self, messages: &[Message]) -> Result<Vec<Write>, Error> {
        let mut writes = Vec::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            if self.first[at].is_some() {
                continue;
            }
            if let Some(idempotency) = &message.idempotency {
                writes.push(remember(message, idempotency, self.expected_once[at])?);
            }
            writes.push(Write::accept(message, self.expected[at])?);
        }
        Ok(writes)
    }

    fn receipts(&self, messages: &[Message]) -> Vec<Receipt> {
        // The first of two in this call may itself have been accepted before.
        let firsts: HashMap<_, _> =
            messages.iter().zip(&self.first).rev().map(|(message, first)| (message.id, *first)).collect();
        let each = messages.iter().zip(&self.first);
        each.map(|(message, first)| {
            let id = first.and_then(|first| firsts.get(&first).copied().flatten()).or(*first);
            Receipt { id: id.unwrap_or(message.id), duplicate: first.is_some() }
        })
        .collect()
    }
}

fn remember(message: &Message, idempotency: &Idempotency, expected: u64) -> Result<Write, Error> {
    let window = Duration::from_millis(idempotency.window_ms);
    let until = message.accepted.saturating_add(window).unwrap_or(jiff::Timestamp::MAX);
    let once = serde_json::to_vec(&Once { id: message.id, until });
    let payload = once.map_err(|e| Error::internal("XB4003", e.to_string()))?.into();
    Ok(Write {
        key: Key::once(&message.lane, &idempotency.key),
        expected: Some(expected),
        standing: None,
        payload,
        ttl: Some(window.saturating_add(SLACK)),
    })
}
