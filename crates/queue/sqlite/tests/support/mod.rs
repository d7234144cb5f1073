//! Queues and messages for tests.

#![allow(dead_code, clippy::unwrap_used)]

use bytes::Bytes;
use jiff::Timestamp;
use std::{path::Path, sync::Arc, time::Duration};
use xebec_core::{
    FunctionKey, Tenant,
    message::{Call, Lane, Message, Payload},
    ports::{
        clock::SystemClock,
        queue::{Ask, Claim, Queue as _, Settled, Settlement, Verdict},
    },
};
use xebec_queue_sqlite::{Options, SqliteQueue};

pub(crate) fn open(directory: &Path) -> SqliteQueue {
    open_with(directory, Options::default())
}

pub(crate) fn open_with(directory: &Path, options: Options) -> SqliteQueue {
    SqliteQueue::open(directory, Arc::new(SystemClock), options).unwrap()
}

pub(crate) fn lane(tenant: &str, function: &str) -> Lane {
    Lane::function("default", &FunctionKey::new(&Tenant::new(tenant), "native", function))
}

pub(crate) fn message(lane: &Lane, body: impl Into<Bytes>) -> Message {
    let now = Timestamp::now();
    let mut headers = http::HeaderMap::new();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    Message {
        authorised: true,
        ..Message::new(
            lane.clone(),
            Call { method: "POST".into(), uri: "/".into(), headers, body: Payload::Inline(body.into()) },
            now,
        )
    }
}

pub(crate) fn ask(most: usize) -> Ask {
    Ask { most, lease: Duration::from_secs(60), wait: Duration::ZERO }
}

pub(crate) async fn claim(queue: &SqliteQueue, most: usize) -> Vec<Claim> {
    queue.claim(ask(most)).await.unwrap()
}

/// All messages of a claim are over.
pub(crate) async fn over(queue: &SqliteQueue, claim: &Claim) {
    for claimed in &claim.messages {
        let settlement = Settlement { id: claimed.message.id, verdict: Verdict::Over, then: Vec::new() };
        assert_eq!(queue.settle(claim.id, settlement).await.unwrap(), Settled::Yes);
    }
}
