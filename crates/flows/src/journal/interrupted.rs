//! What an earlier life of the server left in the journal.

use super::{Entry, Journal, RUNS};
use futures_util::stream::StreamExt as _;
use serde_json::Value;
use xebec_core::{
    Error, InvocationId, Outcome,
    document::{Document, Expect, ListQuery, Write},
    invocation::Timing,
    outcome::PlatformFault,
    ports::store::pages,
    record::{InvocationRecord, Noted, RecordQuery},
};

/// Entries that are ended together.
const BATCH: usize = 256;

/// What [`Journal::end_interrupted`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// Runs that got a record here, which says that they were interrupted.
    pub ended: usize,
    /// Runs that had their record already; only their entry was left.
    pub through: usize,
}

impl Journal {
    /// Gives every run that is in the journal and did not begin by it a record: at start, before anything is called
    /// and before messages are delivered. It can be interrupted itself: done again, it does what is left.
    ///
    /// # Errors
    /// What [`xebec_core::ports::store::Store`] and [`xebec_core::ports::records::Records`] say.
    pub async fn end_interrupted(&self) -> Result<Interrupted, Error> {
        let mut left = Vec::new();
        let query = ListQuery { kind: RUNS.to_owned(), ..ListQuery::default() };
        let store = &*self.shared.store;
        let mut listed = pages(store, query, BATCH);
        while let Some(page) = listed.next().await {
            left.extend(page?.documents);
        }
        drop(listed);
        // What a run led to began after it, and shall have its record before that of the run names it.
        left.sort_by_key(|document| std::cmp::Reverse(document.created));
        left.retain(|document| !self.is_ours(document));
        let mut found = Interrupted::default();
        for batch in left.chunks(BATCH) {
            for document in batch {
                self.end(document, &mut found).await?;
            }
            let writes = batch.iter().map(|document| Write::Delete(document.key(), Expect::Any)).collect();
            store.write(writes).await?;
        }
        Ok(found)
    }

    fn is_ours(&self, document: &Document) -> bool {
        let id = document.name.parse::<InvocationId>();
        id.is_ok_and(|id| self.shared.state.lock().knows(&id))
    }

    async fn end(&self, document: &Document, found: &mut Interrupted) -> Result<(), Error> {
        let entry: Entry = match serde_json::from_value(document.spec.clone()) {
            Ok(entry) => entry,
            Err(error) => {
                tracing::error!(%error, name = document.name, "an entry of the journal of flows cannot be read");
                return Ok(());
            }
        };
        let records = &*self.shared.records;
        if records.get(&entry.id).await?.is_some() {
            found.through += 1;
            return Ok(());
        }
        let steps = self.steps_with_records(entry.id).await?;
        records.append(vec![record(&entry, &sentence(steps.len()), &steps)]).await?;
        found.ended += 1;
        Ok(())
    }

    /// The steps of a run that have records, in the order in which they began.
    async fn steps_with_records(&self, run: InvocationId) -> Result<Vec<InvocationId>, Error> {
        let mut query = RecordQuery { cause: Some(run), limit: Some(1000), ..RecordQuery::default() };
        let mut steps = Vec::new();
        loop {
            let page = self.shared.records.query(&query).await?;
            steps.extend(page.records.into_iter().map(|record| (record.received, record.id)));
            query.cursor = page.cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        steps.sort_unstable();
        Ok(steps.into_iter().map(|(_, id)| id).collect())
    }
}

fn sentence(steps: usize) -> String {
    let what = match steps {
        0 => "it may have run or not, and is not made again".to_owned(),
        1 => "one of its steps has a record, and none is made again".to_owned(),
        n => format!("{n} of its steps have records, and none is made again"),
    };
    format!("it was interrupted, since the server ended while it ran: {what}")
}

/// The record of a run that was not recorded by who ran it.
pub(super) fn record(entry: &Entry, why: &str, steps: &[InvocationId]) -> InvocationRecord {
    let noted = entry.note.as_deref().map(|note| {
        let mut noted = Noted::from(note.clone());
        if !steps.is_empty() {
            with_components(&mut noted.details, steps);
        }
        Box::new(noted)
    });
    InvocationRecord {
        id: entry.id,
        function: entry.function.clone(),
        revision: None,
        instance: None,
        received: entry.received,
        timing: Timing::default(),
        outcome: Outcome::PlatformError(PlatformFault::Internal),
        status: None,
        message: Some(why.to_owned()),
        request_bytes: 0,
        response_bytes: 0,
        attempt: entry.attempt,
        noted,
    }
}

/// Names a run's steps, as the answer of a flow does.
pub(super) fn with_components(details: &mut Value, steps: &[InvocationId]) {
    if details.is_null() {
        *details = Value::Object(serde_json::Map::new());
    }
    if let Some(details) = details.as_object_mut() {
        details.insert("components".to_owned(), crate::steps::components(steps));
    }
}
