//! Accepting messages.

use super::{
    PATIENCE, Subject, all, finish, gone, keyed, lane, many, message, none, now, put, seen, take, take_one,
    these, until,
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    Digest, InvocationId,
    message::{
        Destination, Destinations, Field, Form, Guarantee, INLINE_BYTES, Idempotency, Lane, Message, Payload,
        Receipt, Recipient, Source, Target,
    },
    ports::queue::{EntryQuery, EntryState},
    record::{Filed, Note},
    rules::retry::{History, Retry},
};

/// An empty queue answers, and has nothing.
pub async fn knows_nothing_at_first(queue: &Subject) {
    let id = InvocationId::new();
    assert_eq!(queue.get(&id).await.unwrap(), None);
    assert_eq!(queue.list(&EntryQuery::default()).await.unwrap().entries, []);
    assert_eq!(queue.stats(None).await.unwrap(), []);
    assert_eq!((queue.blobs().await.unwrap(), queue.paused().await.unwrap()), (vec![], vec![]));
    assert_eq!(queue.cancel(&id).await.unwrap_err().code, "XB4021");
    assert_eq!(queue.redrive(&these(&[id]), None).await.unwrap(), 0);
    assert_eq!(queue.discard(&these(&[id])).await.unwrap(), []);
    assert_eq!(queue.enqueue(Vec::new()).await.unwrap(), []);
    queue.health().await.unwrap();
    none(&**queue, "nothing was sent").await;
}

