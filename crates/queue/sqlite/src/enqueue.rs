//! Accepting messages.

use crate::{memory::Slot, message::Prepared, schema::phase, sql, task::Job, work::Work};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;
use xebec_core::{
    Error, ErrorKind, InvocationId, Tenant,
    message::{Lane, Receipt},
};
use xebec_sqlite::{
    Fault,
    rusqlite::{OptionalExtension as _, params},
};

/// Accepts messages, all or none.
pub(crate) struct Enqueue(pub(crate) Vec<Prepared>);

impl Job for Enqueue {
    type Output = Vec<Receipt>;

    fn run(&mut self, work: &mut Work<'_>) -> Result<Vec<Receipt>, Fault> {
        within_bounds(work, &self.0)?;
        admit(work, &self.0)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|prepared| prepared.head.len() + prepared.message.inline().len()).sum()
    }

    fn optional(&self) -> bool {
        true
    }
}

/// Accepts messages, whatever the bounds.
pub(crate) fn admit(work: &mut Work<'_>, messages: &[Prepared]) -> Result<Vec<Receipt>, Fault> {
    messages.iter().map(|prepared| admit_one(work, prepared)).collect()
}

fn admit_one(work: &mut Work<'_>, prepared: &Prepared) -> Result<Receipt, Fault> {
    let message = &prepared.message;
    if let Some(first) = earlier_by_key(work, prepared)? {
        return Ok(Receipt { id: first, duplicate: true });
    }
    let lane = work.lane(&message.lane, &prepared.target)?;
    let seq = work.memory.next_seq();
    let key = message.key.as_deref();
    let held = work.must_hold(lane, seq, key)?;
    let phase = if prepared.due > work.now { phase::DELAYED } else { phase::DUE };
    let file = work.file()?;
    let added = file.prepare_cached(sql::ADD_MESSAGE)?.execute(params![
        lane,
        seq,
        message.id.0.as_bytes().as_slice(),
        phase,
        held,
        prepared.priority,
        prepared.due,
        prepared.bytes,
        key,
        prepared.blob(),
    ])?;
    if added == 0 {
        return Ok(Receipt { id: message.id, duplicate: true });
    }
    file.prepare_cached(sql::ADD_CONTENT)?.execute(params![seq, prepared.head, message.inline().as_ref()])?;
    if let (Some(until), Some(idempotency)) = (prepared.window_end(), &message.idempotency)
        && until > work.now
    {
        let id = message.id.0.as_bytes().as_slice();
        file.prepare_cached(sql::ADD_KEY)?.execute(params![lane, idempotency.key.as_str(), id, until])?;
    }
    work.memory.shift(lane, None, Some(Slot::of(phase, held)), 1);
    work.memory.load(lane, 1, prepared.bytes);
    if phase == phase::DELAYED {
        work.memory.expect_due(lane, prepared.due);
    }
    Ok(Receipt { id: message.id, duplicate: false })
}

/// The message that had this one's idempotency key before. One that is there itself is told by its id.
fn earlier_by_key(work: &mut Work<'_>, prepared: &Prepared) -> Result<Option<InvocationId>, Fault> {
    let message = &prepared.message;
    let Some(idempotency) = &message.idempotency else { return Ok(None) };
    if knows(work, &message.id)? {
        return Ok(Some(message.id));
    }
    let lane = work.lane(&message.lane, &prepared.target)?;
    let now = work.now;
    let mut find = work.file()?.prepare_cached(sql::KNOWS_KEY)?;
    let found = find.query_row((lane, idempotency.key.as_str(), now), |row| row.get::<_, [u8; 16]>(0));
    Ok(found.optional()?.map(|id| InvocationId(Uuid::from_bytes(id))))
}

fn knows(work: &mut Work<'_>, id: &InvocationId) -> Result<bool, Fault> {
    Ok(work.file()?.prepare_cached(sql::KNOWS_ID)?.exists([id.0.as_bytes().as_slice()])?)
}

/// Whether there is room for those that are not there already.
fn within_bounds(work: &mut Work<'_>, messages: &[Prepared]) -> Result<(), Fault> {
    // Counted exactly only where it matters.
    if room(work, messages.iter()).is_ok() {
        return Ok(());
    }
    let mut fresh = Vec::new();
    let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
    for prepared in messages {
        let message = &prepared.message;
        if !ids.insert(message.id) || knows(work, &message.id)? {
            continue;
        }
        if let Some(idempotency) = &message.idempotency
            && (!keys.insert((&message.lane, &idempotency.key)) || earlier_by_key(work, prepared)?.is_some())
        {
            continue;
        }
        fresh.push(prepared);
    }
    if fresh.is_empty() {
        return Ok(());
    }
    Ok(room(work, fresh.into_iter())?)
}

fn room<'m>(work: &Work<'_>, messages: impl Iterator<Item = &'m Prepared>) -> Result<(), Error> {
    let (mut count, mut bytes) = (0, 0);
    let mut of_tenants: HashMap<&Tenant, u64> = HashMap::new();
    let mut last: Option<&Lane> = None;
    for prepared in messages {
        count += 1;
        bytes += prepared.bytes.unsigned_abs();
        last = Some(&prepared.message.lane);
        *of_tenants.entry(&prepared.message.lane.tenant).or_default() += 1;
    }
    let (memory, options) = (&work.memory, work.options);
    if memory.messages() + count > options.messages {
        return Err(full(format!("the queue holds {} messages, and takes no more", memory.messages())));
    }
    if memory.bytes().saturating_add(bytes) > options.bytes {
        return Err(full(format!("the queue holds {} bytes, and takes no more", memory.bytes())));
    }
    for (tenant, count) in of_tenants {
        let there = memory.messages_of(tenant);
        if there + count > options.tenant_messages {
            let lane = last.map(|lane| format!("; the last was for {lane}")).unwrap_or_default();
            return Err(full(format!("{there} messages of {tenant} are there, which is the limit{lane}")));
        }
    }
    Ok(())
}

/// Whether there is room for one more of a new tenant.
pub(crate) fn has_room(work: &Work<'_>) -> Result<(), Error> {
    let (memory, options) = (&work.memory, work.options);
    if memory.messages() >= options.messages || memory.bytes() >= options.bytes {
        return Err(full(format!(
            "the queue holds {} messages of {} bytes, and takes no more",
            memory.messages(),
            memory.bytes()
        )));
    }
    Ok(())
}

fn full(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, "XB4020", message)
        .with_hint("wait until some have been worked off, discard dead letters, or raise the bound")
}
