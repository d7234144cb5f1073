//! Several messages in one call.

use crate::support::{
    World,
    engine::{Seen, answer, key, refusal},
    fine, policy, quick, to, until,
};
use serde_json::json;
use std::{collections::HashSet, sync::Arc, time::Duration};
use xebec_core::{
    InvocationId,
    auth::Principal,
    limits::Limits,
    message::{Destinations, Form, Guarantee, Recipient, Wishes},
    outcome::PlatformFault,
    policy::{Batch, Delivery as DeliveryPolicy, Policy},
    ports::deliveries::Deliveries as _,
    rules::retry::Death,
};
use xebec_delivery::DeliveryOptions;

fn batching(size: u32, more: impl FnOnce(&mut DeliveryPolicy)) -> Policy {
    let mut delivery = DeliveryPolicy {
        batch: Some(Batch { size, wait_ms: 50 }),
        retry: quick(3),
        ..DeliveryPolicy::default()
    };
    more(&mut delivery);
    policy(delivery)
}

fn messages(seen: &Seen) -> Vec<serde_json::Value> {
    seen.json()["messages"].as_array().unwrap().clone()
}

fn ids(seen: &Seen) -> Vec<String> {
    messages(seen).iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

fn bodies(seen: &Seen) -> Vec<String> {
    messages(seen).iter().map(|message| message["body"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Submits all before anything runs, so that they come as one batch.
async fn together(world: &World, bodies: impl IntoIterator<Item = String>) -> Vec<InvocationId> {
    let mut all = Vec::new();
    for body in bodies {
        all.push(world.submit("f", body, Wishes::default()).await.id);
    }
    world.delivery.start().await;
    all
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn several_messages_are_one_call() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), batching(10, |_| {}), fine);
    let mut all = together(&world, numbers(10)).await;
    for id in &all {
        world.over(*id).await;
    }
    let calls = world.engine.calls(&key("f"));
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].header("content-type"), "application/vnd.xebec.batch+json");
    assert_eq!((&*calls[0].method, &*calls[0].uri), ("POST", "/"));
    let mut sent = ids(&calls[0]);
    sent.sort_unstable();
    all.sort_unstable();
    assert_eq!(sent, all.iter().map(ToString::to_string).collect::<Vec<_>>());
    let first = &messages(&calls[0])[0];
    assert_eq!(
        (&first["attempt"], &first["method"], &first["uri"]),
        (&json!(1), &json!("POST"), &json!("/path?q=1"))
    );
    assert!(first["accepted"].is_string() && first["headers"].is_object());
    assert!(all.iter().all(|id| world.outcome(*id) == "success"), "each has its own record");
}

#[tokio::test]
async fn a_lone_message_is_a_batch_too() {
    let world = World::new().await;
    world.engine.deploy(&key("f"), batching(10, |_| {}), fine);
    let id = world.submit("f", vec![0xff, 0x00], Wishes::default()).await.id;
    world.over(id).await;
    let calls = world.engine.calls(&key("f"));
    assert_eq!((calls.len(), calls[0].id), (1, id));
    assert_eq!(messages(&calls[0])[0]["body_base64"], "/wA=");
}

#[tokio::test]
async fn what_is_reported_as_failed_runs_again() {
    for lambda in [false, true] {
        let world = World::still(DeliveryOptions::default());
        world.engine.deploy(&key("f"), batching(10, |_| {}), move |seen: Seen| async move {
            let failed: Vec<_> = messages(&seen)
                .iter()
                .filter(|message| {
                    message["body"] == "7" || (message["body"] == "3" && message["attempt"] == 1)
                })
                .map(|message| message["id"].clone())
                .collect();
            let report = if lambda {
                let items: Vec<_> = failed.iter().map(|id| json!({"itemIdentifier": id})).collect();
                json!({"batchItemFailures": items})
            } else {
                json!({"failed": failed})
            };
            answer(200, report.to_string())
        });
        let all = together(&world, numbers(10)).await;
        for (n, id) in all.iter().enumerate() {
            if n != 7 {
                world.over(*id).await;
            }
        }
        let (death, entry) = world.dead(all[7]).await;
        assert_eq!((death, entry.history.failures), (Death::Exhausted, 3));
        assert_eq!(entry.why.unwrap(), "the function reported it as failed");
        assert_eq!((&*world.outcome(all[3]), world.records.of(all[3]).unwrap().attempt), ("success", 2));
        assert_eq!(world.outcome(all[7]), "application_error");
    }
}

