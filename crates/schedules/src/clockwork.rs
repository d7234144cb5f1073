//! The one timer.

use crate::{Inner, documents::Id};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// Schedules that are seen to at a time: enough for their writes to share an fsync.
const AT_ONCE: usize = 64;

/// The longest sleep: after it, a wall clock that jumped is noticed.
const LONGEST: Duration = Duration::from_secs(1);

/// What a wall clock may gain or lose in a sleep; more is a jump.
const DRIFT: Duration = Duration::from_millis(500);

/// Notices when the wall clock jumps.
struct Jumps {
    wall: Timestamp,
    steady: Duration,
}

impl Jumps {
    /// Whether it jumped since it was asked last.
    fn jumped(&mut self, wall: Timestamp, steady: Duration) -> bool {
        let expected = self.wall.saturating_add(steady.saturating_sub(self.steady));
        (self.wall, self.steady) = (wall, steady);
        expected.is_ok_and(|expected| wall.duration_since(expected).unsigned_abs() > DRIFT)
    }
}

impl Inner {
    /// Sees to schedules as they come due, until `stopped`; what is under way then is waited for.
    pub(crate) async fn run(self: Arc<Self>, stopped: impl Future<Output = ()>) {
        let mut stopped = std::pin::pin!(stopped);
        let mut under_way: JoinSet<()> = JoinSet::new();
        let mut jumps = Jumps { wall: self.clock.now(), steady: self.clock.steady() };
        loop {
            while under_way.try_join_next().is_some() {}
            let now = self.clock.now();
            let (due, next) = {
                let mut table = self.table.lock();
                if jumps.jumped(now, self.clock.steady()) {
                    tracing::info!(%now, "the clock jumped; schedules go by the new time");
                    table.plan_all(now);
                }
                (table.take(now, AT_ONCE - under_way.len()), table.first())
            };
            for id in due {
                under_way.spawn(Arc::clone(&self).look_after(id));
            }
            let full = under_way.len() >= AT_ONCE;
            let until = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
            tokio::select! {
                () = &mut stopped => break,
                () = self.sooner.notified(), if !full => {}
                () = sleep(until.unwrap_or(LONGEST).min(LONGEST)), if !full && until.is_some() => {}
                _ = under_way.join_next(), if full => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn look_after(self: Arc<Self>, id: Id) {
        let ended = self.see_to(&id).await;
        self.table.lock().end(&id, ended, self.clock.now());
        self.sooner.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_from_time_that_passes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut jumps = Jumps { wall: at(100), steady: Duration::from_secs(7) };
        assert!(!jumps.jumped(at(101), Duration::from_secs(8)));
        assert!(jumps.jumped(at(3600), Duration::from_secs(9)));
        assert!(!jumps.jumped(at(3601), Duration::from_millis(10_100)));
        assert!(jumps.jumped(at(200), Duration::from_secs(11)));
    }
}
