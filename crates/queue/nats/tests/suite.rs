//! What every queue does, of the queue on a real nats-server.

// The suite's macro fills in what is not named, and here all is.
#![allow(clippy::needless_update)]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use support::Server;
use xebec_core::ports::queue::Queue;

async fn open() -> Option<(Arc<dyn Queue>, Server)> {
    let server = Server::start()?;
    let queue: Arc<dyn Queue> = Arc::new(server.queue().await);
    Some((queue, server))
}

async fn reopen(mut server: Server) -> (Arc<dyn Queue>, Server) {
    server.stop();
    server.run();
    let queue: Arc<dyn Queue> = Arc::new(server.queue().await);
    (queue, server)
}

xebec_conformance::queue_suite!(async open, messages = 600, cases = 8);

xebec_conformance::queue_reopen_suite!(async open, reopen);
