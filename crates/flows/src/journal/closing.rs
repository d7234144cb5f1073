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
        loop {
            let due = self.take_due(all);
            if due.0.is_empty() {
                return;
            }
            let more = due.0.len() == BATCH;
            self.close_batch(due).await;
            if !more {
                return;
            }
        }
    }

    fn take_due(self: &Arc<Self>, all: bool) -> Batch {
        let now = Instant::now();
        let mut state = self.state.lock();
        let mut due = Vec::new();
        let mut at = 0;
        while at < state.over.len() && due.len() < BATCH {
            if all || state.over[at].due <= now {
                due.push(state.over.swap_remove(at));
            } else {
                at += 1;
            }
        }
        state.closing += due.len();
        Batch(due, self.clone())
    }

    async fn close_batch(&self, mut batch: Batch) {
        let mut closed = Vec::new();
        let mut at = 0;
        while at < batch.0.len() {
            match self.has_record(&batch.0[at]).await {
                Ok(true) => closed.push(at),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the journal of flows cannot read records");
                    break;
                }
            }
            at += 1;
        }
        if closed.is_empty() {
            return;
        }
        let writes = closed.iter().map(|at| Write::Delete(batch.0[*at].entry.key(), Expect::Any)).collect();
        match self.store.write(writes).await {
            Ok(_) => {
                for at in closed.iter().rev() {
                    batch.0.swap_remove(*at);
                    self.state.lock().closing -= 1;
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
        let now = Instant::now();
        let mut state = self.1.state.lock();
        state.closing -= self.0.len();
        state.over.extend(self.0.drain(..).map(|mut over| {
            over.due = now + over.pause;
            over.pause = (over.pause * 2).min(LONGEST_PAUSE);
            over
        }));
    }
}
