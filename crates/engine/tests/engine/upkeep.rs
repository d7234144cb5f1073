//! What is done behind the calls: garbage, backups, write-behind, metrics.

use crate::world::{World, key};
use futures_util::future::join_all;
use std::sync::atomic::Ordering::SeqCst;
use xebec_core::{Body, ports::control::Control};
use xebec_engine::EngineOptions;

#[tokio::test(start_paused = true)]
async fn garbage_is_what_nothing_points_at() {
    let world = World::new();
    let kept = world.deploy("f", |_| {}).await.function.revisions[0].digest;
    let gone = world.deploy("g", |_| {}).await.function.revisions[0].digest;
    world.engine.remove(&key("g")).await.unwrap();
    world.engine.put_code(Body::full("uploaded, not deployed yet")).await.unwrap();
    world.engine.collect_garbage().await.unwrap();
    assert_eq!(world.blobs.blobs.lock().len(), 3, "all of them are young");
    world.blobs.age_seconds.store(3600, SeqCst);
    let freed = world.engine.collect_garbage().await.unwrap();
    assert_eq!(freed, "code of g".len() as u64 + 26 + 7);
    assert_eq!(world.blobs.blobs.lock().len(), 1);
    assert_eq!(world.store.count("revision"), 1);
    let asked = world.script.collect_asks.lock();
    assert!(
        asked.contains(&(kept, true)) && asked.contains(&(gone, false)) && !asked.contains(&(kept, false))
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_collected_under_a_deploy() {
    let world = World::new();
    world.blobs.age_seconds.store(3600, SeqCst);
    world.script.prepare_ms.store(10_000, SeqCst);
    let collecting = async {
        for _ in 0..5 {
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            world.engine.collect_garbage().await.unwrap();
        }
    };
    let deploying = async { world.deploy("f", |_| {}).await };
    tokio::join!(collecting, deploying);
    assert_eq!((world.blobs.blobs.lock().len(), world.store.count("revision")), (1, 1));
    assert_eq!(world.text("f", "/sleep?1").await, "slept");
}

#[tokio::test(start_paused = true)]
async fn a_backup_has_documents_and_blobs() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let folder = tempfile::tempdir().unwrap();
    world.engine.backup(folder.path()).await.unwrap();
    assert!(folder.path().join("state.db").is_file() && folder.path().join("blobs").is_dir());
}

#[tokio::test(start_paused = true)]
async fn records_are_bounded_and_counted_when_they_cannot_be_kept() {
    let world = World::with(EngineOptions { write_behind: 10, ..EngineOptions::default() });
    world.deploy("f", |d| d.revision.limits.concurrency = 100).await;
    world.text("f", "/sleep?1").await;
    assert_eq!(world.records().await.len(), 1);
    join_all((0..50).map(|_| world.text("f", "/sleep?5"))).await;
    assert_eq!(world.records().await.len(), 11);
    assert!(world.metrics().contains("xebec_records_dropped_total 40"));

    world.records.broken.store(true, SeqCst);
    world.text("f", "/sleep?5").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(world.metrics().contains("xebec_records_dropped_total 41"));
}

#[tokio::test(start_paused = true)]
async fn metrics_are_what_prometheus_reads() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.text("f", "/sleep?30").await;
    world.text("f", "/status?500").await;
    world.call("nobody", "/").await.unwrap_err();
    let text = world.metrics();
    for line in [
        "xebec_invocations_total{tenant=\"default\",door=\"native\",function=\"f\",outcome=\"success\"} 1",
        "xebec_invocations_total{tenant=\"default\",door=\"native\",function=\"f\",outcome=\"application_error\"} 1",
        "xebec_invocations_total{tenant=\"\",door=\"\",function=\"\",outcome=\"not_found\"} 1",
        "xebec_invocation_duration_seconds_count{tenant=\"default\",door=\"native\",function=\"f\"} 2",
        "xebec_cold_start_seconds_count{tenant=\"default\",door=\"native\",function=\"f\"} 1",
        "xebec_instances{tenant=\"default\",door=\"native\",function=\"f\"} 1",
        "xebec_functions 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis missing in\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok() && name.starts_with(|c: char| c.is_ascii_lowercase()), "{line}");
    }
    let typed = text.lines().filter(|line| line.starts_with("# TYPE")).count();
    let mut names: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), typed, "each is declared once");
}

#[tokio::test(start_paused = true)]
async fn old_records_go_while_new_ones_come() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    world.text("f", "/sleep?1").await;
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    assert!(!world.records.trimmed.load(SeqCst), "nothing is done while nothing happens");
    world.text("f", "/sleep?1").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(world.records.trimmed.load(SeqCst));
}

#[tokio::test(start_paused = true)]
async fn names_of_instances_fit_files_and_hosts() {
    let world = World::new();
    let name = format!("Höchst seltsam/{}", "x".repeat(100));
    world.deploy(&name, |_| {}).await;
    let id = world.call(&name, "/echo").await.unwrap().instance.to_string();
    assert!(
        id.len() <= 63 && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
        "{id}"
    );
}
