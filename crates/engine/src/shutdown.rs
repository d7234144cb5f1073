//! Stopping: no more calls, those in flight end, instances end, what is buffered is written.

use crate::engine::Engine;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How often it is checked whether all is over.
const LOOK: Duration = Duration::from_millis(10);

impl Engine {
    /// Takes no more calls, lets those in flight end for at most `grace`, ends all instances, writes records
    /// and lines that wait.
    pub async fn shutdown(&self, grace: Duration) {
        self.stop_taking_calls();
        self.shared.blanks.clear();
        let deadline = Instant::now() + grace;
        tokio::select! {
            () = self.calls_end() => {}
            () = sleep_until(deadline) => tracing::warn!("calls were still in flight when the grace was over"),
        }
        for active in self.shared.keeper.in_use() {
            active.pools().iter().for_each(|pool| pool.stop());
        }
        // Instances are asked to stop first; what does not is ended by its driver.
        let stopping = deadline.max(Instant::now() + Duration::from_millis(200));
        tokio::select! {
            () = self.instances_end() => {}
            () = sleep_until(stopping) => {}
        }
        for driver in &self.shared.drivers {
            driver.shutdown().await;
        }
        self.end_tasks();
        for error in [self.shared.recorder.flush().await.err(), self.shared.logs.flush().await.err()]
            .into_iter()
            .flatten()
        {
            tracing::warn!(%error, "the last records or lines were lost");
        }
    }

    async fn calls_end(&self) {
        let in_flight =
            |active: &crate::active::Active| active.in_flight.load(std::sync::atomic::Ordering::SeqCst) > 0;
        while self.shared.keeper.in_use().iter().any(|active| in_flight(active)) {
            sleep(LOOK).await;
        }
    }

    async fn instances_end(&self) {
        let alive = || {
            let in_use = self.shared.keeper.in_use();
            in_use.iter().any(|active| active.pools().iter().any(|pool| !pool.is_empty()))
        };
        while alive() {
            sleep(LOOK).await;
        }
    }
}
