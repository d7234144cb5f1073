//! One event, several functions.

use futures_util::stream::{self, StreamExt as _};
use std::sync::Arc;
use xebec_core::{
    Error, InvocationId,
    message::{Receipt, Submission},
    ports::deliveries::Deliveries,
};

/// Submissions of one event that are under way at a time: they are acknowledged together.
const AT_ONCE: usize = 64;

/// Submits calls of several functions at once, and tells what came of each. None of them is part of a flow: each
/// is on disk when its outcome is told, or was refused, and goes its own way from there.
#[derive(Clone)]
pub struct FanOut {
    deliveries: Arc<dyn Deliveries>,
}

/// What came of one submission.
#[derive(Debug)]
pub struct Sent {
    /// The id that the call has, or would have had.
    pub id: InvocationId,
    /// That it was accepted, or why not.
    pub outcome: Result<Receipt, Error>,
}

impl FanOut {
    /// Submits to `deliveries`.
    pub fn new(deliveries: Arc<dyn Deliveries>) -> Self {
        Self { deliveries }
    }

    /// Submits all, and answers when each is on disk or refused: the outcomes, in the order of the submissions.
    /// One that is refused does not keep the others from being submitted. Dropping the future leaves open which
    /// of them were.
    pub async fn submit(&self, submissions: Vec<Submission>) -> Vec<Sent> {
        let sends = submissions.into_iter().map(|submission| async {
            let id = submission.id;
            Sent { id, outcome: self.deliveries.submit(submission).await }
        });
        stream::iter(sends).buffered(AT_ONCE).collect().await
    }
}
