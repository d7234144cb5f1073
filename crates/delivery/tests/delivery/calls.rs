//! Calls that fail, and what becomes of them.

use crate::support::{
    World,
    engine::{Seen, answer, key, refusal},
    fine, policy, quick, to, until,
};
use bytes::Bytes;
use http::Response;
use http_body_util::StreamBody;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use xebec_core::{
    Body, InvokeError, Outcome,
    message::{Destinations, Form, Guarantee, Recipient, Wishes},
    outcome::{FunctionFault, PlatformFault},
    policy::{Delivery as DeliveryPolicy, Policy},
    ports::{
        clock::Clock as _,
        deliveries::Deliveries as _,
        queue::{EntryState, Selection},
    },
    rules::retry::{Death, History, Jitter, Retry},
};
use xebec_delivery::DeliveryOptions;

#[tokio::test]
async fn tries_again_what_may_pass() {
    let world = World::new().await;
    let delivery = DeliveryPolicy { retry: quick(5), ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), |seen: Seen| async move {
        match seen.attempt {
            1 => answer(500, ""),
            2 => {
                let crash = Outcome::FunctionError(FunctionFault::Crash);
                Err(Box::new(InvokeError::new(seen.id, crash, "it crashed")))
            }
            _ => answer(200, "at last"),
        }
    });
    let id = world.submit("f", "x", Wishes::default()).await.id;
    world.over(id).await;
    let calls = world.engine.calls(&key("f"));
    assert_eq!(calls.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(calls.iter().all(|seen| seen.id == id && seen.body == "x"));
    let record = world.records.of(id).unwrap();
    assert_eq!((record.outcome, record.attempt), (Outcome::Success, 3));
}

#[tokio::test]
async fn gives_up_after_its_attempts_and_runs_again_when_redriven() {
    let world = World::new().await;
    let healthy = Arc::new(AtomicBool::new(false));
    let is = healthy.clone();
    let delivery = DeliveryPolicy { retry: quick(3), ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), move |_: Seen| {
        let status = if is.load(SeqCst) { 200 } else { 503 };
        async move { answer(status, "") }
    });
    let id = world.submit("f", "", Wishes::default()).await.id;
    let (death, entry) = world.dead(id).await;
    assert_eq!((death, entry.history.failures), (Death::Exhausted, 3));
    assert_eq!(entry.why.unwrap(), "the function answered 503");
    assert_eq!(world.engine.calls(&key("f")).len(), 3);
    healthy.store(true, SeqCst);
    assert_eq!(world.delivery.redrive(&Selection::default(), None).await.unwrap(), 1);
    world.over(id).await;
    let mut metrics = String::new();
    world.delivery.metrics(&mut metrics);
    assert!(metrics.contains("xebec_dead_letters_total{death=\"exhausted\"} 1\n"), "{metrics}");
    assert!(metrics.contains("xebec_message_attempts_total{outcome=\"application_error\"} 3\n"), "{metrics}");
}

#[tokio::test]
async fn does_not_try_again_what_the_policy_does_not_name() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), |_: Seen| async { answer(501, "") });
    world.engine.deploy(&key("g"), Policy::default(), |_: Seen| async { answer(404, "") });
    let id = world.submit("f", "", Wishes::default()).await.id;
    assert_eq!(world.dead(id).await.0, Death::Failed);
    world.over(world.submit("g", "", Wishes::default()).await.id).await;
}

#[tokio::test]
async fn a_message_may_have_its_own_rules() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), |_: Seen| async { answer(418, "") });
    let retry = Some(Retry { codes: vec![418], ..quick(2) });
    let id = world.submit("f", "", Wishes { retry, ..Wishes::default() }).await.id;
    assert_eq!(world.dead(id).await.0, Death::Exhausted);
    let guarantee = Some(Guarantee::AtMostOnce);
    let retry = Some(Retry { codes: vec![418], ..quick(9) });
    let id = world.submit("f", "", Wishes { retry, guarantee, ..Wishes::default() }).await.id;
    assert_eq!(world.dead(id).await.0, Death::Failed);
    assert_eq!(world.engine.calls(&key("f")).len(), 3);
}

#[tokio::test]
async fn comes_back_when_it_was_told_to() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), Policy::default(), |seen: Seen| async move {
        if seen.attempt > 1 {
            return answer(200, "");
        }
        Ok(Response::builder().status(429).header("retry-after", "600").body(Body::empty()).unwrap())
    });
    let id = world.submit("f", "", Wishes::default()).await.id;
    let EntryState::Waiting { due } = world.again(id).await.state else { panic!() };
    let wait = due.duration_since(world.clock.now()).as_secs();
    assert!((590..=600).contains(&wait), "{wait}");
    world.clock.advance(Duration::from_secs(601));
    world.over(id).await;
}

