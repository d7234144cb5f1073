//! Running a claim: message by message, or as a batch.

use crate::{
    attempt::{self, Attempt, Plan},
    batch,
    conclude::{self, Case},
    lease::{Lease, Stop},
    shared::Shared,
};
use std::sync::{
    LazyLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use xebec_core::{
    Error, FunctionKey,
    message::Target,
    outcome::PlatformFault,
    policy::Delivery,
    ports::queue::{Claim, ClaimId, Claimed},
    rules::retry::Death,
};

/// By which rules results go to URLs.
static OF_URLS: LazyLock<Delivery> = LazyLock::new(Delivery::default);

/// Runs a claim until each of its messages is settled, or the claim is lost.
pub(crate) async fn run(shared: &Shared, claim: Claim) {
    let mut lease = Lease::new(&*shared.queue, &shared.running, &claim, shared.options.lease);
    let function = match &claim.lane.target {
        Target::Host(_) => {
            return each(shared, &mut lease, &claim.messages, None, &OF_URLS).await;
        }
        Target::Function(key) => key.clone(),
        Target::Consumer => match shared.lanes.consumer(&claim.lane) {
            Some(key) => key,
            None => return put_off(shared, &mut lease, &claim.messages).await,
        },
    };
    let deployed = shared.control.peek(&function);
    let policy = deployed.as_ref().map_or(&*OF_URLS, |deployed| &deployed.policy.delivery);
    shared.lanes.ensure(&*shared.queue, &claim.lane, policy);
    if policy.batch.is_some() {
        let limit = batch::limit(shared, deployed.as_deref()).await;
        Box::pin(batch::run(shared, &mut lease, &claim.messages, &function, policy, limit)).await;
    } else {
        each(shared, &mut lease, &claim.messages, Some(&function), policy).await;
    }
}

/// Whoever took from the queue is gone: the lane closes in a moment.
async fn put_off(shared: &Shared, lease: &mut Lease<'_>, messages: &[Claimed]) {
    for Claimed { message, history } in messages {
        let claim = lease.claim;
        let off = conclude::put_off(shared, claim, message, *history, "no function takes from this queue");
        if lease.finish(off).await.is_err() {
            return;
        }
    }
}

async fn each(
    shared: &Shared,
    lease: &mut Lease<'_>,
    messages: &[Claimed],
    function: Option<&FunctionKey>,
    policy: &Delivery,
) {
    for (at, Claimed { message, history }) in messages.iter().enumerate() {
        let case = Case { message, history: *history, function, policy };
        if one(shared, lease, case).await.is_err() {
            messages[at..].iter().for_each(|lost| conclude::lost(shared, &lost.message));
            return;
        }
    }
}

/// Runs one message; an error says that the claim is lost.
async fn one(shared: &Shared, lease: &mut Lease<'_>, case: Case<'_>) -> Result<(), Stop> {
    let claim = lease.claim;
    if let Err(death) = case.may_begin(shared.clock.now()) {
        return lease.finish(conclude::unbegun(shared, claim, case, death)).await;
    }
    let begun = AtomicBool::new(false);
    let made = lease.hold(&[case.message.id], make(shared, case, &begun)).await;
    match made {
        Ok(Ok(attempt)) if attempt.has_failed() && lease.is_cancelled(&case.message.id) => {
            lease.finish(conclude::cancelled(shared, claim, case)).await
        }
        Ok(Ok(attempt)) => lease.finish(conclude::after(shared, claim, case, &attempt)).await,
        Ok(Err(error)) => lease.finish(without_body(shared, claim, case, &error)).await,
        Err(Stop::Cancelled) => lease.finish(conclude::cancelled(shared, claim, case)).await,
        Err(Stop::HandBack) => {
            lease.finish(conclude::hand_back(shared, claim, case, begun.load(Relaxed))).await
        }
        Err(Stop::Lost) => Err(Stop::Lost),
    }
}

/// Makes the call; an error says that its body cannot be had.
async fn make(shared: &Shared, case: Case<'_>, begun: &AtomicBool) -> Result<Attempt, Error> {
    let message = case.message;
    let body = shared.bodies.open(message.id, &message.call.body).await?;
    begun.store(true, Relaxed);
    let Some(function) = case.function else {
        return Ok(shared.hosts.post(shared, message, body.bytes.clone()).await);
    };
    let plan = Plan {
        id: message.id,
        function,
        revision: message.revision,
        call: &message.call,
        body: body.bytes.clone(),
        authorised: message.authorised,
        hops: message.hops,
        attempt: attempt::number(&case.history),
        keep: if case.has_destinations() { shared.options.answer_bytes } else { 0 },
        source: &message.source,
        note: message.note.as_ref(),
        links: Vec::new(),
    };
    Ok(attempt::call(shared, plan).await)
}

/// What is lost stays lost; what cannot be read for now is read later.
pub(crate) async fn without_body(shared: &Shared, claim: ClaimId, case: Case<'_>, error: &Error) {
    let gone = matches!(error.code, "XB4010" | "XB4012");
    let fault = if gone { PlatformFault::Internal } else { PlatformFault::Unavailable };
    let what = if gone { "is lost" } else { "cannot be read" };
    let attempt = Attempt::platform(fault, format!("the call's body {what}: {error}"));
    if gone {
        conclude::record(shared, case, &attempt).await;
        conclude::dead(shared, claim, case, &attempt, Death::Failed, case.history).await;
    } else {
        conclude::after(shared, claim, case, &attempt).await;
    }
}
