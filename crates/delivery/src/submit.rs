//! Accepting a call.

use crate::{headers, shared::Shared, trace, wishes};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};
use xebec_core::{
    Digest, Error, ErrorKind, FunctionKey,
    function::Function,
    limits::Limits,
    message::{Call, Destinations, Lane, Message, Receipt, Recipient, Submission, Wishes, normal_priority},
    policy::Visibility,
    rules::hops,
};

/// Revisions whose limits are remembered.
const REMEMBERED: usize = 10_000;

/// The largest request of revisions, which never change.
#[derive(Default)]
pub(crate) struct RequestLimits(Mutex<HashMap<Digest, u64>>);

impl Shared {
    /// The largest body that the function takes, whichever of its revisions gets the call.
    pub(crate) async fn request_limit(&self, function: &Function, revision: Option<Digest>) -> u64 {
        if let Some(revision) = revision {
            return self.limit_of(&revision).await;
        }
        let mut least = u64::MAX;
        for share in function.traffic.shares() {
            least = least.min(self.limit_of(&share.revision).await);
        }
        if least == u64::MAX { Limits::default().request_bytes } else { least }
    }

    async fn limit_of(&self, revision: &Digest) -> u64 {
        if let Some(known) = self.limits.0.lock().get(revision) {
            return *known;
        }
        let limit = match self.control.revision(revision).await {
            Ok(Some(spec)) => spec.limits.request_bytes,
            // The engine says what is wrong when the call is made.
            Ok(None) => return Limits::default().request_bytes,
            Err(error) => {
                tracing::debug!(%error, %revision, "cannot see how large a request may be");
                return Limits::default().request_bytes;
            }
        };
        let mut limits = self.limits.0.lock();
        if limits.len() >= REMEMBERED {
            limits.clear();
        }
        limits.insert(*revision, limit);
        limit
    }
}

/// Accepts a call; answers once it is on disk.
pub(crate) async fn submit(shared: &Shared, submission: Submission) -> Result<Receipt, Error> {
    let function =
        shared.control.peek(&submission.function).ok_or_else(|| no_function(&submission.function))?;
    let authorised = submission.principal.may_invoke(&function.key.tenant);
    if function.policy.visibility == Visibility::Authenticated && !authorised {
        return Err(forbidden("the function asks for a credential that may call it"));
    }
    if let Some(wanted) = submission.revision
        && function.revision(&wanted).is_none()
    {
        let message = format!("{} is not a revision of {:?}", wanted.short(), function.key.name);
        return Err(Error::invalid("XB2007", message));
    }
    let (head, body) = submission.request.into_parts();
    let hops = hops::hops(&head.headers);
    if hops >= hops::MAX_HOPS {
        let message = format!("{} calls led to this one: the chain is too long", hops::MAX_HOPS);
        return Err(Error::new(ErrorKind::Refused, "XB2013", message).with_hint(
            "look for functions that call each other, or results that go back to where they came from",
        ));
    }
    wishes::check(&submission.wishes, &function.key, shared.options.forbid_private_destinations)?;
    check_functions(shared, &submission.wishes.destinations, authorised)?;
    let limit = shared.request_limit(&function, submission.revision).await;
    let kept = shared.bodies.keep(submission.id, body, limit);
    let body = tokio::time::timeout(shared.options.upload, kept).await.map_err(|_| too_slow(shared))??;

    let policy = &function.policy.delivery;
    let Wishes { delay, expiry, queue, priority, key, idempotency, retry, guarantee, destinations } =
        submission.wishes;
    let lane = Lane::function(queue.as_ref().unwrap_or(&policy.queue), &function.key);
    shared.lanes.ensure(&*shared.queue, &lane, policy);
    let accepted = shared.clock.now();
    let due = later(accepted, delay.unwrap_or_default());
    let expiry = expiry.or_else(|| policy.expiry_ms.map(Duration::from_millis));
    let mut headers = head.headers;
    headers::drop_hop_by_hop(&mut headers);
    headers.remove(hops::HOPS_HEADER);
    let span = trace::accepting(&shared.options.traces, &mut headers, &function.key, &submission.source);
    let uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let message = Message {
        id: submission.id,
        lane,
        revision: submission.revision,
        call: Call { method: head.method.as_str().into(), uri, headers, body },
        authorised,
        accepted,
        due,
        expires: expiry.map(|expiry| later(due, expiry)),
        priority: priority.unwrap_or_else(normal_priority),
        key,
        idempotency,
        retry,
        guarantee,
        dead_letters: (!policy.dead_letters).then_some(false),
        destinations,
        hops,
        source: submission.source,
        note: submission.note,
    };
    let queue = message.lane.queue.clone();
    let receipt = enqueue(shared, message).await;
    trace::accepted(span, &head.extensions, &function.key, &queue, &receipt);
    let receipt = receipt?;
    if !receipt.duplicate {
        shared.metrics.accepted();
    }
    Ok(receipt)
}

async fn enqueue(shared: &Shared, message: Message) -> Result<Receipt, Error> {
    let (id, body) = (message.id, message.call.body.clone());
    let answer = shared.queue.enqueue(vec![message]).await;
    match answer.map(|receipts| receipts.into_iter().next()) {
        Ok(Some(receipt)) => {
            // What was accepted before under this very id has this very body.
            if receipt.duplicate && receipt.id != id {
                shared.bodies.forget(&body).await;
            }
            Ok(receipt)
        }
        Ok(None) => Err(Error::internal("XB4003", "the queue did not say what it did with a message")),
        Err(error) => {
            // A queue that is away may have taken it all the same; then the sweep sees to it.
            if matches!(shared.queue.get(&id).await, Ok(None)) {
                shared.bodies.forget(&body).await;
            }
            Err(error)
        }
    }
}

/// Functions that shall get the result must be there, and the sender must be allowed to call them.
fn check_functions(shared: &Shared, destinations: &Destinations, authorised: bool) -> Result<(), Error> {
    for destination in destinations.on_success.iter().chain(&destinations.on_failure) {
        let Recipient::Function(key) = &destination.to else { continue };
        let Some(function) = shared.control.peek(key) else {
            return Err(Error::invalid("XB1011", format!("destination: there is no function {key}")));
        };
        if function.policy.visibility == Visibility::Authenticated && !authorised {
            return Err(forbidden("a destination asks for a credential that may call it"));
        }
    }
    Ok(())
}

fn no_function(key: &FunctionKey) -> Error {
    let tenant = key.tenant.as_str();
    Error::not_found("XB2002", format!("there is no function {:?} in the tenant {tenant:?}", key.name))
}

fn forbidden(why: &str) -> Error {
    Error::new(ErrorKind::Forbidden, "XB5003", why)
}

fn too_slow(shared: &Shared) -> Error {
    Error::invalid("XB4013", format!("the body did not arrive within {:?}", shared.options.upload))
}

/// A moment later than another; the end of time, where it is that late.
pub(crate) fn later(from: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| from.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}
