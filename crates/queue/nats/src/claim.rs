//! Claiming messages, keeping claims, and what becomes of those whose lease ran out.

use crate::{
    errors::Failure,
    index::Pick,
    shared::{Shared, TRIES},
    wire::{Key, Phase, Run, Standing, Write, unpack},
};
use futures_util::{StreamExt as _, stream};
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::Instant};
use xebec_core::{
    Error, InvocationId,
    ports::queue::{Ask, Claim, ClaimId, Claimed, Held},
};

/// Changes of one claim in flight.
const AT_ONCE: usize = 64;

/// How often the clock is looked at, since it may be set.
const LOOK: Duration = Duration::from_millis(100);

impl Shared {
    pub(crate) async fn claim(self: &Arc<Self>, ask: Ask) -> Result<Vec<Claim>, Error> {
        self.note_claim();
        let until = Instant::now() + ask.wait;
        loop {
            let woken = self.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let ready = self.link.log();
            if ready.is_ok() {
                self.end_lapsed_if_any().await;
                let picks = {
                    let now = self.now();
                    let mut index = self.index.lock();
                    index.tick(now);
                    index.pick(ask.most, ask.lease, now)
                };
                if !picks.is_empty() {
                    let claims = self.claim_picks(picks, ask.lease).await?;
                    if !claims.is_empty() {
                        return Ok(claims);
                    }
                    // Others were quicker: look again, but not for ever.
                    if Instant::now() < until {
                        continue;
                    }
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ready.map(|_| Vec::new());
            }
            let tick = self.index.lock().next_tick(self.now()).unwrap_or(LOOK);
            let nap = left.min(LOOK).min(tick.max(Duration::from_millis(1)));
            let _ = tokio::time::timeout(nap, woken).await;
        }
    }

    /// Writes the claims. It goes on when the caller goes away: then they are given back.
    async fn claim_picks(self: &Arc<Self>, picks: Vec<Pick>, lease: Duration) -> Result<Vec<Claim>, Error> {
        let (answer, result) = oneshot::channel();
        let shared = self.clone();
        tokio::spawn(async move {
            let made = shared.make_claims(&picks, lease).await;
            // Where nobody receives it any more, dropping it gives the claims back.
            let _ = answer.send(made.map(|claims| Unheld { shared, claims }));
        });
        match result.await {
            Ok(made) => made.map(Unheld::take),
            Err(_) => Err(Error::internal("XB4003", "the queue's runtime is ending")),
        }
    }

    async fn make_claims(&self, picks: &[Pick], lease: Duration) -> Result<Vec<Claim>, Error> {
        let mut members = Vec::new();
        for (at, pick) in picks.iter().enumerate() {
            members.extend(pick.members.iter().enumerate().map(|(place, id)| (at, place, pick.claim, *id)));
        }
        let work = members.into_iter().map(|(at, place, claim, id)| async move {
            (at, place, self.claim_one(claim, &id, lease).await)
        });
        let mut results: Vec<_> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        results.sort_by_key(|(at, place, _)| (*at, *place));
        let mut claims: Vec<_> = picks
            .iter()
            .map(|pick| Claim { id: pick.claim, lane: (*pick.lane).clone(), messages: Vec::new() })
            .collect();
        let mut failed = None;
        for (at, _, result) in results {
            match result {
                Ok(claimed) => claims[at].messages.extend(claimed),
                Err(error) => failed = Some(error),
            }
        }
        claims.retain(|claim| !claim.messages.is_empty());
        let now = self.now();
        self.index.lock().tick(now);
        match failed {
            Some(error) if claims.is_empty() => Err(error),
            _ => Ok(claims),
        }
    }

    /// `None`: another worker was quicker, or it was cancelled.
    async fn claim_one(
        &self,
        claim: ClaimId,
        id: &InvocationId,
        lease: Duration,
    ) -> Result<Option<Claimed>, Error> {
        let result = self.try_claim(claim, id, lease).await;
        let now = self.now();
        let mut index = self.index.lock();
        if !matches!(result, Ok(Some(_))) {
            index.not_claimed(claim, id);
        }
        index.done_with(id, now);
        result
    }

    async fn try_claim(
        &self,
        claim: ClaimId,
        id: &InvocationId,
        lease: Duration,
    ) -> Result<Option<Claimed>, Error> {
        let key = Key::Message(*id);
        let Some(payload) = self.payload(id).await? else { return Ok(None) };
        let message = unpack(&payload)?;
        let until = self.clock.now().saturating_add(lease).unwrap_or(jiff::Timestamp::MAX);
        let (writes, history, line) = {
            let index = self.index.lock();
            let holder = index.holder(claim);
            let Some(known) = index.entries.get(id) else { return Ok(None) };
            if known.standing.phase != Phase::Waiting {
                return Ok(None);
            }
            let run = Run { holder, term: 1, lease_ms: millis(lease), until, cancelled: false };
            let standing = known.becomes(Phase::Running(run));
            let lock = known.line.map(|line| Write::lock(line, index.lock_of(line), *id));
            let mut writes = vec![Write::change(*id, known.sequence, standing, payload)];
            writes.extend(lock);
            (writes, known.standing.history, known.line)
        };
        match self.commit(&writes).await {
            Ok(()) => Ok(Some(Claimed { message, history })),
            Err(Failure::Conflict) => {
                self.refresh(&key).await?;
                if let Some(line) = line {
                    self.refresh(&Key::Lock(line)).await?;
                }
                Ok(None)
            }
            Err(failure) => Err(failure.error()),
        }
    }

    pub(crate) async fn extend(&self, claim: ClaimId, lease: Duration) -> Result<Held, Error> {
        let began = self.clock.steady();
        let members: Vec<InvocationId> = match self.index.lock().holdings.get(&claim) {
            Some(held) if held.deadline > began => held.members.iter().copied().collect(),
            _ => return Ok(Held::No),
        };
        let work =
            members.into_iter().map(|id| async move { (id, self.extend_one(claim, &id, lease).await) });
        let results: Vec<_> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
        let mut cancelled = Vec::new();
        let mut any = false;
        for (id, result) in results {
            match result? {
                None => {}
                Some(asked) => {
                    any = true;
                    cancelled.extend(asked.then_some(id));
                }
            }
        }
        if !any {
            return Ok(Held::No);
        }
        self.index.lock().renew(claim, began + lease);
        Ok(Held::Yes(cancelled))
    }

    /// Whether it is to be cancelled; `None`: it is not held any more.
    async fn extend_one(
        &self,
        claim: ClaimId,
        id: &InvocationId,
        lease: Duration,
    ) -> Result<Option<bool>, Error> {
        for _ in 0..TRIES {
            let Some(payload) = self.payload(id).await? else { return Ok(None) };
            let until = self.clock.now().saturating_add(lease).unwrap_or(jiff::Timestamp::MAX);
            let now = self.now();
            let (write, cancelled) = {
                let index = self.index.lock();
                let known = index.entries.get(id).filter(|_| index.holds(claim, id, now));
                let Some((known, run)) = known.and_then(|known| Some((known, known.standing.run()?))) else {
                    return Ok(None);
                };
                let cancelled = run.cancelled;
                let run = Run { term: run.term + 1, lease_ms: millis(lease), until, ..run.clone() };
                let standing = known.becomes(Phase::Running(run));
                (Write::change(*id, known.sequence, standing, payload), cancelled)
            };
            match self.commit(&[write]).await {
                Ok(()) => return Ok(Some(cancelled)),
                Err(Failure::Conflict) => self.refresh(&Key::Message(*id)).await?,
                Err(failure) => return Err(failure.error()),
            };
        }
        Err(Failure::Conflict.error())
    }

    /// The same as [`Shared::end_lapsed`], but it goes on when the caller goes away.
    async fn end_lapsed_if_any(self: &Arc<Self>) {
        let now = self.now();
        if self.index.lock().any_lapsed(now) {
            let shared = self.clone();
            let _ = tokio::spawn(async move { shared.end_lapsed().await }).await;
        }
    }

    /// Makes messages wait again whose lease ran out, and those that were claimed for nobody.
    pub(crate) async fn end_lapsed(&self) {
        let found = {
            let now = self.now();
            self.index.lock().lapsed(now)
        };
        let work = found.into_iter().map(|(id, interrupted)| async move {
            if let Err(error) = self.lapse(&id, interrupted).await {
                tracing::debug!(%id, %error, "a lease that ran out could not be ended yet");
            }
            let now = self.now();
            self.index.lock().done_with(&id, now);
        });
        stream::iter(work).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn lapse(&self, id: &InvocationId, interrupted: bool) -> Result<(), Error> {
        let Some(payload) = self.payload(id).await? else { return Ok(()) };
        let writes = {
            let index = self.index.lock();
            let Some(known) = index.entries.get(id) else { return Ok(()) };
            let Some(run) = known.standing.run() else { return Ok(()) };
            let mut writes = if run.cancelled {
                vec![Write::gone(*id, known.sequence, &known.standing)]
            } else {
                let mut standing: Standing = known.becomes(Phase::Waiting);
                standing.history.interruptions += u32::from(interrupted);
                vec![Write::change(*id, known.sequence, standing, payload)]
            };
            writes.extend(known.line.map(Write::unlock));
            writes
        };
        match self.commit(&writes).await {
            Ok(()) => Ok(()),
            Err(Failure::Conflict) => self.refresh(&Key::Message(*id)).await.map(|_| ()),
            Err(failure) => Err(failure.error()),
        }
    }
}

/// Claims on their way to whoever asked for them; dropped before they arrive, they are given back.
struct Unheld {
    shared: Arc<Shared>,
    claims: Vec<Claim>,
}

impl Unheld {
    fn take(mut self) -> Vec<Claim> {
        std::mem::take(&mut self.claims)
    }
}

impl Drop for Unheld {
    fn drop(&mut self) {
        if self.claims.is_empty() {
            return;
        }
        let mut index = self.shared.index.lock();
        for claim in &self.claims {
            index.forsake(claim.id);
        }
    }
}

fn millis(of: Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap_or(u64::MAX)
}
