//! Records of invocations on their way to their port.

use crate::batch::{Batch, Trim};
use std::sync::Arc;
use xebec_core::{
    Error,
    ports::records::{Records, Retention},
    record::InvocationRecord,
};

/// Records of invocations on their way to their port.
pub(crate) struct Recorder {
    batch: Batch<InvocationRecord>,
    port: Arc<dyn Records>,
}

impl Recorder {
    pub(crate) fn new(port: Arc<dyn Records>, bound: usize) -> Self {
        Self { batch: Batch::new(bound), port }
    }

    /// Takes a record; it is written soon.
    pub(crate) fn record(&self, record: InvocationRecord) {
        self.batch.push(record);
    }

    /// Records that were not kept.
    pub(crate) fn dropped(&self) -> u64 {
        self.batch.dropped()
    }

    /// Writes what waits.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let turn = self.batch.turn().await;
        let records = self.batch.take(&turn);
        if records.is_empty() {
            return Ok(());
        }
        let count = records.len() as u64;
        let written = self.port.append(records).await;
        if written.is_err() {
            self.batch.lost(count);
        }
        written
    }

    /// The port, for reading.
    pub(crate) fn port(&self) -> &dyn Records {
        &*self.port
    }

    /// Writes in the background, and deletes what is past its time, for ever.
    pub(crate) async fn write_behind(self: Arc<Self>, retention: Retention) {
        let mut trim = Trim::new();
        loop {
            self.batch.gathered().await;
            if let Err(error) = self.flush().await {
                tracing::warn!(%error, "records were lost");
            }
            if trim.is_due(self.batch.taken())
                && let Err(error) = self.port.trim(&retention).await
            {
                tracing::warn!(%error, "old records could not be deleted");
            }
        }
    }
}
