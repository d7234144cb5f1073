//! The closed loop: each connection calls again when it has its answer.

use super::{connection::Connection, target::Target};
use crate::report::Tally;
use futures_util::future::join_all;
use std::time::{Duration, Instant};

/// After a failure a connection pauses so long, so that a dead server is not hammered.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn run(target: &Target, connections: usize, measure: Duration, timeout: Duration) -> Tally {
    let until = Instant::now() + measure;
    let tasks = (0..connections).map(|_| {
        let target = target.clone();
        tokio::spawn(async move { connection(&target, until, timeout).await })
    });
    let mut all = Tally::new();
    for tally in join_all(tasks).await.into_iter().flatten() {
        all.merge(&tally);
    }
    all
}

async fn connection(target: &Target, until: Instant, timeout: Duration) -> Tally {
    let mut tally = Tally::new();
    let mut connection = Connection::new(target, timeout);
    let mut started = Instant::now();
    while started < until {
        let result = connection.call().await;
        let ended = Instant::now();
        match result {
            Ok(answer) => {
                let taken = ended - started;
                tally.answered(answer.status, answer.bytes, taken, taken);
            }
            Err(error) => {
                tally.failed(error);
                tokio::time::sleep(PAUSE).await;
            }
        }
        started = Instant::now();
    }
    tally
}
