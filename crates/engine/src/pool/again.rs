//! Preparing again. What a driver prepared at deploy time is kept across restarts, but it is a cache: after a
//! restore, or where someone cleared it, the first start finds it gone.

use super::Pool;
use std::sync::Arc;
use tokio::{sync::Mutex, task::JoinHandle, time::Instant};
use xebec_core::{
    Error,
    ports::driver::{Prepare, Silent},
    workload::Workload,
};

/// Whether a revision was prepared again since its pool was made.
#[derive(Default)]
pub(super) struct Again(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    NotYet,
    /// It goes on though the start that asked for it may be given up: installing takes longer than starting.
    Running(JoinHandle<Result<(), Error>>),
    Done(Instant),
}

impl Again {
    /// Prepares again, once in a pool's life. True: it is worth trying a start again that began at `begun`.
    pub(super) async fn prepare(&self, pool: &Arc<Pool>, begun: Instant) -> Result<bool, Error> {
        let mut state = self.0.lock().await;
        if let State::NotYet = *state {
            *state = State::Running(tokio::spawn(prepare(pool.clone())));
        }
        let result = match &mut *state {
            State::Running(preparing) => preparing.await,
            State::Done(at) => return Ok(*at >= begun),
            State::NotYet => return Ok(false),
        };
        *state = State::Done(Instant::now());
        match result {
            Ok(prepared) => prepared.map(|()| true),
            Err(stopped) => Err(Error::internal("XB3002", format!("preparing broke off: {stopped}"))),
        }
    }
}

async fn prepare(pool: Arc<Pool>) -> Result<(), Error> {
    let code = match &pool.revision.spec.workload {
        Workload::Code { archive, .. } => Some(pool.shared.blobs.get(archive).await?),
        _ => None,
    };
    let request =
        Prepare { revision: &pool.revision, environment: &pool.environment, code, progress: &Silent };
    pool.driver.prepare(request).await
}
