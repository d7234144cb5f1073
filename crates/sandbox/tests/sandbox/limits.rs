//! What sandboxes may use.

use crate::world::*;
use std::time::{Duration, Instant};
use xebec_sandbox::{SandboxError, SandboxLimits};

#[tokio::test]
async fn a_fork_bomb_is_bounded() {
    let Some(world) = world().await else { return };
    let mut spec = spec("bomb");
    spec.limits.processes = Some(20);
    let sandbox = world.spawner.create(spec).await.unwrap();
    let bomb = "f() { sleep 100 & f; }; f 2>/dev/null";
    let mut process = sandbox.spawn(shell(bomb)).await.unwrap();
    tokio::time::timeout(PATIENCE, process.wait())
        .await
        .expect("the shell cannot fork any more and gives up");
    // The room that the shell left.
    let _last = sandbox.spawn(exec(&["sleep", "100"])).await.unwrap();
    let error = sandbox.spawn(exec(&["true"])).await.err();
    assert!(matches!(&error, Some(SandboxError::Failed { .. })), "the limit is reached: {error:?}");
    drop(process);
    eventually("there is room again", || async { run(&sandbox, exec(&["true"])).await.is_ok() }).await;

    let wild = world.spawner.create(self::spec("wild")).await.unwrap();
    wild.spawn(shell(":(){ :|:& };:")).await.unwrap();
    wild.destroy().await;
}

#[tokio::test]
async fn who_eats_too_much_memory_is_killed_for_it() {
    let Some(world) = world().await else { return };
    if !world.spawner.enforcement().enforces("memory limit") {
        xebec_skipped::skipped!("no control group for memory");
        return;
    }
    let mut spec = spec("eater");
    spec.limits.memory_bytes = Some(32 << 20);
    let sandbox = world.spawner.create(spec).await.unwrap();
    let (exit, _) = run(&sandbox, exec(&["true"])).await.unwrap();
    assert!(!exit.out_of_memory);
    let (exit, _) = run(&sandbox, exec(&["tail", "/dev/zero"])).await.unwrap();
    assert_eq!((exit.signal, exit.out_of_memory), (Some(9), true));
    // Not itself, but one of its tree.
    let (exit, _) = run(&sandbox, shell("tail /dev/zero; exit 3")).await.unwrap();
    assert_eq!((exit.code, exit.out_of_memory), (Some(3), true));
    // What was killed before is not held against the next.
    let (exit, _) = run(&sandbox, shell("exit 3")).await.unwrap();
    assert_eq!((exit.code, exit.out_of_memory), (Some(3), false));
    assert!(sandbox.usage().is_some_and(|usage| usage.memory_bytes <= 32 << 20));

    sandbox
        .set_limits(SandboxLimits { memory_bytes: Some(256 << 20), ..SandboxLimits::default() })
        .await
        .unwrap();
    let (exit, _) =
        run(&sandbox, shell("head -c 100000000 /dev/zero | tail -c 90000000 | wc -c")).await.unwrap();
    assert_eq!((exit.code, exit.out_of_memory), (Some(0), false));
    sandbox.destroy().await;
    assert!(sandbox.exited().await.out_of_memory);
}

#[tokio::test]
async fn memory_is_bounded_without_control_groups_too() {
    let Some(world) = world().await else { return };
    if world.spawner.enforcement().enforces("memory limit") {
        xebec_skipped::skipped!("there is a control group for memory");
        return;
    }
    let mut spec = spec("eater");
    spec.limits.memory_bytes = Some(32 << 20);
    let sandbox = world.spawner.create(spec).await.unwrap();
    let (exit, _) = run(&sandbox, exec(&["tail", "/dev/zero"])).await.unwrap();
    assert_ne!(exit.code, Some(0));
}

#[tokio::test]
async fn scratch_is_bounded() {
    let Some(world) = world().await else { return };
    let mut spec = spec("scratch");
    spec.limits.scratch_bytes = Some(1 << 20);
    let sandbox = world.spawner.create(spec).await.unwrap();
    let (exit, _) = run(&sandbox, shell("head -c 900000 /dev/zero > /tmp/a")).await.unwrap();
    assert_eq!(exit.code, Some(0));
    let (exit, said) = run(&sandbox, shell("head -c 900000 /dev/zero > /tmp/b")).await.unwrap();
    assert_ne!(exit.code, Some(0), "{said}");
    let (exit, _) = run(&sandbox, shell("head -c 99999999 /dev/zero > /run/xebec/c")).await.unwrap();
    assert_ne!(exit.code, Some(0));
}

#[tokio::test]
async fn processor_time_is_bounded() {
    let Some(world) = world().await else { return };
    if !world.spawner.enforcement().enforces("cpu limit") {
        xebec_skipped::skipped!("no control group for the processor");
        return;
    }
    let mut spec = spec("slow");
    spec.limits.cpu_millis = Some(100);
    let sandbox = world.spawner.create(spec).await.unwrap();
    let began = Instant::now();
    let (_, said) =
        run(&sandbox, shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; times")).await.unwrap();
    let used: f64 = said.split(['m', 's']).nth(1).unwrap().parse().unwrap();
    // A tenth of a core: what it used took about ten times as long. Half of that shows the limit holds.
    assert!(began.elapsed() > Duration::from_secs_f64(used * 5.0) - Duration::from_millis(100), "{said}");
}