/// What the platform cannot do now uses up no attempt, however long it lasts.
#[tokio::test]
async fn outlasts_an_hour_of_overload() {
    let world = World::new().await;
    let down = Arc::new(AtomicBool::new(true));
    let is = down.clone();
    world.engine.deploy(&key("f"), Policy::default(), move |seen: Seen| {
        let down = is.load(SeqCst);
        async move { if down { refusal(seen.id, PlatformFault::Overloaded) } else { answer(200, "") } }
    });
    let id = world.submit("f", "", Wishes::default()).await.id;
    let mut passed = Duration::ZERO;
    while passed < Duration::from_secs(3600) {
        let entry = world.again(id).await;
        assert_eq!(entry.history.failures, 0);
        let EntryState::Waiting { due } = entry.state else { panic!("{entry:?}") };
        let wait = Duration::try_from(due.duration_since(world.clock.now())).unwrap_or_default();
        assert!(wait <= Duration::from_secs(120), "{wait:?}");
        passed += wait;
        world.clock.advance(wait);
        let refusals = entry.history.refusals;
        until("the next refusal", async || {
            world.entry(id).await.is_some_and(|entry| entry.history.refusals > refusals)
        })
        .await;
    }
    let entry = world.again(id).await;
    assert!(entry.history.refusals >= 30, "{entry:?}");
    down.store(false, SeqCst);
    world.clock.advance(Duration::from_secs(120));
    world.over(id).await;
    assert_eq!(world.records.of(id).unwrap().attempt, 1, "the first attempt that counts");
}

/// A function that answers 503 for an hour, with a policy that lasts so long.
#[tokio::test]
async fn outlasts_an_hour_of_failures() {
    let world = World::new().await;
    let down = Arc::new(AtomicBool::new(true));
    let is = down.clone();
    let retry = Retry { attempts: 100, jitter: Jitter::Exponential, ..Retry::default() };
    let delivery = DeliveryPolicy { retry, ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), move |_: Seen| {
        let status = if is.load(SeqCst) { 503 } else { 200 };
        async move { answer(status, "") }
    });
    let id = world.submit("f", "", Wishes::default()).await.id;
    for _ in 0..36 {
        let failures = world.again(id).await.history.failures;
        world.clock.advance(Duration::from_secs(120));
        until("the next failure", async || {
            world.entry(id).await.is_some_and(|entry| entry.history.failures > failures)
        })
        .await;
    }
    down.store(false, SeqCst);
    world.again(id).await;
    world.clock.advance(Duration::from_secs(120));
    world.over(id).await;
    assert_eq!(world.engine.calls(&key("f")).len(), 38);
}

#[tokio::test]
async fn expires_what_did_not_begin_in_time() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), fine);
    world.engine.deploy(&key("told"), Policy::default(), fine);
    let destinations = Destinations {
        on_success: Vec::new(),
        on_failure: to(Recipient::Function(key("told")), Form::Envelope),
    };
    let expiry = Some(Duration::from_secs(5));
    let id = world.submit("f", "", Wishes { expiry, destinations, ..Wishes::default() }).await.id;
    world.clock.advance(Duration::from_secs(6));
    world.delivery.start().await;
    assert_eq!(world.dead(id).await.0, Death::Expired);
    assert!(world.engine.calls(&key("f")).is_empty());
    let record = world.records.of(id).unwrap();
    assert_eq!((record.outcome.name(), record.attempt), ("overloaded", 1));
    assert!(record.message.unwrap().contains("expired"));
    until("the result", async || !world.engine.calls(&key("told")).is_empty()).await;
    assert_eq!(world.engine.calls(&key("told"))[0].json()["death"], "expired");
}

#[tokio::test]
async fn a_function_that_is_gone_leaves_dead_letters_and_records() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let id = world.submit("f", "", Wishes::default()).await.id;
    world.engine.undeploy(&key("f"));
    world.delivery.start().await;
    assert_eq!(world.dead(id).await.0, Death::Failed);
    assert_eq!(world.outcome(id), "not_found");
}