/// A message with everything in it that one may have.
fn elaborate() -> Message {
    let mut headers = HeaderMap::new();
    headers.append("x-a", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    headers.append("x-a", HeaderValue::from_static("two"));
    let mut message = keyed(&lane("elaborate"), "a key with é and \u{0}");
    message.revision = Some(Digest::of("revision"));
    message.call.headers = headers;
    message.call.body =
        Payload::Inline((0..INLINE_BYTES).map(|n| (n % 251) as u8).collect::<Vec<_>>().into());
    message.authorised = true;
    message.expires = Some(super::in_ms(3_600_000));
    message.priority = 9;
    message.idempotency = Some(Idempotency { key: "once/é".into(), window_ms: 60_000 });
    message.retry = Some(Retry { attempts: 2, codes: vec![418], ..Retry::default() });
    message.guarantee = Some(Guarantee::AtMostOnce);
    let to = |to| Destination {
        to,
        form: Form::Answer,
        headers: vec![("x-call".into(), Field::Id), ("x-text".into(), Field::Text("a b".into()))],
    };
    message.destinations = Destinations {
        on_success: vec![to(Recipient::Url("https://example.com/a?b".to_owned()))],
        on_failure: vec![to(Recipient::Queue("broken".into()))],
    };
    message.hops = 3;
    message.source = Source::Schedule("nightly".into());
    message.dead_letters = Some(false);
    message.note = Some(Arc::new(Note {
        filed: Some(Filed { tenant: super::tenant("filed"), name: "pkg/é".into() }),
        cause: Some(InvocationId::new()),
        details: serde_json::json!({"a": [null, 1.5, "\u{0}"]}),
        answer_bytes: u64::MAX,
    }));
    message
}

/// What was sent is what is seen and what is claimed, whatever it has in it.
pub async fn takes_messages_and_hands_them_over_whole(queue: &Subject) {
    let mut large = message(&lane("large"));
    large.call.body = Payload::Blob { digest: Digest::of("large"), bytes: 1 << 30 };
    let mut empty = message(&lane("empty"));
    empty.call.body = Payload::Inline(Bytes::new());
    let odd = Lane {
        tenant: super::tenant("A tenant/with.odd*chars>"),
        queue: "a queue.of*odd>chars/é".into(),
        target: Target::Host("example.com:8080".into()),
    };
    let sent = [elaborate(), large, empty, message(&odd), message(&Lane { queue: "".into(), ..lane("f") })];
    put(&**queue, &sent).await;
    for message in &sent {
        let entry = seen(&**queue, &message.id).await;
        assert_eq!((&entry.message, entry.history, entry.why), (message, History::default(), None));
        assert_eq!(entry.state, EntryState::Waiting { due: message.due });
    }
    let claims = take(&**queue, sent.len()).await;
    for message in &sent {
        let of_it = claims.iter().find(|claim| claim.lane == message.lane).unwrap();
        assert_eq!(of_it.messages.len(), 1);
        assert_eq!((&of_it.messages[0].message, of_it.messages[0].history), (message, History::default()));
    }
    finish(&**queue, &claims).await;
    for message in &sent {
        gone(&**queue, &message.id).await;
    }
}

/// One that is larger than the queue takes is refused with all that were sent with it; or all are taken.
pub async fn accepts_all_or_none(queue: &Subject) {
    let mut large = message(&lane("f"));
    large.call.body = Payload::Inline(vec![7; 9 << 20].into());
    let sent = vec![message(&lane("f")), large, message(&lane("g"))];
    match queue.enqueue(sent.clone()).await {
        Err(error) => {
            assert_eq!(error.code, "XB4024", "{error}");
            // What is sent after it is seen after it.
            put(&**queue, &many(1, &lane("h"))).await;
            for message in &sent {
                assert_eq!(queue.get(&message.id).await.unwrap(), None);
            }
        }
        Ok(_) => {
            for message in &sent {
                assert_eq!(&seen(&**queue, &message.id).await.message, message);
            }
        }
    }
}

/// In whatever state the first is.
pub async fn takes_the_same_id_once(queue: &Subject) {
    let (first, other) = (message(&lane("f")), message(&lane("f")));
    let duplicate = |id| Receipt { id, duplicate: true };
    let new = |id| Receipt { id, duplicate: false };
    let receipts = queue.enqueue(vec![first.clone(), other.clone(), first.clone()]).await.unwrap();
    assert_eq!(receipts, [new(first.id), new(other.id), duplicate(first.id)]);
    assert_eq!(queue.enqueue(vec![first.clone()]).await.unwrap(), [duplicate(first.id)]);
    let elsewhere = Message { lane: lane("elsewhere"), ..first.clone() };
    assert_eq!(
        queue.enqueue(vec![elsewhere]).await.unwrap(),
        [duplicate(first.id)],
        "an id is one everywhere"
    );

    let claims = take(&**queue, 2).await;
    assert_eq!(queue.enqueue(vec![first.clone()]).await.unwrap(), [duplicate(first.id)], "it runs");
    let of_first = claims.iter().find(|claim| claim.messages[0].message.id == first.id).unwrap();
    super::settle(&**queue, of_first, super::dead("no")).await;
    let third = message(&lane("f"));
    let receipts = queue.enqueue(vec![first.clone(), third.clone()]).await.unwrap();
    assert_eq!(receipts, [duplicate(first.id), new(third.id)], "it is dead");
    seen(&**queue, &third.id).await;
    assert_eq!(all(&**queue, EntryQuery::default()).await.len(), 3);
}

fn once(lane: &Lane, key: &str, window_ms: u64) -> Message {
    Message { idempotency: Some(Idempotency { key: key.into(), window_ms }), ..message(lane) }
}

/// A key is one in its lane: with the same call, with a later one, and when the first message is over.
pub async fn takes_the_same_idempotency_key_once(queue: &Subject) {
    let (f, g) = (lane("f"), lane("g"));
    let first = once(&f, "k", 60_000);
    let sent = vec![first.clone(), once(&f, "k", 60_000), once(&g, "k", 60_000), once(&f, "l", 60_000)];
    let receipts = queue.enqueue(sent.clone()).await.unwrap();
    let seen_as: Vec<_> = receipts.iter().map(|receipt| (receipt.id, receipt.duplicate)).collect();
    let wanted = [(first.id, false), (first.id, true), (sent[2].id, false), (sent[3].id, false)];
    assert_eq!(seen_as, wanted);
    let repeated = queue.enqueue(vec![once(&f, "k", 1), message(&f)]).await.unwrap();
    assert_eq!(repeated[0], Receipt { id: first.id, duplicate: true });
    assert!(!repeated[1].duplicate, "a repetition does not hold up what is sent with it");

    let claims = take(&**queue, 4).await;
    finish(&**queue, &claims).await;
    gone(&**queue, &first.id).await;
    let late = queue.enqueue(vec![once(&f, "k", 60_000)]).await.unwrap();
    assert_eq!(late, [Receipt { id: first.id, duplicate: true }], "when the first is over, too");
    none(&**queue, "nothing was accepted").await;
}

/// Not for less, and not for much more.
pub async fn remembers_a_key_for_its_window(queue: &Subject) {
    let f = lane("f");
    let first = once(&f, "k", 1000);
    let ends = first.accepted + Duration::from_secs(1);
    put(&**queue, std::slice::from_ref(&first)).await;
    let mut second = first.id;
    until("a key is forgotten", async || {
        let receipt = queue.enqueue(vec![once(&f, "k", 60_000)]).await.unwrap()[0];
        assert_eq!(receipt.duplicate, receipt.id == first.id);
        assert!(receipt.duplicate || jiff::Timestamp::now() >= ends, "it was forgotten too soon");
        second = receipt.id;
        !receipt.duplicate
    })
    .await;
    assert!(now() < ends + 2 * PATIENCE, "it was remembered for too long");
    let third = queue.enqueue(vec![once(&f, "k", 60_000)]).await.unwrap();
    assert_eq!(third, [Receipt { id: second, duplicate: true }], "from then on it is the second one's");
}

/// One message comes of it, and all senders learn its id.
pub async fn lets_one_of_many_senders_with_a_key_win(queue: &Subject) {
    let f = lane("f");
    let receipts: Vec<_> = join_all((0..24).map(|number| {
        let (queue, message) = (queue.queue.clone(), once(&f, &format!("k{}", number % 3), 60_000));
        tokio::spawn(async move { queue.enqueue(vec![message]).await.unwrap()[0] })
    }))
    .await
    .into_iter()
    .map(Result::unwrap)
    .collect();
    let fresh: Vec<_> = receipts.iter().filter(|receipt| !receipt.duplicate).collect();
    assert_eq!(fresh.len(), 3, "{receipts:?}");
    for (number, receipt) in receipts.iter().enumerate() {
        let first = receipts.iter().skip(number % 3).step_by(3).find(|other| !other.duplicate).unwrap();
        assert_eq!(receipt.id, first.id);
    }
    let claims = take(&**queue, 3).await;
    none(&**queue, "three messages came of it").await;
    finish(&**queue, &claims).await;
}

/// Every message that was answered is there, once.
pub async fn keeps_what_many_send_at_once(queue: &Subject) {
    let (senders, each) = (16, (queue.scale.messages / 200).max(2));
    let began = Instant::now();
    let sent: Vec<InvocationId> = join_all((0..senders).map(|sender| {
        let queue = queue.queue.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for number in 0..each {
                let sent = many(1 + number % 3, &lane(&format!("f{}", sender % 4)));
                let receipts = queue.enqueue(sent).await.unwrap();
                assert!(receipts.iter().all(|receipt| !receipt.duplicate));
                ids.extend(receipts.iter().map(|receipt| receipt.id));
            }
            ids
        })
    }))
    .await
    .into_iter()
    .flat_map(Result::unwrap)
    .collect();
    let mut listed = Vec::new();
    until("all can be seen", async || {
        listed = all(&**queue, EntryQuery::default()).await;
        listed.len() >= sent.len()
    })
    .await;
    let mut listed: Vec<_> = listed.into_iter().map(|entry| entry.message.id).collect();
    let mut sent = sent;
    listed.sort_unstable();
    sent.sort_unstable();
    assert_eq!(listed, sent, "after {:?}", began.elapsed());
    let claim = take_one(&**queue).await;
    finish(&**queue, &[claim]).await;
}
