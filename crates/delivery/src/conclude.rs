//! What becomes of a message after an attempt, or without one.

use crate::{
    attempt::{self, Attempt},
    persist::{may_pass, persist},
    results::{self, ResultOf},
    shared::{Shared, shortened},
    submit::later,
};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use xebec_core::{
    FunctionKey, Outcome,
    invocation::Timing,
    message::{Guarantee, Message, Source, Target},
    outcome::PlatformFault,
    policy,
    ports::queue::{ClaimId, Entry, EntryState, Settled, Settlement, Verdict},
    record::InvocationRecord,
    rules::retry::{self, Death, History, Next, Retry},
};

/// A claimed message and by which rules it runs.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) message: &'a Message,
    /// What it had been through when it was claimed.
    pub(crate) history: History,
    /// Whom it calls; `None`: a URL.
    pub(crate) function: Option<&'a FunctionKey>,
    pub(crate) policy: &'a policy::Delivery,
}

impl<'a> Case<'a> {
    pub(crate) fn retry(&self) -> &'a Retry {
        self.message.retry.as_ref().unwrap_or(&self.policy.retry)
    }

    pub(crate) fn guarantee(&self) -> Guarantee {
        self.message.guarantee.unwrap_or(self.policy.guarantee)
    }

    /// Whether it is kept where it finally failed.
    pub(crate) fn keeps_dead_letter(&self) -> bool {
        self.message.dead_letters.unwrap_or(self.policy.dead_letters)
    }

    /// Whether its result goes anywhere.
    pub(crate) fn has_destinations(&self) -> bool {
        !self.message.destinations.is_empty() || !self.policy.destinations.is_empty()
    }

    /// Whether it may begin at all.
    pub(crate) fn may_begin(&self, now: Timestamp) -> Result<(), Death> {
        retry::may_begin(self.guarantee(), self.retry(), self.history, self.message.expires, now)
    }
}

/// What becomes of it after an attempt.
pub(crate) async fn after(shared: &Shared, claim: ClaimId, case: Case<'_>, attempt: &Attempt) {
    if attempt.recorded {
        // The engine has; what it has not written yet must not be lost once the message is gone.
        shared.flush_records().await;
    } else {
        record(shared, case, attempt).await;
    }
    recorded(shared, claim, case, attempt).await;
}

/// The same where its record is safe.
pub(crate) async fn recorded(shared: &Shared, claim: ClaimId, case: Case<'_>, attempt: &Attempt) {
    let now = shared.clock.now();
    shared.metrics.attempt(&attempt.ending.outcome);
    let age = Duration::try_from(now.duration_since(case.message.due)).unwrap_or_default();
    let chance = rand::random();
    match retry::decide(case.guarantee(), case.retry(), case.history, &attempt.ending, age, chance) {
        Next::Done => over(shared, claim, case, attempt).await,
        Next::Again { after, counts } => {
            let mut history = case.history;
            let spent = if counts { &mut history.failures } else { &mut history.refusals };
            *spent = spent.saturating_add(1);
            let verdict = Verdict::Again { due: later(now, after), history, why: shortened(&attempt.why) };
            settle(shared, claim, case.message, verdict, Vec::new()).await;
        }
        Next::Dead(death) => dead(shared, claim, case, attempt, death, spent(case.history, attempt)).await,
    }
}

/// What becomes of it where it may not begin.
pub(crate) async fn unbegun(shared: &Shared, claim: ClaimId, case: Case<'_>, death: Death) {
    let is_told = death == Death::Interrupted && has_its_record(shared, case).await;
    never_again(shared, claim, case, death, is_told).await;
}

/// Whether what ran when the server ended has its record: it was through, or who keeps a journal of it has told
/// more of it than is known here.
async fn has_its_record(shared: &Shared, case: Case<'_>) -> bool {
    let turned_away = |outcome| {
        // It was, and waited on.
        use PlatformFault::{Overloaded, Unavailable};
        matches!(outcome, Outcome::PlatformError(Overloaded | Unavailable))
    };
    match shared.control.record(&case.message.id).await {
        Ok(record) => record.is_some_and(|record| !turned_away(record.outcome)),
        Err(error) => {
            tracing::warn!(%error, id = %case.message.id, "whether a call has its record is not known");
            false
        }
    }
}

