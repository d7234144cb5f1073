//! The recorder as a place for records, for those beside the engine who have some: theirs go the same way, and
//! reach those who follow.

use crate::{engine::Engine, recorder::Recorder};
use async_trait::async_trait;
use std::{collections::HashMap, sync::Arc};
use xebec_core::{
    Error, ErrorKind, InvocationId,
    message::Call,
    ports::records::{Records, Retention},
    record::{InvocationRecord, KeptRequest, RecordPage, RecordQuery},
};

impl Engine {
    /// Where records go that others than the engine make.
    pub fn records_port(&self) -> Arc<dyn Records> {
        self.shared.recorder.clone()
    }
}

#[async_trait]
impl Records for Recorder {
    async fn append_with_requests(
        &self,
        records: Vec<InvocationRecord>,
        requests: Vec<KeptRequest>,
    ) -> Result<(), Error> {
        let mut calls: HashMap<InvocationId, Call> =
            requests.into_iter().map(|request| (request.id, request.call)).collect();
        let mut all = true;
        for record in records {
            let call = calls.remove(&record.id);
            all &= self.record(record, call);
        }
        self.flush().await?;
        if all {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, "XB4005", "too many records wait to be written"))
    }

    async fn get(&self, id: &InvocationId) -> Result<Option<InvocationRecord>, Error> {
        self.flush().await?;
        self.port().get(id).await
    }

    async fn request(&self, id: &InvocationId) -> Result<Option<Call>, Error> {
        self.flush().await?;
        self.port().request(id).await
    }

    async fn query(&self, query: &RecordQuery) -> Result<RecordPage, Error> {
        self.flush().await?;
        self.port().query(query).await
    }

    async fn count(&self, query: &RecordQuery) -> Result<u64, Error> {
        self.flush().await?;
        self.port().count(query).await
    }

    async fn trim(&self, retention: &Retention) -> Result<u64, Error> {
        self.port().trim(retention).await
    }
}