#[tokio::test]
async fn a_failing_batch_is_halved_until_the_culprit_is_found() {
    let world = World::still(DeliveryOptions::default());
    let fail = |seen: Seen| async move {
        let bad = bodies(&seen).iter().any(|body| body == "11" || body == "12");
        answer(if bad { 500 } else { 200 }, "")
    };
    world.engine.deploy(&key("f"), batching(64, |delivery| delivery.retry = quick(2)), fail);
    let all = together(&world, numbers(64)).await;
    for (n, id) in all.iter().enumerate() {
        if n == 11 || n == 12 {
            let (death, entry) = world.dead(*id).await;
            assert_eq!((death, entry.history.failures), (Death::Exhausted, 2), "{n}");
        } else {
            world.over(*id).await;
            assert_eq!(world.records.of(*id).unwrap().attempt, 1, "{n} is not to blame");
        }
    }
    let mut metrics = String::new();
    world.delivery.metrics(&mut metrics);
    assert!(!metrics.contains("xebec_message_batches_halved_total 0\n"), "{metrics}");
    assert!(world.engine.calls(&key("f")).len() < 64);
}

#[tokio::test]
async fn what_the_platform_refused_is_not_halved() {
    let world = World::still(DeliveryOptions::default());
    let refuse = |seen: Seen| async move { refusal(seen.id, PlatformFault::Overloaded) };
    world.engine.deploy(&key("f"), batching(8, |delivery| delivery.retry.min_wait_ms = 60_000), refuse);
    let all = together(&world, numbers(8)).await;
    for id in all {
        let entry = world.again(id).await;
        assert_eq!((entry.history.refusals, entry.history.failures), (1, 0));
    }
    assert_eq!(world.engine.calls(&key("f")).len(), 1);
}

#[tokio::test]
async fn what_may_run_once_is_not_halved() {
    let world = World::still(DeliveryOptions::default());
    let once = batching(8, |delivery| delivery.guarantee = Guarantee::AtMostOnce);
    world.engine.deploy(&key("f"), once, |_: Seen| async { answer(500, "") });
    for id in together(&world, numbers(8)).await {
        assert_eq!(world.dead(id).await.0, Death::Failed);
    }
    assert_eq!(world.engine.calls(&key("f")).len(), 1);
}

#[tokio::test]
async fn a_report_that_makes_no_sense_fails_the_batch() {
    let world = World::still(DeliveryOptions::default());
    let report = |_: Seen| async { answer(200, r#"{"failed":["somebody"]}"#) };
    world.engine.deploy(&key("f"), batching(4, |delivery| delivery.retry = quick(1)), report);
    for id in together(&world, numbers(4)).await {
        let (death, entry) = world.dead(id).await;
        assert_eq!(death, Death::Exhausted);
        assert!(entry.why.unwrap().contains("somebody"));
        assert_eq!(world.outcome(id), "bad_response");
    }
}

#[tokio::test]
async fn a_batch_stays_within_the_functions_limit() {
    let world = World::still(DeliveryOptions::default());
    let limits = Limits { request_bytes: 100_000, ..Limits::default() };
    world.engine.deploy_limited(&key("f"), batching(20, |_| {}), limits, fine);
    // Some travel with their messages, some are blobs.
    let all = together(&world, (0..10).map(|n| "x".repeat(if n % 2 == 0 { 10_000 } else { 70_000 }))).await;
    for id in all {
        world.over(id).await;
    }
    let calls = world.engine.calls(&key("f"));
    assert!(calls.len() > 1 && calls.len() < 10, "{}", calls.len());
    assert!(calls.iter().all(|seen| seen.body.len() <= 100_000));
    until("the blobs to go", async || world.blobs.count() == 0).await;
}

#[tokio::test]
async fn rights_are_not_shared_within_a_batch() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), batching(10, |_| {}), fine);
    let mut anonymous = HashSet::new();
    for n in 0..4 {
        let mut call = crate::support::submission("f", n.to_string(), Wishes::default());
        if n % 2 == 0 {
            call.principal = Principal::Anonymous;
            anonymous.insert(call.id.to_string());
        }
        world.delivery.submit(call).await.unwrap();
    }
    world.delivery.start().await;
    until("both calls", async || world.engine.calls(&key("f")).len() == 2).await;
    for seen in world.engine.calls(&key("f")) {
        let of_nobody = seen.principal == Principal::Anonymous;
        assert!(ids(&seen).iter().all(|id| anonymous.contains(id) == of_nobody));
    }
}