/// It does not run any more; `is_told`: there is a record that says so.
async fn never_again(shared: &Shared, claim: ClaimId, case: Case<'_>, death: Death, is_told: bool) {
    let (fault, why) = match death {
        Death::Expired => (PlatformFault::Overloaded, "it expired before its turn came"),
        Death::Interrupted => (
            PlatformFault::Internal,
            "the server ended while it ran, and it may run at most once: it may have run or not",
        ),
        Death::Poison => (PlatformFault::Internal, "the server ended each time while it ran"),
        Death::Loop => (PlatformFault::Loop, "too many calls led to this one"),
        Death::Exhausted | Death::Failed => (PlatformFault::Internal, "it may not run again"),
    };
    let attempt = Attempt::platform(fault, why);
    if !is_told {
        record(shared, case, &attempt).await;
    }
    dead(shared, claim, case, &attempt, death, case.history).await;
}

/// What it has been through after its last attempt.
fn spent(mut history: History, attempt: &Attempt) -> History {
    let spent = match attempt.ending.outcome {
        Outcome::PlatformError(fault) if fault != PlatformFault::Internal => &mut history.refusals,
        _ => &mut history.failures,
    };
    *spent = spent.saturating_add(1);
    history
}

/// It was cancelled while it ran. Its result goes nowhere: whoever cancelled it knows.
pub(crate) async fn cancelled(shared: &Shared, claim: ClaimId, case: Case<'_>) {
    let attempt = Attempt::platform(PlatformFault::Cancelled, "it was cancelled while it ran");
    shared.metrics.attempt(&attempt.ending.outcome);
    // Behind what the engine recorded of the call that was dropped.
    shared.flush_records().await;
    record(shared, case, &attempt).await;
    if settle(shared, claim, case.message, Verdict::Over, Vec::new()).await {
        shared.bodies.forget(&case.message.call.body).await;
    }
}

/// The server stops: someone else shall run it, as if it had not been claimed. What may run at most once and
/// had begun cannot be handed back.
pub(crate) async fn hand_back(shared: &Shared, claim: ClaimId, case: Case<'_>, begun: bool) {
    if begun && case.guarantee() == Guarantee::AtMostOnce {
        // Behind what the engine recorded of the call that was dropped.
        shared.flush_records().await;
        return never_again(shared, claim, case, Death::Interrupted, false).await;
    }
    let due = case.message.due.min(shared.clock.now());
    let why = "the server stopped before it was through".to_owned();
    let verdict = Verdict::Again { due, history: case.history, why };
    settle(shared, claim, case.message, verdict, Vec::new()).await;
}

/// Nobody takes it right now, and that is nobody's fault.
pub(crate) async fn put_off(shared: &Shared, claim: ClaimId, message: &Message, history: History, why: &str) {
    let due = later(shared.clock.now(), Duration::from_secs(1));
    settle(shared, claim, message, Verdict::Again { due, history, why: why.to_owned() }, Vec::new()).await;
}

async fn over(shared: &Shared, claim: ClaimId, case: Case<'_>, attempt: &Attempt) {
    let Some(then) = results(shared, case, attempt, None).await else { return lost(shared, case.message) };
    if settle(shared, claim, case.message, Verdict::Over, then).await {
        if matches!(case.message.source, Source::Result(_)) {
            shared.metrics.result(true);
        }
        shared.bodies.forget(&case.message.call.body).await;
    }
}

/// It never runs again by itself.
pub(crate) async fn dead(
    shared: &Shared,
    claim: ClaimId,
    case: Case<'_>,
    attempt: &Attempt,
    death: Death,
    history: History,
) {
    let Some(then) = results(shared, case, attempt, Some(death)).await else {
        return lost(shared, case.message);
    };
    let kept = case.keeps_dead_letter();
    let verdict = match kept {
        true => Verdict::Dead { death, history, why: shortened(&attempt.why) },
        false => Verdict::Over,
    };
    if settle(shared, claim, case.message, verdict, then).await {
        if kept {
            shared.metrics.dead(death);
        } else {
            shared.bodies.forget(&case.message.call.body).await;
        }
        if matches!(case.message.source, Source::Result(_)) {
            shared.metrics.result(false);
        }
        let id = case.message.id;
        tracing::debug!(%id, lane = %case.message.lane, %death, kept, why = attempt.why, "it finally failed");
    }
}

/// The messages that bring its result to where it goes; `None` where storage would not take them: the claim is
/// let go then, and the message runs again, rather than that its result is lost.
async fn results(
    shared: &Shared,
    case: Case<'_>,
    attempt: &Attempt,
    death: Option<Death>,
) -> Option<Vec<Message>> {
    let Some(function) = case.function.filter(|_| case.has_destinations()) else { return Some(Vec::new()) };
    let result = ResultOf { case, function, attempt, death };
    match persist("keep the result of a call", || results::messages(shared, &result)).await {
        Ok(messages) => Some(messages),
        Err(error) if may_pass(&error) => {
            tracing::warn!(%error, id = %case.message.id, "the result of a call could not be kept");
            None
        }
        Err(error) => {
            tracing::error!(%error, id = %case.message.id, "the result of a call is lost");
            shared.metrics.result(false);
            Some(Vec::new())
        }
    }
}

