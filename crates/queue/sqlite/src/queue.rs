//! The port, over the writing thread and what reads beside it.

use crate::{
    QUEUE_FILE, SqliteQueue,
    claim::{Claimer, RawClaim},
    enqueue::Enqueue,
    entry::{RawEntry, read},
    inbox::{Order, stopped},
    letters::{Cancel, Discard, Look, Pause, Redrive, Rule, Seen},
    memory::Lease,
    message::Prepared,
    select::{self, Filter, Spot},
    settle::{Extend, Settle},
    task::Pending,
};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use xebec_core::{
    Error, ErrorKind, InvocationId, Tenant,
    digest::Digest,
    message::{Lane, Message, Receipt},
    ports::queue::{
        Ask, Claim, ClaimId, Claimed, Entry, EntryPage, EntryQuery, Held, LaneRules, LaneStats, Place, Queue,
        Selection, Settled, Settlement, Verdict,
    },
    rules::retry::Death,
};
use xebec_sqlite::time::{from_nanoseconds, to_nanoseconds};

/// The most messages of a page, and that are discarded at once.
const PAGE: usize = 1000;
/// Dead letters that are redriven in one transaction.
const REDRIVEN: usize = 500;
/// The longest wait for a claim: those who ask again are known to be alive.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

#[async_trait]
impl Queue for SqliteQueue {
    async fn enqueue(&self, messages: Vec<Message>) -> Result<Vec<Receipt>, Error> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let most = self.options.batch;
        if messages.len() > most {
            let count = messages.len();
            let text = format!("{count} messages at once are more than the queue takes: {most}");
            return Err(
                Error::new(ErrorKind::TooLarge, "XB4024", text).with_hint("send them in several parts")
            );
        }
        let prepared = Prepared::all(messages, self.options.message_bytes)?;
        self.ask(Enqueue(prepared)).await
    }

    async fn claim(&self, ask: Ask) -> Result<Vec<Claim>, Error> {
        if ask.most == 0 {
            return Ok(Vec::new());
        }
        let wait = ask.wait.min(LONGEST_WAIT);
        let (answer, answered) = oneshot::channel();
        self.inbox.push(Order::Claim(Claimer {
            most: ask.most,
            lease: ask.lease,
            until: self.clock.steady().saturating_add(wait),
            until_really: Instant::now() + wait,
            answer,
        }))?;
        let handover = answered.await.map_err(|_| stopped())??;
        Ok(handover.accept().into_iter().filter_map(|claim| self.claimed(claim)).collect())
    }

    async fn extend(&self, claim: ClaimId, lease: Duration) -> Result<Held, Error> {
        self.insist(Extend(claim, lease)).await
    }

    async fn settle(&self, claim: ClaimId, settlement: Settlement) -> Result<Settled, Error> {
        let then = Prepared::all(settlement.then, self.options.message_bytes)?;
        self.insist(Settle::new(claim, settlement.id, settlement.verdict, then)).await
    }

    fn configure(&self, lane: &Lane, rules: LaneRules) {
        self.inbox.insist(Order::Task(Pending::unanswered(Rule::Lane(lane.clone(), rules))));
    }

    fn limit(&self, tenant: &Tenant, claims: Option<u32>) {
        self.inbox.insist(Order::Task(Pending::unanswered(Rule::Tenant(tenant.clone(), claims))));
    }

    async fn get(&self, id: &InvocationId) -> Result<Option<Entry>, Error> {
        let id = *id;
        let found = self.reading()?.read(move |file| RawEntry::find(file, &id)).await?;
        let entries = self.entries(found.into_iter().collect()).await?;
        Ok(entries.into_iter().next())
    }

    async fn list(&self, query: &EntryQuery) -> Result<EntryPage, Error> {
        let after = match &query.cursor {
            None => 0,
            Some(cursor) => place_of(cursor)?,
        };
        let filter = Filter::of(query.state.as_deref())?;
        let limit = query.limit.map_or(PAGE, |limit| (limit as usize).clamp(1, PAGE));
        let running = if filter == Filter::Running { self.running().await? } else { Vec::new() };
        let which = query.which.clone();
        let (raw, more) = self
            .reading()?
            .read(move |file| {
                let mut spots = select::spots(file, &which, filter, &running, after, limit + 1)?;
                let more = spots.len() > limit;
                spots.truncate(limit);
                let entries = spots.into_iter().map(|(lane, seq)| RawEntry::at(file, lane, seq));
                let entries: Vec<_> = entries.filter_map(Result::transpose).collect::<Result<_, _>>()?;
                Ok((entries, more))
            })
            .await?;
        let cursor = raw.last().filter(|_| more).map(|last| last.seq.to_string());
        let raw = raw.into_iter().filter(|entry| filter.meets(entry.phase)).collect();
        Ok(EntryPage { entries: self.entries(raw).await?, cursor })
    }

    async fn cancel(&self, id: &InvocationId) -> Result<Entry, Error> {
        let raw = self.insist(Cancel(*id)).await?;
        let entries = self.entries(vec![raw]).await?;
        entries.into_iter().next().ok_or_else(|| crate::letters::unknown(id))
    }

    async fn redrive(&self, which: &Selection, rate: Option<u32>) -> Result<u64, Error> {
        let spacing = rate.map_or(0, |rate| 1_000_000_000 / i64::from(rate.max(1)));
        let start = to_nanoseconds(self.clock.now());
        // Those that are dead now: what dies again meanwhile is not taken twice.
        let spots = self.dead(which, usize::MAX).await?;
        let mut count = 0;
        for spots in spots.chunks(REDRIVEN) {
            let passed = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(spacing);
            let due = start.saturating_add(passed);
            count += self.insist(Redrive { spots: spots.to_vec(), due, spacing }).await?;
        }
        Ok(count)
    }

    async fn discard(&self, which: &Selection) -> Result<Vec<Message>, Error> {
        let spots = self.dead(which, PAGE).await?;
        if spots.is_empty() {
            return Ok(Vec::new());
        }
        let gone = self.insist(Discard(spots)).await?;
        let read = |(head, body): (Vec<u8>, Bytes)| {
            read(&head, body)
                .inspect_err(|error| tracing::error!(%error, "it was discarded nevertheless"))
                .ok()
        };
        Ok(gone.into_iter().filter_map(read).collect())
    }

    async fn pause(&self, place: &Place) -> Result<(), Error> {
        self.insist(Pause { place: place.clone(), on: true }).await
    }

    async fn resume(&self, place: &Place) -> Result<(), Error> {
        self.insist(Pause { place: place.clone(), on: false }).await
    }

    async fn paused(&self) -> Result<Vec<Place>, Error> {
        match self.ask(Look::Paused).await? {
            Seen::Paused(places) => Ok(places),
            _ => Ok(Vec::new()),
        }
    }

    async fn stats(&self, tenant: Option<&Tenant>) -> Result<Vec<LaneStats>, Error> {
        let Seen::Counts(counts) = self.ask(Look::Counts(tenant.cloned())).await? else {
            return Ok(Vec::new());
        };
        let stats = self.reading()?.read(move |file| {
            let mut stats = Vec::with_capacity(counts.len());
            for (id, lane, counts, paused) in counts {
                let is_due = counts.ready + counts.held > 0;
                let oldest = if is_due { select::oldest_due(file, id, counts.held > 0)? } else { None };
                stats.push(LaneStats {
                    lane: Lane::clone(&lane),
                    waiting: counts.delayed + counts.ready + counts.held,
                    delayed: counts.delayed,
                    running: counts.running,
                    dead: counts.dead,
                    oldest_due: oldest.map(from_nanoseconds),
                    paused,
                });
            }
            stats.sort_unstable_by(|a, b| a.lane.cmp(&b.lane));
            Ok(stats)
        });
        stats.await
    }

    async fn blobs(&self) -> Result<Vec<Digest>, Error> {
        self.reading()?.read(select::blobs).await
    }

    async fn health(&self) -> Result<(), Error> {
        self.ask(Look::Health).await.map(|_| ())
    }

    async fn backup(&self, directory: &Path) -> Result<bool, Error> {
        self.reading()?.backup(&directory.join(QUEUE_FILE)).await?;
        Ok(true)
    }
}

