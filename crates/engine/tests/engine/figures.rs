//! What the engine itself costs. Not run with the others: `cargo test --release -p xebec-engine -- --ignored
//! --nocapture figures`.

use crate::world::{World, invocation};
use std::{sync::Arc, time::Instant};
use xebec_core::{Body, ports::invoker::Invoker};

const CALLS: u32 = 200_000;

async fn calls(world: &World, count: u32) {
    for _ in 0..count {
        let answer = world.engine.invoke(invocation("f", "/status?200", Body::empty())).await.unwrap();
        assert_eq!(answer.response.status(), 200);
    }
}

#[test]
#[ignore = "measures"]
fn figures_of_a_warm_call() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = Arc::new(World::new());
        world.deploy("f", |d| d.revision.limits.concurrency = 16).await;
        calls(&world, 1000).await;
        let begun = Instant::now();
        let one = world.clone();
        tokio::spawn(async move { calls(&one, CALLS).await }).await.unwrap();
        let one = begun.elapsed() / CALLS;
        let begun = Instant::now();
        let callers = (0..16).map(|_| {
            let world = world.clone();
            tokio::spawn(async move { calls(&world, CALLS / 16).await })
        });
        futures_util::future::join_all(callers.collect::<Vec<_>>()).await;
        let rate = f64::from(CALLS) / begun.elapsed().as_secs_f64();
        eprintln!("warm call, everything but the function: {one:?}; 16 callers: {rate:.0} calls/s");
    });
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0)
}

#[test]
#[ignore = "measures"]
fn figures_of_many_functions() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new();
        for n in 0..100_000 {
            world.deploy(&format!("function-{n}"), |_| {}).await;
        }
        // The store's copy is in this process, too, in these tests: only what comes on top is the engine's.
        world.engine.shutdown(std::time::Duration::ZERO).await;
        let before = resident_kib();
        let begun = Instant::now();
        let world = world.again().await;
        let (took, after) = (begun.elapsed(), resident_kib());
        assert_eq!(xebec_core::ports::control::Control::functions(&*world.engine, None, None).len(), 100_000);
        eprintln!("100,000 functions: {} MiB, resumed in {took:?}", (after - before) / 1024);
    });
}
