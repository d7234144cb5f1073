//! Deliveries that keep what they are given.

use async_trait::async_trait;
use http::request::Parts;
use jiff::Timestamp;
use std::sync::{Arc, Mutex};
use xebec_core::{
    Body, Error, InvocationId, Tenant,
    auth::Principal,
    message::{Call, Lane, Message, Payload, Receipt, Submission, Wishes},
    ports::{
        deliveries::Deliveries,
        queue::{Entry, EntryPage, EntryQuery, EntryState, LaneStats, Place, Selection},
    },
    rules::retry::History,
};

/// A call that was accepted.
pub struct Accepted {
    pub id: InvocationId,
    pub principal: Principal,
    pub parts: Parts,
    pub body: String,
    pub wishes: Wishes,
    message: Message,
}

/// Deliveries that keep what they are given.
#[derive(Default)]
pub struct Later {
    pub accepted: Mutex<Vec<Accepted>>,
    /// What every submission fails with.
    pub trouble: Mutex<Option<Error>>,
}

impl Later {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn take(&self) -> Accepted {
        self.accepted.lock().unwrap().pop().expect("a call was accepted")
    }
}

fn no_such() -> Error {
    Error::not_found("XB4021", "no such message")
}

#[async_trait]
impl Deliveries for Later {
    async fn submit(&self, submission: Submission) -> Result<Receipt, Error> {
        if let Some(error) = self.trouble.lock().unwrap().clone() {
            return Err(error);
        }
        let Submission { id, function, request, principal, wishes, source, .. } = submission;
        let (parts, body) = request.into_parts();
        let body = body.collect(1 << 20).await.unwrap();
        let now = Timestamp::now();
        let message = Message {
            id,
            destinations: wishes.destinations.clone(),
            source,
            ..Message::new(
                Lane::function("default", &function),
                Call {
                    method: parts.method.as_str().into(),
                    uri: parts.uri.to_string(),
                    headers: parts.headers.clone(),
                    body: Payload::Inline(body.clone()),
                },
                now,
            )
        };
        let body = String::from_utf8(body.to_vec()).unwrap();
        self.accepted.lock().unwrap().push(Accepted { id, principal, parts, body, wishes, message });
        Ok(Receipt { id, duplicate: false })
    }

    async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error> {
        let entry = self.message(id).await?.ok_or_else(no_such)?;
        self.accepted.lock().unwrap().retain(|accepted| accepted.id != *id);
        Ok(entry)
    }

    async fn message(&self, id: &InvocationId) -> Result<Option<Entry>, Error> {
        let accepted = self.accepted.lock().unwrap();
        let found = accepted.iter().find(|accepted| accepted.id == *id);
        Ok(found.map(|accepted| Entry {
            message: accepted.message.clone(),
            history: History::default(),
            state: EntryState::Waiting { due: accepted.message.due },
            why: None,
        }))
    }

    async fn body(&self, _: &InvocationId) -> Result<Body, Error> {
        super::unused()
    }

    async fn messages(&self, _: &EntryQuery) -> Result<EntryPage, Error> {
        super::unused()
    }

    async fn queues(&self, _: Option<&Tenant>) -> Result<Vec<LaneStats>, Error> {
        super::unused()
    }

    fn queues_lately(&self) -> Vec<LaneStats> {
        let accepted = self.accepted.lock().unwrap();
        let lanes = accepted.iter().map(|accepted| LaneStats {
            lane: accepted.message.lane.clone(),
            waiting: 1,
            delayed: 0,
            running: 0,
            dead: 0,
            oldest_due: None,
            paused: false,
        });
        lanes.collect()
    }

    async fn redrive(&self, _: &Selection, _: Option<u32>) -> Result<u64, Error> {
        super::unused()
    }

    async fn discard(&self, _: &Selection) -> Result<u64, Error> {
        super::unused()
    }

    async fn pause(&self, _: &Place) -> Result<(), Error> {
        super::unused()
    }

    async fn resume(&self, _: &Place) -> Result<(), Error> {
        super::unused()
    }

    async fn paused(&self) -> Result<Vec<Place>, Error> {
        super::unused()
    }

    async fn health(&self) -> Result<(), Error> {
        Ok(())
    }
}