#[tokio::test]
async fn each_message_has_its_own_end() {
    let world = World::still(DeliveryOptions::default());
    let destinations = Destinations {
        on_success: to(Recipient::Function(key("good")), Form::Envelope),
        on_failure: to(Recipient::Function(key("bad")), Form::Envelope),
    };
    let policy = batching(4, |delivery| {
        delivery.destinations = destinations;
        delivery.retry = quick(1);
    });
    world.engine.deploy(&key("f"), policy, |seen: Seen| async move {
        let failed = &messages(&seen)[0]["id"];
        answer(200, json!({ "failed": [failed] }).to_string())
    });
    world.engine.deploy(&key("good"), Policy::default(), fine);
    world.engine.deploy(&key("bad"), Policy::default(), fine);
    let all = together(&world, numbers(4)).await;
    until("the results", async || {
        world.engine.calls(&key("good")).len() == 3 && world.engine.calls(&key("bad")).len() == 1
    })
    .await;
    let failed = world.engine.calls(&key("bad"))[0].json()["id"].as_str().unwrap().to_owned();
    assert!(all.iter().any(|id| id.to_string() == failed));
}

#[tokio::test]
async fn one_of_a_batch_can_be_cancelled() {
    let world = World::still(DeliveryOptions::default());
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let wait = gate.clone();
    world.engine.deploy(&key("f"), batching(4, |_| {}), move |seen: Seen| {
        let gate = wait.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            let bad = bodies(&seen).iter().any(|body| body == "2");
            answer(if bad { 500 } else { 200 }, "")
        }
    });
    let all = together(&world, numbers(4)).await;
    until("the call", async || world.engine.calls(&key("f")).len() == 1).await;
    world.delivery.cancel(&all[2]).await.unwrap();
    gate.add_permits(100);
    for id in &all {
        world.over(*id).await;
    }
    assert_eq!(world.outcome(all[2]), "cancelled");
    assert!(world.engine.calls(&key("f"))[1..].iter().all(|seen| !bodies(seen).contains(&"2".to_owned())));
}

#[tokio::test]
async fn stopping_hands_back_a_batch() {
    let world = World::still(DeliveryOptions::default());
    world.engine.deploy(&key("f"), batching(4, |_| {}), |_: Seen| async { std::future::pending().await });
    let all = together(&world, numbers(4)).await;
    until("the call", async || world.engine.calls(&key("f")).len() == 1).await;
    world.delivery.shutdown(Duration::from_millis(20)).await;
    for id in all {
        let entry = world.entry(id).await.unwrap();
        assert_eq!(
            (entry.state.name(), entry.history.failures, entry.history.interruptions),
            ("waiting", 0, 0)
        );
    }
}

/// Whatever the size of batches, the limit on requests and who is to blame: only they fail.
#[tokio::test]
async fn only_the_culprits_fail() {
    for round in 0..20 {
        let world = World::still(DeliveryOptions::default());
        let size = rand::random_range(1..40);
        let limits = Limits { request_bytes: rand::random_range(500..20_000), ..Limits::default() };
        let blame = rand::random_range(2..12);
        let bad = move |body: &str| body.parse::<u32>().unwrap() % blame == 1;
        let handler = move |seen: Seen| async move {
            answer(if bodies(&seen).iter().any(|body| bad(body)) { 500 } else { 200 }, "")
        };
        let policy = batching(size, |delivery| delivery.retry = quick(1));
        world.engine.deploy_limited(&key("f"), policy, limits, handler);
        let all = together(&world, numbers(50)).await;
        for (n, id) in all.iter().enumerate() {
            if bad(&n.to_string()) {
                assert_eq!(world.dead(*id).await.0, Death::Exhausted, "round {round}");
            } else {
                world.over(*id).await;
            }
        }
    }
}
