//! Fan-out.

use crate::world::key;
use async_trait::async_trait;
use http::Request;
use parking_lot::Mutex;
use std::sync::Arc;
use xebec_core::{
    Body, Error, InvocationId, Tenant,
    auth::Principal,
    message::{Receipt, Submission},
    ports::{
        deliveries::Deliveries,
        queue::{Entry, EntryPage, EntryQuery, LaneStats, Place, Selection},
    },
};
use xebec_flows::FanOut;

/// Accepts everything but what it does not know, and only when three are there.
#[derive(Default)]
struct Three {
    here: Mutex<usize>,
    all: tokio::sync::Notify,
    accepted: Mutex<Vec<String>>,
}

#[async_trait]
impl Deliveries for Three {
    async fn submit(&self, submission: Submission) -> Result<Receipt, Error> {
        let all = self.all.notified();
        let here = {
            let mut here = self.here.lock();
            *here += 1;
            *here
        };
        if here == 3 {
            self.all.notify_waiters();
        } else {
            all.await;
        }
        let name = submission.function.name.to_string();
        if name == "unknown" {
            return Err(Error::not_found("XB2002", "there is no function \"unknown\""));
        }
        self.accepted.lock().push(name);
        Ok(Receipt { id: submission.id, duplicate: false })
    }

    async fn cancel(&self, _: &InvocationId) -> Result<Entry, Error> {
        unused()
    }
    async fn message(&self, _: &InvocationId) -> Result<Option<Entry>, Error> {
        unused()
    }
    async fn body(&self, _: &InvocationId) -> Result<Body, Error> {
        unused()
    }
    async fn messages(&self, _: &EntryQuery) -> Result<EntryPage, Error> {
        unused()
    }
    async fn queues(&self, _: Option<&Tenant>) -> Result<Vec<LaneStats>, Error> {
        unused()
    }
    async fn redrive(&self, _: &Selection, _: Option<u32>) -> Result<u64, Error> {
        unused()
    }
    async fn discard(&self, _: &Selection) -> Result<u64, Error> {
        unused()
    }
    async fn pause(&self, _: &Place) -> Result<(), Error> {
        unused()
    }
    async fn resume(&self, _: &Place) -> Result<(), Error> {
        unused()
    }
    async fn paused(&self) -> Result<Vec<Place>, Error> {
        unused()
    }
    async fn health(&self) -> Result<(), Error> {
        unused()
    }
}

fn unused<T>() -> Result<T, Error> {
    Err(Error::internal("XB4003", "fan-out only submits"))
}

#[tokio::test]
async fn submits_together_and_tells_of_each() {
    let deliveries = Arc::new(Three::default());
    let fan_out = FanOut::new(deliveries.clone());
    let submission = |name| {
        let request = Request::post("/").body(Body::full("{}")).unwrap();
        Submission::new(key(name), Principal::Local, request)
    };
    let submissions: Vec<_> = ["a", "unknown", "b"].map(submission).into();
    let ids: Vec<_> = submissions.iter().map(|submission| submission.id).collect();
    let submitted = fan_out.submit(submissions);
    let sent = tokio::time::timeout(std::time::Duration::from_secs(60), submitted).await.unwrap();
    assert_eq!(sent.iter().map(|sent| sent.id).collect::<Vec<_>>(), ids);
    let codes: Vec<_> = sent.iter().map(|sent| sent.outcome.as_ref().err().map(|error| error.code)).collect();
    assert_eq!(codes, [None, Some("XB2002"), None]);
    let mut accepted = deliveries.accepted.lock().clone();
    accepted.sort_unstable();
    assert_eq!(accepted, ["a", "b"]);
    assert!(fan_out.submit(Vec::new()).await.is_empty());
}
