//! Several messages in one call. What fails is halved until it is known which of them fail.

use crate::{
    attempt::{self, Attempt, Plan},
    batch_wire,
    conclude::{self, Case},
    lease::{Lease, Stop},
    run::without_body,
    shared::Shared,
    trace,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use std::{borrow::Cow, collections::BTreeSet, future::Future};
use xebec_core::{
    Digest, FunctionKey, InvocationId, Outcome,
    function::Function,
    limits::Limits,
    message::{Call, Guarantee, Payload, Source},
    outcome::{FunctionFault, PlatformFault},
    policy::Delivery,
    ports::queue::{ClaimId, Claimed},
    record::InvocationRecord,
    rules::retry::Ending,
};

/// Of an answer to a batch so much is read: a report on ten thousand messages fits.
const REPORT_BYTES: u64 = 1024 * 1024;

/// Messages that are settled at a time: the queue writes them together.
const SETTLED_AT_A_TIME: usize = 64;

/// One message of a batch, as it is sent.
struct Item<'a> {
    case: Case<'a>,
    json: Vec<u8>,
}

/// The most bytes that one call of the function may have.
pub(crate) async fn limit(shared: &Shared, function: Option<&Function>) -> usize {
    let limit = match function {
        Some(function) => shared.request_limit(function, None).await,
        None => Limits::default().request_bytes,
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Runs a claim's messages in as few calls as the function's limit on requests allows.
pub(crate) async fn run(
    shared: &Shared,
    lease: &mut Lease<'_>,
    messages: &[Claimed],
    function: &FunctionKey,
    policy: &Delivery,
    limit: usize,
) {
    let cases = messages.iter().map(|Claimed { message, history }| Case {
        message,
        history: *history,
        function: Some(function),
        policy,
    });
    let mut batches = Batches { shared, lease, function, limit };
    let mut left: Vec<Case<'_>> = cases.collect();
    // One call has one revision, one right to be made, and one way to fail.
    while let Some(first) = left.first() {
        let kind = |case: &Case<'_>| (case.message.authorised, case.message.revision, case.guarantee());
        let wanted = kind(first);
        let (alike, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|case| kind(case) == wanted);
        left = others;
        match batches.alike(&alike).await {
            Ok(()) => {}
            Err(Stop::HandBack | Stop::Cancelled) => {
                batches.hand_back(&left, false).await;
                return;
            }
            Err(Stop::Lost) => return,
        }
    }
}

struct Batches<'a, 'l> {
    shared: &'a Shared,
    lease: &'a mut Lease<'l>,
    function: &'a FunctionKey,
    limit: usize,
}

impl Batches<'_, '_> {
    /// Sends messages that may share a call. An error says that the claim is lost, or that all that was left
    /// was handed back.
    async fn alike(&mut self, cases: &[Case<'_>]) -> Result<(), Stop> {
        let claim = self.lease.claim;
        let mut items: Vec<Item<'_>> = Vec::new();
        let mut bytes = 0;
        for (at, case) in cases.iter().enumerate() {
            if let Err(death) = case.may_begin(self.shared.clock.now()) {
                self.lease.finish(conclude::unbegun(self.shared, claim, *case, death)).await?;
                continue;
            }
            let message = case.message;
            let opened = self.shared.bodies.open(message.id, &message.call.body);
            let body = match self.lease.hold(&[message.id], opened).await {
                Ok(Ok(body)) => body,
                Ok(Err(error)) => {
                    self.lease.finish(without_body(self.shared, claim, *case, &error)).await?;
                    continue;
                }
                Err(Stop::Cancelled) => {
                    self.lease.finish(conclude::cancelled(self.shared, claim, *case)).await?;
                    continue;
                }
                Err(Stop::HandBack) => {
                    let unsent: Vec<_> = items.iter().map(|item| item.case).collect();
                    self.hand_back(&unsent, false).await;
                    self.hand_back(&cases[at..], false).await;
                    return Err(Stop::HandBack);
                }
                Err(Stop::Lost) => return Err(Stop::Lost),
            };
            let json = batch_wire::item(message, attempt::number(&case.history), &body.bytes);
            if !items.is_empty() && batch_wire::size(items.len() + 1, bytes + json.len()) > self.limit {
                let full = std::mem::take(&mut items);
                bytes = 0;
                if let Err(stop) = self.halve(full).await {
                    self.hand_back_unless_lost(stop, &cases[at..]).await;
                    return Err(stop);
                }
            }
            bytes += json.len();
            items.push(Item { case: *case, json });
        }
        self.halve(items).await
    }

    async fn hand_back_unless_lost(&mut self, stop: Stop, cases: &[Case<'_>]) {
        if stop != Stop::Lost {
            self.hand_back(cases, false).await;
        }
    }

    /// Sends a batch; where it fails, its halves.
    async fn halve(&mut self, items: Vec<Item<'_>>) -> Result<(), Stop> {
        let mut waiting = vec![items];
        while let Some(items) = waiting.pop() {
            let group = self.without_cancelled(items).await?;
            if group.is_empty() {
                continue;
            }
            let ids: Vec<InvocationId> = group.iter().map(|item| item.case.message.id).collect();
            match self.lease.hold(&ids, call(self.shared, self.function, &group)).await {
                Ok(attempt) if group.len() > 1 && is_worth_halving(&group, &attempt) => {
                    self.shared.metrics.halved();
                    let mut first = group;
                    let second = first.split_off(first.len() / 2);
                    waiting.push(second);
                    waiting.push(first);
                }
                Ok(attempt) => self.settle(&group, &attempt).await?,
                // All of them: the next group goes on.
                Err(Stop::Cancelled) => drop(self.without_cancelled(group).await?),
                Err(Stop::HandBack) => {
                    let begun: Vec<Case<'_>> = group.iter().map(|item| item.case).collect();
                    self.hand_back(&begun, true).await;
                    for items in waiting {
                        // What is here was part of a larger group that failed, or is yet to begin.
                        let cases: Vec<Case<'_>> = items.iter().map(|item| item.case).collect();
                        self.hand_back(&cases, false).await;
                    }
                    return Err(Stop::HandBack);
                }
                Err(Stop::Lost) => return Err(Stop::Lost),
            }
        }
        Ok(())
    }

    /// Settles those that were cancelled, returns the others.
    async fn without_cancelled<'c>(&mut self, items: Vec<Item<'c>>) -> Result<Vec<Item<'c>>, Stop> {
        let claim = self.lease.claim;
        let (cancelled, left): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| self.lease.is_cancelled(&item.case.message.id));
        for item in cancelled {
            self.lease.finish(conclude::cancelled(self.shared, claim, item.case)).await?;
        }
        Ok(left)
    }

    /// Settles all messages of a call that need no halving.
    async fn settle(&mut self, group: &[Item<'_>], attempt: &Attempt) -> Result<(), Stop> {
        let sent: BTreeSet<InvocationId> = group.iter().map(|item| item.case.message.id).collect();
        let failed = reported(attempt, &sent).unwrap_or_default();
        let (shared, claim) = (self.shared, self.lease.claim);
        // What the engine recorded goes first: our own records of the same messages take its place.
        self.lease.finish(shared.flush_records()).await?;
        let mut ends = Vec::with_capacity(group.len());
        for item in group {
            let case = item.case;
            let as_failed = failed.contains(&case.message.id);
            let is_cancelled = self.lease.is_cancelled(&case.message.id);
            ends.push(match (as_failed || attempt.has_failed(), is_cancelled) {
                (true, true) => (case, None),
                _ if as_failed => (case, Some(Cow::Owned(as_reported(case, attempt)))),
                _ => (case, Some(Cow::Borrowed(attempt))),
            });
        }
        let records = self.records(&ends, group.len() == 1);
        self.lease.finish(shared.record(records)).await?;
        let mut each = Vec::with_capacity(ends.len());
        for (case, end) in &ends {
            each.push(one_of(shared, claim, *case, end.as_deref()));
        }
        self.lease.finish(together(each)).await
    }

    /// What was recorded of a call is one record under an id of its own: each message has its own beside. A
    /// message that was alone has it already, unless it ended otherwise than its call.
    fn records(&self, ends: &[(Case<'_>, Option<Cow<'_, Attempt>>)], alone: bool) -> Vec<InvocationRecord> {
        let wanted = |attempt: &&Cow<'_, Attempt>| !(alone && attempt.recorded);
        let record = |(case, end): &(Case<'_>, Option<Cow<'_, Attempt>>)| {
            let attempt = end.as_ref().filter(wanted)?;
            Some(conclude::as_record(self.shared, *case, self.function, attempt))
        };
        ends.iter().filter_map(record).collect()
    }

    async fn hand_back(&mut self, cases: &[Case<'_>], begun: bool) {
        let (shared, claim) = (self.shared, self.lease.claim);
        let mut all = Vec::with_capacity(cases.len());
        for case in cases {
            all.push(conclude::hand_back(shared, claim, *case, begun));
        }
        // Where the claim is lost, there is nothing to hand back.
        let _ = self.lease.finish(together(all)).await;
    }
}

/// Some at a time, until all are through.
async fn together<F: Future<Output = ()>>(all: Vec<F>) {
    stream::iter(all).buffer_unordered(SETTLED_AT_A_TIME).for_each(|()| std::future::ready(())).await;
}

/// What becomes of one message of a call, which has its record by now; `None`: it was cancelled.
async fn one_of(shared: &Shared, claim: ClaimId, case: Case<'_>, end: Option<&Attempt>) {
    match end {
        Some(attempt) => conclude::recorded(shared, claim, case, attempt).await,
        None => conclude::cancelled(shared, claim, case).await,
    }
}

/// Calls the function with a group.
async fn call(shared: &Shared, function: &FunctionKey, group: &[Item<'_>]) -> Attempt {
    let body = Bytes::from(batch_wire::batch(group.iter().map(|item| &*item.json)));
    let content_type = HeaderValue::from_static(batch_wire::CONTENT_TYPE);
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
    let links = match group {
        [alone] => {
            trace::copy_context(&alone.case.message.call.headers, &mut headers);
            Vec::new()
        }
        several => trace::links(several.iter().map(|item| item.case.message)),
    };
    let call =
        Call { method: "POST".into(), uri: "/".to_owned(), headers, body: Payload::Inline(Bytes::new()) };
    let cases = || group.iter().map(|item| item.case);
    let revision: Option<Digest> = cases().next().and_then(|case| case.message.revision);
    // A message that runs alone is the call; several are one call with an id of its own, of which nobody noted
    // anything.
    let (id, note) = match group {
        [alone] => (alone.case.message.id, alone.case.message.note.as_ref()),
        _ => (InvocationId::new(), None),
    };
    let plan = Plan {
        id,
        function,
        revision,
        call: &call,
        body,
        authorised: cases().all(|case| case.message.authorised),
        hops: cases().map(|case| case.message.hops).max().unwrap_or_default(),
        attempt: cases().map(|case| attempt::number(&case.history)).max().unwrap_or(1),
        keep: REPORT_BYTES,
        source: cases().next().map_or(&Source::Call, |case| &case.message.source),
        note,
        links,
    };
    let attempt = attempt::call(shared, plan).await;
    let sent: BTreeSet<InvocationId> = cases().map(|case| case.message.id).collect();
    match reported(&attempt, &sent) {
        Ok(_) => attempt,
        Err(why) => Attempt {
            ending: Ending {
                outcome: Outcome::FunctionError(FunctionFault::BadResponse),
                status: None,
                retry_after: None,
            },
            why,
            recorded: false,
            ..attempt
        },
    }
}

/// Which messages an answer reports as failed.
fn reported(attempt: &Attempt, sent: &BTreeSet<InvocationId>) -> Result<BTreeSet<InvocationId>, String> {
    match &attempt.answer {
        Some(answer) if (200..300).contains(&answer.status) && !answer.truncated => {
            batch_wire::failed(&answer.body, sent)
        }
        Some(answer) if answer.truncated && attempt.ending.outcome.is_success() => {
            Err(format!("the function's answer to its batch is larger than {REPORT_BYTES} bytes"))
        }
        _ => Ok(BTreeSet::new()),
    }
}

/// Whether halving may show which messages fail. Not where the platform refused the call; and not where a
/// message may run at most once: its half would run again.
fn is_worth_halving(group: &[Item<'_>], attempt: &Attempt) -> bool {
    let failed = match attempt.ending.outcome {
        Outcome::Success => match attempt.ending.status {
            Some(status) => group.iter().any(|item| item.case.retry().codes.contains(&status)),
            None => false,
        },
        // The halves of what is too large may not be.
        Outcome::PlatformError(fault) => fault == PlatformFault::TooLarge,
        Outcome::ApplicationError | Outcome::FunctionError(_) => true,
    };
    failed && group.iter().all(|item| item.case.guarantee() == Guarantee::AtLeastOnce)
}

/// How a message ended that the function reported as failed: in a way that is tried again, where any is.
fn as_reported(case: Case<'_>, attempt: &Attempt) -> Attempt {
    let status = case.retry().codes.first().copied().unwrap_or(500);
    Attempt {
        ending: Ending { outcome: Outcome::ApplicationError, status: Some(status), retry_after: None },
        why: "the function reported it as failed".to_owned(),
        recorded: false,
        ..attempt.clone()
    }
}
