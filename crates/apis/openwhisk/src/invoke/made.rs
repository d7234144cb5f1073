//! Making calls: waited for, or accepted to be made later.

use super::Ready;
use crate::{
    Shared,
    activations::{details::Details, shape::Activation},
    errors::Rejection,
    outcome::Ending,
    throttle::InFlight,
};
use bytes::Bytes;
use jiff::Timestamp;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    Body, FunctionKey, Invocation, InvocationId, InvokeError, Outcome, Tenant,
    body::CollectError,
    invocation::Timing,
    message::{Guarantee, Submission, Wishes},
    outcome::FunctionFault,
    ports::invoker::Invoker,
    record::{Note, Remarks},
};
use xebec_flows::Entry;

/// The longest answer that is read: contracts answer less.
const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;

/// What came of waiting for a call.
pub(crate) enum Waited {
    /// It ended.
    Ended(Box<Activation>),
    /// It goes on, and is written down.
    Later(InvocationId),
}

/// Makes a call and waits for it, at most so long. It goes on whether its caller is still there or not.
///
/// # Errors
/// Where it was not made at all.
pub(crate) async fn wait_for(
    shared: &Arc<Shared>,
    ready: Ready,
    in_flight: InFlight,
    wait: Duration,
) -> Result<Waited, Rejection> {
    let Ready { namespace, function, principal, request, details, note } = ready;
    let note = Arc::new(note);
    let mut invocation = Invocation::new(function, principal, request);
    invocation.note = Some(note.clone());
    let (id, received) = (invocation.id, invocation.received);
    let function = invocation.function.clone();
    let invoker = shared.invoker.clone();
    let mut call = tokio::spawn(async move {
        let ended = make(invoker.as_ref(), invocation).await;
        drop(in_flight);
        ended
    });
    let ended = match tokio::time::timeout(wait, &mut call).await {
        Ok(ended) => ended,
        Err(_) => match shared.journal.begin(entry(id, function, &note, received)).await {
            Ok(kept) => {
                tokio::spawn(async move {
                    let _ = call.await;
                    drop(kept);
                });
                return Ok(Waited::Later(id));
            }
            Err(error) => {
                // What cannot be written down is not promised: its caller waits on, as long as it may take.
                tracing::warn!(%error, "a call cannot be written down");
                call.await
            }
        },
    };
    let ended = ended.map_err(|_| Rejection::internal())?;
    activation(id, namespace, details, received, ended).map(|activation| Waited::Ended(Box::new(activation)))
}

/// What is written down of a call that goes on without its caller.
fn entry(id: InvocationId, function: FunctionKey, note: &Arc<Note>, received: Timestamp) -> Entry {
    Entry { id, function, note: Some(note.clone()), received, attempt: 0 }
}

/// How a call ended, and where its time went.
struct Ended {
    timing: Timing,
    answer: Result<(Option<Remarks>, Bytes), Box<InvokeError>>,
}

async fn make(invoker: &dyn Invoker, invocation: Invocation) -> Ended {
    let (id, since) = (invocation.id, Instant::now());
    let (mut timing, answer) = match invoker.invoke(invocation).await {
        Ok(answer) => {
            let (mut head, body) = answer.response.into_parts();
            let body = whole(id, body).await;
            (answer.timing, body.map(|body| (head.extensions.remove::<Remarks>(), body)))
        }
        Err(error) => (Timing::default(), Err(error)),
    };
    let elapsed = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    timing.run_us = elapsed.saturating_sub(timing.wait_us);
    Ended { timing, answer }
}

async fn whole(id: InvocationId, body: Body) -> Result<Bytes, Box<InvokeError>> {
    body.collect(LONGEST_ANSWER).await.map_err(|error| {
        let fault = match error {
            CollectError::TooLarge(_) => FunctionFault::BadResponse,
            CollectError::Broken(_) => FunctionFault::Crash,
        };
        Box::new(InvokeError::new(id, Outcome::FunctionError(fault), error.to_string()))
    })
}

fn activation(
    id: InvocationId,
    namespace: Tenant,
    mut details: Details,
    received: Timestamp,
    ended: Ended,
) -> Result<Activation, Rejection> {
    let ending = match ended.answer {
        Ok((remarks, body)) => {
            if let Some(remarks) = &remarks {
                details.add(&remarks.details);
            }
            Ending::answered(remarks.as_ref(), body)
        }
        Err(error) => match Rejection::of_call(&error) {
            Some(rejection) => return Err(rejection),
            None => Ending::failed(&error, details.timeout()),
        },
    };
    let logs = details.components.iter().map(ToString::to_string).collect();
    Ok(Activation { id, namespace, received, timing: ended.timing, cause: None, ending, logs, details })
}

/// Has a call made later, and answers when it is on disk.
///
/// # Errors
/// Where it was not accepted.
pub(crate) async fn submit(shared: &Arc<Shared>, ready: Ready) -> Result<InvocationId, Rejection> {
    let receipt = shared.deliveries.submit(submission(ready)).await;
    receipt.map(|receipt| receipt.id).map_err(|error| Rejection::of_submission(&error))
}

/// A call that is to be made later, and once.
pub(crate) fn submission(ready: Ready) -> Submission {
    let Ready { function, principal, request, note, .. } = ready;
    Submission {
        wishes: Wishes { guarantee: Some(Guarantee::AtMostOnce), ..Wishes::default() },
        note: Some(Arc::new(note)),
        ..Submission::new(function, principal, request)
    }
}
