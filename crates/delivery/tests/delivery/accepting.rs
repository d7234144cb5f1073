//! What is accepted, and what is refused.

use crate::support::{
    World,
    engine::{Seen, answer, key},
    fine, policy, submission, to, until,
};
use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::StreamBody;
use std::{sync::atomic::Ordering::SeqCst, time::Duration};
use xebec_core::{
    Body, InvocationId,
    auth::Principal,
    limits::Limits,
    message::{Destinations, Form, Idempotency, Payload, Recipient, Submission, Wishes},
    policy::{Delivery as DeliveryPolicy, Policy, Visibility},
    ports::{
        deliveries::Deliveries as _,
        queue::{EntryState, Selection},
    },
};
use xebec_delivery::DeliveryOptions;

fn streamed(pieces: Vec<Bytes>) -> Body {
    let frames = pieces.into_iter().map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(piece)));
    Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
}

#[tokio::test]
async fn hands_over_what_was_sent() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let request = Request::put("http://ignored/a/b?c=d")
        .header("x-mine", HeaderValue::from_bytes(b"caf\xe9").unwrap())
        .header("connection", "x-other")
        .header("x-other", "1")
        .header("transfer-encoding", "chunked")
        .header("x-xebec-hops", "3")
        .body(Body::full("hello"))
        .unwrap();
    let call = Submission::new(key("f"), Principal::Anonymous, request);
    let id = call.id;
    let receipt = world.delivery.submit(call).await.unwrap();
    assert_eq!((receipt.id, receipt.duplicate), (id, false));
    world.over(id).await;
    let calls = world.engine.calls(&key("f"));
    let [seen] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((seen.id, seen.attempt, &seen.principal), (id, 1, &Principal::Anonymous));
    assert_eq!((&*seen.method, &*seen.uri, &seen.body[..]), ("PUT", "/a/b?c=d", &b"hello"[..]));
    assert_eq!(seen.headers["x-mine"].as_bytes(), b"caf\xe9");
    assert!(!seen.headers.contains_key("x-other") && !seen.headers.contains_key("transfer-encoding"));
    assert_eq!((seen.header("x-xebec-hops"), seen.header("x-xebec-attempt")), ("3", "1"));
    assert_eq!(seen.header("x-xebec-call-id"), id.to_string());
    assert_eq!(world.outcome(id), "success");
    assert!(world.engine.flushes.load(SeqCst) > 0, "the record is safe before the message goes");
    assert!(world.records.of(id).unwrap().attempt == 1);
}

#[tokio::test]
async fn keeps_large_bodies_until_they_are_delivered() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let large = Bytes::from(vec![7; 300_000]);
    let at_hand = world.submit("f", large.clone(), Wishes::default()).await.id;
    let mut submission = submission("f", "", Wishes::default());
    *submission.request.body_mut() =
        streamed(vec![large.slice(..100_000), Bytes::new(), large.slice(100_000..)]);
    let stream = world.delivery.submit(submission).await.unwrap().id;
    assert_eq!(world.blobs.count(), 2, "no two messages share a blob");
    for id in [at_hand, stream] {
        let entry = world.entry(id).await.unwrap();
        assert!(matches!(entry.message.call.body, Payload::Blob { bytes: 300_000, .. }));
        assert_eq!(world.delivery.body(&id).await.unwrap().collect(1 << 20).await.unwrap(), large);
    }
    world.delivery.start().await;
    world.over(at_hand).await;
    world.over(stream).await;
    until("the blobs to go", async || world.blobs.count() == 0).await;
    assert!(world.engine.calls(&key("f")).iter().all(|seen| seen.body == large));
}

#[tokio::test]
async fn a_small_stream_travels_with_its_message() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let mut submission = submission("f", "", Wishes::default());
    *submission.request.body_mut() = streamed(vec!["hel".into(), "lo".into()]);
    let id = world.delivery.submit(submission).await.unwrap().id;
    world.over(id).await;
    assert_eq!(world.engine.calls(&key("f"))[0].body, "hello");
    assert_eq!(world.blobs.count(), 0);
}

