//! Deliveries in memory: what is submitted waits for ever.

use async_trait::async_trait;
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use xebec_core::{
    Body, Error, InvocationId, Tenant,
    auth::Principal,
    error::ErrorKind,
    message::{Call, Lane, Message, Payload, Receipt, Wishes},
    ports::{
        deliveries::Deliveries,
        queue::{Entry, EntryPage, EntryQuery, EntryState, LaneStats, Place, Selection},
    },
    rules::retry::{Death, History},
};

/// Deliveries in memory.
#[derive(Default)]
pub struct Memory {
    pub entries: Mutex<BTreeMap<InvocationId, Entry>>,
    pub wishes: Mutex<Vec<(Wishes, Principal)>>,
    pub queries: Mutex<Vec<EntryQuery>>,
    pub selections: Mutex<Vec<(Selection, Option<u32>)>>,
    pub places: Mutex<Vec<(Place, bool)>>,
    /// What the next submissions are answered with.
    pub refusal: Mutex<Option<Error>>,
}

impl Memory {
    /// The one message that there is.
    pub fn only(&self) -> Entry {
        let entries = self.entries.lock().unwrap();
        assert_eq!(entries.len(), 1);
        entries.values().next().cloned().unwrap()
    }

    /// Makes a message a dead letter.
    pub fn bury(self: &Arc<Self>, id: &InvocationId, why: &str) {
        let mut entries = self.entries.lock().unwrap();
        let entry = entries.get_mut(id).unwrap();
        entry.state = EntryState::Dead { since: Timestamp::now(), death: Death::Exhausted };
        entry.history.failures = 5;
        entry.why = Some(why.to_owned());
    }
}

fn missing(id: &InvocationId) -> Error {
    Error::not_found("XB4021", format!("there is no message {id}"))
}

#[async_trait]
impl Deliveries for Memory {
    async fn submit(&self, submission: xebec_core::message::Submission) -> Result<Receipt, Error> {
        if let Some(error) = self.refusal.lock().unwrap().clone() {
            return Err(error);
        }
        let xebec_core::message::Submission { id, function, request, wishes, principal, source, .. } =
            submission;
        let (head, body) = request.into_parts();
        let body = body.collect(1 << 20).await.unwrap();
        self.wishes.lock().unwrap().push((wishes.clone(), principal));
        let mut entries = self.entries.lock().unwrap();
        let same =
            |entry: &&Entry| wishes.idempotency.is_some() && entry.message.idempotency == wishes.idempotency;
        if let Some(first) = entries.values().find(same) {
            return Ok(Receipt { id: first.message.id, duplicate: true });
        }
        let now = Timestamp::now();
        let message = Message {
            id,
            due: now + wishes.delay.unwrap_or_default(),
            priority: wishes.priority.unwrap_or(5),
            key: wishes.key,
            idempotency: wishes.idempotency,
            retry: wishes.retry,
            guarantee: wishes.guarantee,
            destinations: wishes.destinations,
            source,
            ..Message::new(
                Lane::function(wishes.queue.as_deref().unwrap_or("default"), &function),
                Call {
                    method: head.method.as_str().into(),
                    uri: head.uri.to_string(),
                    headers: head.headers,
                    body: Payload::Inline(body),
                },
                now,
            )
        };
        let state = EntryState::Waiting { due: message.due };
        entries.insert(id, Entry { message, history: History::default(), state, why: None });
        Ok(Receipt { id, duplicate: false })
    }

    async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error> {
        self.entries.lock().unwrap().remove(id).ok_or_else(|| missing(id))
    }

    async fn message(&self, id: &InvocationId) -> Result<Option<Entry>, Error> {
        Ok(self.entries.lock().unwrap().get(id).cloned())
    }

    async fn body(&self, id: &InvocationId) -> Result<Body, Error> {
        let entry = self.message(id).await?.ok_or_else(|| missing(id))?;
        Ok(Body::full(entry.message.inline().clone()))
    }

    async fn messages(&self, query: &EntryQuery) -> Result<EntryPage, Error> {
        self.queries.lock().unwrap().push(query.clone());
        let entries = self.entries.lock().unwrap();
        let found =
            entries.values().filter(|entry| query.which.covers(&entry.message.id, &entry.message.lane));
        Ok(EntryPage { entries: found.cloned().collect(), cursor: None })
    }

    async fn queues(&self, tenant: Option<&Tenant>) -> Result<Vec<LaneStats>, Error> {
        let entries = self.entries.lock().unwrap();
        let mut lanes: BTreeMap<Lane, u64> = BTreeMap::new();
        for entry in entries.values() {
            if tenant.is_none_or(|tenant| *tenant == entry.message.lane.tenant) {
                *lanes.entry(entry.message.lane.clone()).or_default() += 1;
            }
        }
        let stats = |(lane, waiting)| LaneStats {
            lane,
            waiting,
            delayed: 0,
            running: 0,
            dead: 0,
            oldest_due: None,
            paused: false,
        };
        Ok(lanes.into_iter().map(stats).collect())
    }

    async fn redrive(&self, which: &Selection, rate: Option<u32>) -> Result<u64, Error> {
        self.selections.lock().unwrap().push((which.clone(), rate));
        Ok(3)
    }

    async fn discard(&self, which: &Selection) -> Result<u64, Error> {
        self.selections.lock().unwrap().push((which.clone(), None));
        Ok(2)
    }

    async fn pause(&self, place: &Place) -> Result<(), Error> {
        self.places.lock().unwrap().push((place.clone(), true));
        Ok(())
    }

    async fn resume(&self, place: &Place) -> Result<(), Error> {
        self.places.lock().unwrap().push((place.clone(), false));
        Ok(())
    }

    async fn paused(&self) -> Result<Vec<Place>, Error> {
        let mut paused = Vec::new();
        for (place, begun) in self.places.lock().unwrap().iter() {
            paused.retain(|known| known != place);
            if *begun {
                paused.push(place.clone());
            }
        }
        Ok(paused)
    }

    async fn health(&self) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Unavailable, "XB4023", "these tests have no business here"))
    }
}
