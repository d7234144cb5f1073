//! Several servers on one real store, in real time.

#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeSet, sync::Arc, time::Duration};
use support::{World, every, f};
use tokio::time::{Instant, sleep};
use xebec_core::{document::Expect, ports::schedules::Schedules as _};
use xebec_store_sqlite::{DataDirectory, Options, SqliteStore};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_servers_fires() {
    let kept = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open(kept.path()).unwrap();
    let world = World::on(Arc::new(SqliteStore::open(&directory, Options::default()).unwrap()));
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(world.server().await);
    }
    for n in 0..20 {
        servers[n % 3].put(&f(), every(&format!("s{n}"), "1s"), Expect::Absent).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while (0..20).any(|n| world.sink.dues(&format!("s{n}")).len() < 3) {
        assert!(Instant::now() < deadline, "{} in all", world.sink.all().len());
        sleep(Duration::from_millis(20)).await;
    }
    for server in &servers {
        server.shutdown().await;
    }
    for n in 0..20 {
        let dues = world.sink.dues(&format!("s{n}"));
        let different: BTreeSet<_> = dues.iter().collect();
        assert_eq!(different.len(), dues.len());
        let view = world.server().await.get(&f().tenant, &format!("s{n}")).await.unwrap().unwrap();
        assert!(view.last.unwrap().due >= *dues.last().unwrap());
    }
}
