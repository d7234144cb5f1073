//! Admission: what policies and quotas allow.

use crate::world::{World, eventually, key};
use std::{sync::Arc, sync::atomic::Ordering::SeqCst, time::Duration};
use tokio::time::sleep;
use xebec_core::{
    Outcome,
    outcome::PlatformFault,
    policy::TenantQuota,
    ports::{control::Control, driver::Silent},
};
use xebec_engine::EngineOptions;

const OVERLOADED: Outcome = Outcome::PlatformError(PlatformFault::Overloaded);

fn quota(quota: TenantQuota) -> EngineOptions {
    EngineOptions { default_quota: quota, ..EngineOptions::default() }
}

async fn occupy(world: &Arc<World>, name: &'static str) -> tokio::task::JoinHandle<String> {
    let before = world.view(name).live.in_flight;
    let call = tokio::spawn({
        let world = world.clone();
        async move { world.text(name, "/sleep?5000").await }
    });
    eventually("it is in flight", || world.view(name).live.in_flight > before).await;
    call
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_of_a_function_and_of_a_tenant() {
    let world =
        Arc::new(World::with(quota(TenantQuota { max_in_flight: Some(3), ..TenantQuota::default() })));
    world.deploy("f", |d| d.policy.max_in_flight = Some(2)).await;
    world.deploy("g", |_| {}).await;
    let calls = [occupy(&world, "f").await, occupy(&world, "f").await];
    let error = world.call("f", "/echo").await.unwrap_err();
    assert_eq!(error.outcome, OVERLOADED);
    assert!(error.message.contains("function"), "{}", error.message);
    let third = occupy(&world, "g").await;
    let error = world.call("g", "/echo").await.unwrap_err();
    assert_eq!(error.outcome, OVERLOADED);
    assert!(error.message.contains("tenant"), "{}", error.message);
    for call in calls.into_iter().chain([third]) {
        assert_eq!(call.await.unwrap(), "slept");
    }
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
    assert_eq!(world.text("g", "/sleep?1").await, "slept");
}

#[tokio::test(start_paused = true)]
async fn calls_per_second_of_a_function_and_of_a_tenant() {
    let world = World::with(quota(TenantQuota { max_rate: Some(20.0), ..TenantQuota::default() }));
    world.deploy("f", |d| d.policy.max_rate = Some(10.0)).await;
    world.deploy("g", |_| {}).await;
    let allowed = |name: &'static str, calls: u32| {
        let world = &world;
        async move {
            let mut allowed = 0;
            for _ in 0..calls {
                match world.call(name, "/echo").await {
                    Ok(_) => allowed += 1,
                    Err(error) => {
                        assert_eq!(error.outcome, OVERLOADED);
                        assert!(error.retry_after.is_some_and(|wait| wait <= Duration::from_secs(1)));
                    }
                }
            }
            allowed
        }
    };
    assert_eq!(allowed("f", 50).await, 10);
    assert_eq!(allowed("g", 50).await, 10, "the tenant's twenty are used up");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(allowed("f", 50).await, 5);
}

#[tokio::test(start_paused = true)]
async fn memory_of_instances() {
    let mib = 1024 * 1024;
    let world = Arc::new(World::with(quota(TenantQuota {
        max_memory_bytes: Some(256 * mib),
        ..TenantQuota::default()
    })));
    world.deploy("f", |_| {}).await;
    world.deploy("g", |_| {}).await;
    world.deploy("huge", |d| d.revision.limits.memory_bytes = Some(1024 * mib)).await;
    // 128 MiB are assumed for each: two fit, the third waits.
    let calls = futures_util::future::join_all((0..3).map(|_| world.text("f", "/sleep?100"))).await;
    assert_eq!(calls.len(), 3);
    assert_eq!(world.script.most.load(SeqCst), 2);
    // An idle instance of another function makes room.
    assert_eq!(world.text("g", "/sleep?1").await, "slept");
    assert_eq!(world.script.most.load(SeqCst), 2);
    // While all are busy, who has nothing to wait for is told.
    eventually("settled", || world.script.alive.load(SeqCst) == 2).await;
    let error = world.call("huge", "/echo").await.unwrap_err();
    assert_eq!(error.outcome, OVERLOADED);
    assert!(error.message.contains("memory quota"), "{}", error.message);
}

#[tokio::test(start_paused = true)]
async fn memory_of_all_instances_of_all_tenants() {
    let mib = 1024 * 1024;
    let world = Arc::new(World::with(EngineOptions {
        max_memory_bytes: Some(256 * mib),
        ..EngineOptions::default()
    }));
    for name in ["f", "g", "h"] {
        world.deploy(name, |_| {}).await;
    }
    world.deploy("huge", |d| d.revision.limits.memory_bytes = Some(1024 * mib)).await;
    // 128 MiB are assumed for each: two fit, an idle one makes room for the third.
    for name in ["f", "g", "h", "f"] {
        assert_eq!(world.text(name, "/sleep?1").await, "slept");
    }
    assert_eq!(world.script.most.load(SeqCst), 2);
    let calls = [occupy(&world, "f").await, occupy(&world, "g").await];
    let error = world.call("h", "/echo").await.unwrap_err();
    assert_eq!(error.outcome, OVERLOADED);
    assert!(error.message.contains("the server's memory for instances is used up"), "{}", error.message);
    for call in calls {
        assert_eq!(call.await.unwrap(), "slept");
    }
    assert_eq!(world.text("h", "/sleep?1").await, "slept");
    // What can never fit takes nothing away from others.
    let alive = world.script.alive.load(SeqCst);
    let error = world.call("huge", "/echo").await.unwrap_err();
    assert!(error.message.contains("more than the server's memory"), "{}", error.message);
    assert_eq!(world.script.alive.load(SeqCst), alive);
    assert_eq!(world.script.most.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn functions_of_a_tenant() {
    let world = World::with(quota(TenantQuota { max_functions: Some(1), ..TenantQuota::default() }));
    world.deploy("f", |_| {}).await;
    world.deploy("f", |d| d.revision.handler = Some("again".to_owned())).await;
    let second = world.deployment("g").await;
    assert_eq!(world.engine.deploy(second.clone(), &Silent).await.unwrap_err().code, "XB2006");
    world.engine.remove(&key("f")).await.unwrap();
    world.engine.deploy(second, &Silent).await.unwrap();
}