impl SqliteQueue {
    /// A claim with its messages read. One that cannot be read is a dead letter.
    fn claimed(&self, raw: RawClaim) -> Option<Claim> {
        let mut messages = Vec::with_capacity(raw.messages.len());
        for message in raw.messages {
            match read(&message.head, message.body) {
                Ok(read) => messages.push(Claimed { message: read, history: message.history }),
                Err(error) => {
                    tracing::error!(id = %message.id, %error, "a message becomes a dead letter");
                    let (death, history) = (Death::Failed, message.history);
                    let verdict = Verdict::Dead { death, history, why: error.to_string() };
                    let settle = Settle::new(raw.id, message.id, verdict, Vec::new());
                    self.inbox.insist(Order::Task(Pending::unanswered(settle)));
                }
            }
        }
        (!messages.is_empty()).then(|| Claim { id: raw.id, lane: Lane::clone(&raw.lane), messages })
    }

    /// Entries, with when the leases of those that run end.
    async fn entries(&self, raw: Vec<RawEntry>) -> Result<Vec<Entry>, Error> {
        let now = self.clock.now();
        let mut untils: HashMap<Spot, Timestamp> = HashMap::new();
        if raw.iter().any(RawEntry::is_running) {
            let (leases, steady) = self.leases().await?;
            untils.extend(leases.into_iter().map(|lease| {
                let rest = lease.until.saturating_sub(steady);
                ((lease.lane, lease.seq), now.checked_add(rest).unwrap_or(Timestamp::MAX))
            }));
        }
        // One that was settled since it was read has none any more.
        let until = |entry: &RawEntry| untils.get(&(entry.lane, entry.seq)).copied().unwrap_or(now);
        raw.into_iter()
            .map(|entry| {
                let until = until(&entry);
                entry.entry(until)
            })
            .collect()
    }

    async fn leases(&self) -> Result<(Vec<Lease>, Duration), Error> {
        match self.ask(Look::Leases).await? {
            Seen::Leases(leases, steady) => Ok((leases, steady)),
            _ => Ok((Vec::new(), Duration::ZERO)),
        }
    }

    async fn running(&self) -> Result<Vec<(InvocationId, Spot)>, Error> {
        let (leases, _) = self.leases().await?;
        Ok(leases.into_iter().map(|lease| (lease.id, (lease.lane, lease.seq))).collect())
    }

    /// Dead letters of a selection, oldest first.
    async fn dead(&self, which: &Selection, most: usize) -> Result<Vec<Spot>, Error> {
        let which = which.clone();
        self.reading()?.read(move |file| select::spots(file, &which, Filter::Dead, &[], 0, most)).await
    }
}

/// Where a page ended.
fn place_of(cursor: &str) -> Result<i64, Error> {
    let place = cursor.parse::<u64>().ok().and_then(|place| i64::try_from(place).ok());
    place.ok_or_else(|| Error::invalid("XB4014", format!("{cursor:?} is not where a page ended")))
}