#[tokio::test]
async fn a_body_that_is_lost_or_damaged_is_said_so() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let lost = world.submit("f", vec![1; 100_000], Wishes::default()).await.id;
    world.blobs.blobs.lock().unwrap().clear();
    let damaged = world.submit("f", vec![2; 100_000], Wishes::default()).await.id;
    for (bytes, _) in world.blobs.blobs.lock().unwrap().values_mut() {
        let mut torn = bytes.to_vec();
        torn[50_000] ^= 1;
        *bytes = torn.into();
    }
    world.delivery.start().await;
    for (id, why) in [(lost, "there is no such blob"), (damaged, "damaged")] {
        let (death, entry) = world.dead(id).await;
        assert_eq!(death, Death::Failed);
        let told = entry.why.unwrap();
        assert!(told.contains("the call's body is lost") && told.contains(why), "{told}");
        assert_eq!(world.outcome(id), "internal");
    }
    assert!(world.engine.calls(&key("f")).is_empty());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure() {
    let world = World::new().await;
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let delivery = DeliveryPolicy { retry: quick(2), ..DeliveryPolicy::default() };
    world.engine.deploy(&key("f"), policy(delivery), move |_: Seen| {
        counter.fetch_add(1, SeqCst);
        let frames = vec![Ok(http_body::Frame::data(Bytes::from("a"))), Err(std::io::Error::other("torn"))];
        async move { Ok(Response::new(Body::stream(StreamBody::new(futures_util::stream::iter(frames))))) }
    });
    let id = world.submit("f", "", Wishes::default()).await.id;
    let (death, entry) = world.dead(id).await;
    assert_eq!((death, entry.why.unwrap().as_str()), (Death::Exhausted, "torn"));
    assert_eq!(count.load(SeqCst), 2);
}

/// Whatever runs it ends, again and again.
#[tokio::test]
async fn poison_is_put_aside() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let id = world.submit("f", "", Wishes::default()).await.id;
    let guarantee = Some(Guarantee::AtMostOnce);
    let once = world.submit("f", "", Wishes { guarantee, ..Wishes::default() }).await.id;
    use xebec_core::ports::queue::{Ask, Queue as _};
    for round in 0..6 {
        let ask = Ask { most: 9, lease: Duration::from_secs(30), wait: Duration::from_secs(5) };
        let claims = world.queue.claim(ask).await.unwrap();
        assert_eq!(claims.len(), 2, "{round}");
        world.queue.restart();
    }
    world.delivery.start().await;
    let (death, entry) = world.dead(id).await;
    assert_eq!((death, entry.history.interruptions), (Death::Poison, 6));
    assert_eq!(world.dead(once).await.0, Death::Interrupted);
    assert!(world.engine.calls(&key("f")).is_empty());
    assert_eq!((&*world.outcome(id), &*world.outcome(once)), ("internal", "internal"));
}

#[tokio::test]
async fn one_that_was_interrupted_runs_again_where_it_may() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), Policy::default(), fine);
    let id = world.submit("f", "", Wishes::default()).await.id;
    use xebec_core::ports::queue::{Ask, Queue as _};
    let ask = Ask { most: 9, lease: Duration::from_secs(30), wait: Duration::from_secs(5) };
    assert_eq!(world.queue.claim(ask).await.unwrap().len(), 1);
    world.queue.restart();
    world.delivery.start().await;
    world.over(id).await;
    assert_eq!(world.engine.calls(&key("f"))[0].attempt, 2);
    assert_eq!(world.entry(id).await.map(|entry| entry.history), None::<History>);
}

/// It was through when the server ended, or whoever keeps a journal of it has told what became of it; being turned
/// away before is no record of that.
#[tokio::test]
async fn one_that_was_interrupted_keeps_the_record_that_it_has() {
    use xebec_core::{Outcome, outcome::PlatformFault, ports::records::Records as _};
    for (outcome, left) in [
        (Outcome::Success, "success"),
        (Outcome::PlatformError(PlatformFault::Internal), "internal"),
        (Outcome::PlatformError(PlatformFault::Overloaded), "internal"),
    ] {
        let world = World::still(DeliveryOptions::default());
        world.engine.deploy(&key("f"), Policy::default(), fine);
        let guarantee = Some(Guarantee::AtMostOnce);
        let id = world.submit("f", "", Wishes { guarantee, ..Wishes::default() }).await.id;
        use xebec_core::ports::queue::{Ask, Queue as _};
        let ask = Ask { most: 9, lease: Duration::from_secs(30), wait: Duration::from_secs(5) };
        assert_eq!(world.queue.claim(ask).await.unwrap().len(), 1);
        world.queue.restart();
        let record = xebec_core::record::InvocationRecord {
            id,
            function: key("f"),
            revision: None,
            instance: Some("told before".to_owned()),
            received: world.clock.now(),
            timing: xebec_core::invocation::Timing::default(),
            outcome,
            status: None,
            message: None,
            request_bytes: 0,
            response_bytes: 0,
            attempt: 1,
            noted: None,
        };
        world.records.append(vec![record]).await.unwrap();
        world.delivery.start().await;
        assert_eq!(world.dead(id).await.0, Death::Interrupted);
        assert_eq!(world.outcome(id), left);
        let is_as_it_was = world.records.of(id).unwrap().instance.is_some();
        assert_eq!(is_as_it_was, outcome != Outcome::PlatformError(PlatformFault::Overloaded));
        assert!(world.engine.calls(&key("f")).is_empty());
    }
}