/// Settles until the queue has taken it; whether the message was still ours.
async fn settle(
    shared: &Shared,
    claim: ClaimId,
    message: &Message,
    verdict: Verdict,
    then: Vec<Message>,
) -> bool {
    for result in &then {
        shared.lanes.prepare(shared, &result.lane);
    }
    let settlement = Settlement { id: message.id, verdict, then };
    let mut tries = 0;
    let settled = persist("settle a message", || {
        tries += 1;
        shared.queue.settle(claim, settlement.clone())
    });
    let settled = settled.await;
    // A queue that gave an error may have settled it all the same.
    let is_ours = match settled {
        Ok(Settled::Yes) => true,
        Ok(Settled::Late) => tries > 1 && has_taken(shared, &settlement).await,
        Err(error) => {
            tracing::warn!(%error, id = %message.id, "a message could not be settled");
            has_taken(shared, &settlement).await
        }
    };
    if !is_ours {
        // Whose message it is now says what comes of it. Bodies that nobody names are found by the sweep, where
        // it is not certain that nobody does.
        if tries == 1 {
            for result in &settlement.then {
                shared.bodies.forget(&result.call.body).await;
            }
        }
        lost(shared, message);
    }
    is_ours
}

/// Whether the queue shows what a settlement would have made.
async fn has_taken(shared: &Shared, settlement: &Settlement) -> bool {
    match (shared.queue.get(&settlement.id).await, &settlement.verdict) {
        (Ok(None), Verdict::Over) => true,
        (Ok(Some(entry)), Verdict::Again { history, .. }) => {
            entry.history == *history && matches!(entry.state, EntryState::Waiting { .. })
        }
        (Ok(Some(entry)), Verdict::Dead { history, .. }) => {
            entry.history == *history && matches!(entry.state, EntryState::Dead { .. })
        }
        _ => false,
    }
}

/// Someone else may have the message.
pub(crate) fn lost(shared: &Shared, message: &Message) {
    shared.metrics.lost();
    tracing::debug!(id = %message.id, lane = %message.lane, "the claim of a message was lost");
}

/// Records an attempt that nobody else recorded.
pub(crate) async fn record(shared: &Shared, case: Case<'_>, attempt: &Attempt) {
    let Some(function) = case.function else { return };
    shared.record(vec![as_record(shared, case, function, attempt)]).await;
}

/// What is kept of an attempt.
pub(crate) fn as_record(
    shared: &Shared,
    case: Case<'_>,
    function: &FunctionKey,
    attempt: &Attempt,
) -> InvocationRecord {
    let now = shared.clock.now();
    let run_us = u64::try_from(attempt.took.as_micros()).unwrap_or(u64::MAX);
    let took = SignedDuration::try_from(attempt.took).unwrap_or_default();
    InvocationRecord {
        id: case.message.id,
        function: function.clone(),
        revision: case.message.revision,
        instance: None,
        received: now.checked_sub(took).unwrap_or(now),
        timing: Timing { run_us, ..Timing::default() },
        outcome: attempt.ending.outcome,
        status: attempt.ending.status,
        message: (!attempt.ending.outcome.is_success()).then(|| attempt.why.clone()),
        request_bytes: case.message.call.body.len(),
        response_bytes: attempt.answer.as_ref().map_or(0, |answer| answer.body.len() as u64),
        attempt: attempt::number(&case.history),
        noted: case.message.note.as_deref().map(|note| Box::new(note.clone().into())),
    }
}

/// It was cancelled while it waited: it never ran, or will not again.
pub(crate) async fn cancelled_waiting(shared: &Shared, entry: &Entry) {
    let message = &entry.message;
    let function = match &message.lane.target {
        Target::Function(key) => Some(key.clone()),
        Target::Consumer => shared.lanes.consumer(&message.lane),
        Target::Host(_) => None,
    };
    let policy = policy::Delivery::default();
    let case = Case { message, history: entry.history, function: function.as_ref(), policy: &policy };
    let attempt = Attempt::platform(PlatformFault::Cancelled, "it was cancelled while it waited");
    record(shared, case, &attempt).await;
}
