//! Ending a message's part of a claim.

use crate::{
    enqueue::Draft,
    errors::Failure,
    shared::{Shared, TRIES},
    wire::{Key, Phase, Standing, Write},
};
use bytes::Bytes;
use xebec_core::{
    Error, InvocationId,
    ports::queue::{ClaimId, Settled, Settlement, Verdict},
};

/// Codes of a server that has no room.
const FULL: [&str; 2] = ["XB4002", "XB4020"];

/// Settlements without an answer that are remembered, in case they are made once more.
const MOST_DOUBTFUL: usize = 10_000;

/// The longest reason that is kept, in bytes.
const LONGEST_WHY: usize = 1000;

impl Shared {
    pub(crate) async fn settle(&self, claim: ClaimId, settlement: &Settlement) -> Result<Settled, Error> {
        let id = &settlement.id;
        if let Some(settled) = self.settled_before(claim, id).await? {
            return Ok(settled);
        }
        let mut draft = Draft::of(&settlement.then);
        let signature = self.link.log()?.sign();
        for _ in 0..TRIES {
            let payload = match settlement.verdict {
                Verdict::Over => Bytes::new(),
                _ => match self.payload(id).await? {
                    Some(payload) => payload,
                    None => return Ok(Settled::Late),
                },
            };
            let Some(mut writes) = self.ending(claim, settlement, payload) else {
                return Ok(Settled::Late);
            };
            writes.extend(draft.writes(&settlement.then)?);
            let result = self.commit_as(&signature, &writes).await;
            match result {
                Ok(()) => return Ok(Settled::Yes),
                Err(Failure::Conflict) => {
                    self.refresh(&Key::Message(*id)).await?;
                    self.look_up(&settlement.then, &mut draft).await?;
                }
                Err(Failure::Error(error)) if FULL.contains(&error.code) && settlement.then.is_empty() => {
                    return self.end_without_room(claim, settlement, error).await;
                }
                Err(failure) => {
                    // It may be stored for all we know.
                    let mut doubtful = self.doubtful.lock();
                    if doubtful.len() >= MOST_DOUBTFUL {
                        doubtful.clear();
                    }
                    doubtful.insert((claim, *id), signature);
                    return Err(failure.error());
                }
            }
        }
        Err(Failure::Conflict.error())
    }

    /// What is over can be taken away where nothing can be written any more, which makes room.
    async fn end_without_room(
        &self,
        claim: ClaimId,
        settlement: &Settlement,
        error: Error,
    ) -> Result<Settled, Error> {
        let (id, now) = (&settlement.id, self.now());
        let sequence = match self.index.lock().entries.get(id) {
            // The lock of a line could not be given back.
            Some(known) if known.line.is_none() => known.sequence,
            _ => return Err(error),
        };
        if settlement.verdict != Verdict::Over || !self.index.lock().holds(claim, id, now) {
            return Err(error);
        }
        self.link.log()?.delete(sequence).await?;
        self.index.lock().vanished(id, sequence, now);
        self.wake.notify_waiters();
        Ok(Settled::Yes)
    }

    /// Whether a settlement that was not answered was made. `None`: it was not, or there was none.
    async fn settled_before(&self, claim: ClaimId, id: &InvocationId) -> Result<Option<Settled>, Error> {
        let Some(signature) = self.doubtful.lock().get(&(claim, *id)).cloned() else { return Ok(None) };
        let found = self.refresh(&Key::Message(*id)).await?;
        self.doubtful.lock().remove(&(claim, *id));
        Ok(found.filter(|record| record.write == signature).map(|_| Settled::Yes))
    }

    /// What is to be written of the message itself; `None`: the lease ran out.
    fn ending(&self, claim: ClaimId, settlement: &Settlement, payload: Bytes) -> Option<Vec<Write>> {
        let now = self.now();
        let index = self.index.lock();
        let id = settlement.id;
        let known = index.entries.get(&id).filter(|_| index.holds(claim, &id, now))?;
        let cancelled = known.standing.run().is_some_and(|run| run.cancelled);
        let change = match &settlement.verdict {
            Verdict::Over => Write::gone(id, known.sequence, &known.standing),
            Verdict::Again { .. } if cancelled => Write::gone(id, known.sequence, &known.standing),
            Verdict::Again { due, history, why } => {
                let standing = Standing {
                    due: *due,
                    history: *history,
                    why: Some(shortened(why)),
                    ..known.becomes(Phase::Waiting)
                };
                Write::change(id, known.sequence, standing, payload)
            }
            Verdict::Dead { death, history, why } => {
                let phase = Phase::Dead { since: now.time, death: *death };
                let standing =
                    Standing { history: *history, why: Some(shortened(why)), ..known.becomes(phase) };
                Write::change(id, known.sequence, standing, payload)
            }
        };
        Some([change].into_iter().chain(known.line.map(Write::unlock)).collect())
    }
}

fn shortened(why: &str) -> String {
    why[..why.floor_char_boundary(LONGEST_WHY)].to_owned()
}
