//! Taking entries away: once a run is over and its record is there.

use super::{Over, Shared, interrupted};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use xebec_core::{
    Error, InvocationId,
    document::{Expect, Write},
    record::InvocationRecord,
};

/// The longest pause between two looks for a record.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Entries that are taken away in one write.
const BATCH: usize = 512;

/// Takes entries away for as long as there is a journal.
pub(super) async fn close_what_is_over(shared: Arc<Shared>) {
    loop {
        let waits = !shared.state.lock().over.is_empty();
        if !waits {
            shared.over.notified().await;
        }
        // Others end meanwhile, and one write does for all.
        tokio::time::sleep(shared.options.every).await;
        shared.close(false).await;
    }
}

impl Shared {
    /// Takes away what is over and has its record; `all` also looks at what was looked for in vain just now.
    pub(super) async fn close(self: &Arc<Self>, all: bool) {
        let _turn = self.turn.lock().await;
        let now = Instant::now();
        if all {
            self.state.lock().over.values_mut().for_each(|over| over.due = now);
        }
        loop {
            let batch = self.take_due(now);
            if batch.0.is_empty() {
                return;
            }
            self.close_batch(batch).await;
        }
    }

    fn take_due(self: &Arc<Self>, now: Instant) -> Batch {
        let mut state = self.state.lock();
        let due = state.over.extract_if(|_, over| over.due <= now).take(BATCH);
        let due: Vec<_> = due.map(|(_, over)| over).collect();
        state.closing.extend(due.iter().map(|over| over.entry.id));
        Batch(due, self.clone())
    }

    async fn close_batch(&self, mut batch: Batch) {
        let mut closed = Vec::new();
        for (at, over) in batch.0.iter().enumerate() {
            match self.has_record(over).await {
                Ok(true) => closed.push(at),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the journal of flows cannot read records");
                    break;
                }
            }
        }
        if closed.is_empty() {
            return;
        }
        let writes = closed.iter().map(|at| Write::Delete(batch.0[*at].entry.key(), Expect::Any)).collect();
        match self.store.write(writes).await {
            Ok(_) => {
                for at in closed.iter().rev() {
                    let closed = batch.0.swap_remove(*at);
                    self.state.lock().closing.remove(&closed.entry.id);
                }
            }
            Err(error) => tracing::warn!(%error, "the journal of flows cannot take entries away"),
        }
    }

    /// Whether a run that is over has its record. One that never comes – there were too many to be written – is
    /// made here: a call that was accepted must be found.
    async fn has_record(&self, over: &Over) -> Result<bool, Error> {
        if let Some(record) = self.records.get(&over.entry.id).await? {
            self.name_steps(record, &over.given_up).await?;
            return Ok(true);
        }
        if over.since.elapsed() < self.options.patience {
            return Ok(false);
        }
        let why = "its record was lost: it may have run or not";
        let record = interrupted::record(&over.entry, why, &over.given_up);
        self.records.append(vec![record]).await?;
        Ok(true)
    }

    /// A run that was given up – its time was up, its caller went away, the server stops – has the record that
    /// the engine made, which cannot know its steps.
    async fn name_steps(&self, mut record: InvocationRecord, steps: &[InvocationId]) -> Result<(), Error> {
        let Some(noted) = record.noted.as_mut().filter(|_| !steps.is_empty()) else { return Ok(()) };
        if noted.details.get("components").is_some() {
            return Ok(());
        }
        interrupted::with_components(&mut noted.details, steps);
        self.records.append(vec![record]).await
    }
}

/// Runs that are being looked at. Those that are left when it is dropped are looked at again later.
struct Batch(Vec<Over>, Arc<Shared>);

impl Drop for Batch {
    fn drop(&mut self) {
        // Later than whoever looks now would look.
        let now = Instant::now() + Duration::from_millis(1);
        let mut state = self.1.state.lock();
        for mut over in self.0.drain(..) {
            state.closing.remove(&over.entry.id);
            over.due = now + over.pause;
            over.pause = (over.pause * 2).min(LONGEST_PAUSE);
            state.over.insert(over.entry.id, over);
        }
    }
}