#[tokio::test]
async fn refuses_what_it_must() {
    let world = World::new().await;
    let limits = Limits { request_bytes: 100_000, ..Limits::default() };
    world.engine.deploy_limited(&key("f"), Policy::default(), limits, fine);
    let closed = Policy { visibility: Visibility::Authenticated, ..Policy::default() };
    world.engine.deploy(&key("closed"), closed, fine);
    let refused = async |submission| world.delivery.submit(submission).await.unwrap_err().code;

    assert_eq!(refused(submission("unknown", "", Wishes::default())).await, "XB2002");
    assert_eq!(refused(submission("f", vec![0; 100_001], Wishes::default())).await, "XB2012");
    let mut long = submission("f", "", Wishes::default());
    *long.request.body_mut() = streamed(vec![Bytes::from(vec![0; 60_000]); 2]);
    assert_eq!(refused(long).await, "XB2012");
    let mut longer = submission("f", "", Wishes::default());
    *longer.request.body_mut() = streamed(vec![Bytes::from(vec![0; 70_000]); 2]);
    assert_eq!(refused(longer).await, "XB2012");
    let mut broken = submission("f", "", Wishes::default());
    let frames = vec![Ok(http_body::Frame::data(Bytes::from("a"))), Err(std::io::Error::other("gone"))];
    *broken.request.body_mut() = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
    assert_eq!(refused(broken).await, "XB4013");
    let mut anonymous = submission("closed", "", Wishes::default());
    anonymous.principal = Principal::Anonymous;
    assert_eq!(refused(anonymous).await, "XB5003");
    let mut through = submission("f", "", Wishes::default());
    through.principal = Principal::Anonymous;
    let closed = to(Recipient::Function(key("closed")), Form::Answer);
    through.wishes.destinations = Destinations { on_success: closed, on_failure: Vec::new() };
    assert_eq!(refused(through).await, "XB5003", "not by way of a destination either");
    let mut nowhere = submission("f", "", Wishes::default());
    nowhere.wishes.destinations.on_failure = to(Recipient::Function(key("unknown")), Form::Answer);
    assert_eq!(refused(nowhere).await, "XB1011");
    for hops in ["16", "200", "tampered"] {
        let mut looping = submission("f", "", Wishes::default());
        looping.request.headers_mut().insert("x-xebec-hops", HeaderValue::from_static(hops));
        assert_eq!(refused(looping).await, "XB2013", "{hops}");
    }
    assert_eq!(
        refused(submission("f", "", Wishes { priority: Some(10), ..Wishes::default() })).await,
        "XB1011"
    );
    let mut stranger = submission("f", "", Wishes::default());
    stranger.revision = Some(xebec_core::Digest::of("x"));
    assert_eq!(refused(stranger).await, "XB2007");
    assert_eq!(world.blobs.count(), 0, "nothing is left of what was refused");
    assert!(world.delivery.queues(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_slow_upload_is_given_up() {
    let options = DeliveryOptions { upload: Duration::from_millis(50), ..DeliveryOptions::default() };
    let world = World::still(options);
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let mut slow = submission("f", "", Wishes::default());
    let never = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>();
    *slow.request.body_mut() = Body::stream(StreamBody::new(never));
    assert_eq!(world.delivery.submit(slow).await.unwrap_err().code, "XB4013");
}

#[tokio::test]
async fn the_second_of_a_key_is_the_first() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let wishes = || Wishes {
        idempotency: Some(Idempotency { key: "once".into(), window_ms: 60_000 }),
        ..Wishes::default()
    };
    let first = world.submit("f", vec![1; 100_000], wishes()).await;
    let second = world.submit("f", vec![2; 100_000], wishes()).await;
    assert_eq!((second.id, second.duplicate, first.duplicate), (first.id, true, false));
    assert_eq!(world.blobs.count(), 1, "the second body is gone");
    let same = submission("f", vec![3; 100_000], Wishes::default());
    let again = Submission { id: same.id, ..submission("f", vec![3; 100_000], Wishes::default()) };
    let one = world.delivery.submit(same).await.unwrap();
    let two = world.delivery.submit(again).await.unwrap();
    assert_eq!((two.id, two.duplicate), (one.id, true));
    assert_eq!(world.blobs.count(), 2, "the same message again keeps the body");
}

#[tokio::test]
async fn policy_fills_what_wishes_leave_out() {
    let world = World::still(DeliveryOptions::default());
    let delivery =
        DeliveryPolicy { queue: "mine".into(), expiry_ms: Some(5_000), ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), fine);
    let entry = async |wishes| {
        let id = world.submit("f", "", wishes).await.id;
        world.entry(id).await.unwrap().message
    };
    let plain = entry(Wishes::default()).await;
    assert_eq!((&*plain.lane.queue, plain.priority), ("mine", 5));
    let expires = plain.expires.unwrap();
    assert_eq!(expires.duration_since(plain.due).as_millis(), 5_000);
    let wishes = Wishes {
        queue: Some("other".into()),
        delay: Some(Duration::from_secs(60)),
        expiry: Some(Duration::from_secs(7)),
        priority: Some(9),
        ..Wishes::default()
    };
    let wished = entry(wishes).await;
    assert_eq!((&*wished.lane.queue, wished.priority), ("other", 9));
    assert_eq!(wished.due.duration_since(wished.accepted).as_secs(), 60);
    assert_eq!(wished.expires.unwrap().duration_since(wished.due).as_secs(), 7);
}

#[tokio::test]
async fn waits_until_it_is_due() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let delay = Some(Duration::from_secs(3600));
    let id = world.submit("f", "", Wishes { delay, ..Wishes::default() }).await.id;
    let waiting = world.entry(id).await.unwrap();
    assert!(matches!(waiting.state, EntryState::Waiting { .. }));
    assert!(world.engine.calls(&key("f")).is_empty());
    world.clock.advance(Duration::from_secs(3600));
    world.over(id).await;
}

#[tokio::test]
async fn cancels_what_waits_and_discards_what_is_dead() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), |_: Seen| async { answer(501, "no") });
    let waiting = world.submit("f", vec![1; 100_000], Wishes::default()).await.id;
    let entry = world.delivery.cancel(&waiting).await.unwrap();
    assert_eq!(entry.state.name(), "waiting");
    assert_eq!((world.blobs.count(), &*world.outcome(waiting)), (0, "cancelled"));
    assert_eq!(world.delivery.cancel(&InvocationId::new()).await.unwrap_err().code, "XB4021");
    assert_eq!(world.delivery.body(&waiting).await.unwrap_err().code, "XB4021");

    let mut dead = Vec::new();
    for _ in 0..3 {
        dead.push(world.submit("f", vec![1; 100_000], Wishes::default()).await.id);
    }
    world.delivery.start().await;
    for id in &dead {
        world.dead(*id).await;
    }
    assert_eq!(world.blobs.count(), 3, "dead letters keep their bodies");
    assert_eq!(world.delivery.cancel(&dead[0]).await.unwrap().state.name(), "dead");
    assert_eq!((world.blobs.count(), &*world.outcome(dead[0])), (2, "application_error"));
    let all = Selection { function: Some(key("f")), ..Selection::default() };
    assert_eq!(world.delivery.discard(&all).await.unwrap(), 2);
    assert_eq!(world.blobs.count(), 0);
}
