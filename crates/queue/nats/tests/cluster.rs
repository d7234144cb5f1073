//! Three servers that keep three copies.

#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Instant};
use support::{
    SYNCED, Server, free_port,
    load::{PATIENCE, a_moment, lose_nothing},
};
use xebec_core::ports::{clock::SystemClock, queue::Queue as _};
use xebec_queue_nats::{NatsOptions, NatsQueue};

fn cluster() -> Option<Vec<Server>> {
    let ports = [free_port(), free_port(), free_port()];
    let routes = ports.map(|port| format!("\"nats://127.0.0.1:{port}\"")).join(", ");
    let mut servers = Vec::new();
    for (number, port) in ports.into_iter().enumerate() {
        let mut server = Server::prepare(SYNCED)?;
        server.more = format!(
            "server_name: s{number}\n\
             cluster {{ name: c, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}"
        );
        server.configure(&server.directory().join("store"), SYNCED);
        server.spawn();
        servers.push(server);
    }
    for server in &servers {
        server.answers();
    }
    Some(servers)
}

async fn queue(options: &NatsOptions) -> Arc<NatsQueue> {
    let queue = NatsQueue::connect(options.clone(), Arc::new(SystemClock)).await.unwrap();
    let began = Instant::now();
    while let Err(error) = queue.health().await {
        assert!(began.elapsed() < PATIENCE, "{error}");
        a_moment().await;
    }
    Arc::new(queue)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_each_server_is_killed_in_turn() {
    let Some(mut servers) = cluster() else { return };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = servers[0].options();
    options.replicas = 3;
    options.urls = servers.iter().flat_map(|server| server.options().urls).collect();
    options.monitoring = servers.iter().flat_map(|server| server.options().monitoring).collect();
    let queues = vec![queue(&options).await, queue(&options).await];
    lose_nothing(queues, async || {
        for server in &mut servers {
            a_moment().await;
            server.kill();
            a_moment().await;
            server.run();
            // The next one may go once this one has caught up; until then there is no majority.
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        }
    })
    .await;
}
