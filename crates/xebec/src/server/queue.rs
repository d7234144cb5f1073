//! Where calls wait that outlive their caller.

use crate::{config::Queue as Configured, failure::Failure};
use std::{path::Path, sync::Arc};
use xebec_core::ports::{clock::SystemClock, queue::Queue};
use xebec_queue_nats::NatsQueue;
use xebec_queue_sqlite::SqliteQueue;

/// Opens the queue that is configured.
pub(super) async fn open(configured: &Configured, data: &Path) -> Result<Arc<dyn Queue>, Failure> {
    let clock = Arc::new(SystemClock);
    Ok(match configured {
        Configured::Sqlite => {
            let data = data.to_owned();
            // Opening reads what waits, which may be a lot.
            let opened = tokio::task::spawn_blocking(move || {
                SqliteQueue::open(&data, clock, xebec_queue_sqlite::Options::default())
            });
            Arc::new(opened.await.map_err(|_| Failure::new("the queue could not be opened"))??)
        }
        Configured::Nats(options) => Arc::new(NatsQueue::connect((**options).clone(), clock).await?),
    })
}
