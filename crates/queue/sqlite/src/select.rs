//! Finding messages: by their lanes, one after the other in the order in which they were accepted.

use crate::{entry::RawEntry, memory::LaneId, sql};
use std::{cmp::Reverse, collections::BinaryHeap};
use xebec_core::{Error, InvocationId, Tenant, digest::Digest, message::Lane, ports::queue::Selection};
use xebec_sqlite::{
    Fault,
    rusqlite::{Connection, OptionalExtension as _, Row},
};

/// Which state is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    Any,
    Waiting,
    Running,
    Dead,
}

impl Filter {
    pub(crate) fn of(state: Option<&str>) -> Result<Self, Error> {
        Ok(match state {
            None => Self::Any,
            Some("waiting") => Self::Waiting,
            Some("running") => Self::Running,
            Some("dead") => Self::Dead,
            Some(other) => {
                return Err(Error::invalid("XB4025", format!("there is no state {other:?}"))
                    .with_hint("the states are waiting, running and dead"));
            }
        })
    }

    pub(crate) fn meets(self, phase: i64) -> bool {
        use crate::schema::phase::{DEAD, DELAYED, DUE, RUNNING};
        match self {
            Self::Any => true,
            Self::Waiting => matches!(phase, DELAYED | DUE),
            Self::Running => phase == RUNNING,
            Self::Dead => phase == DEAD,
        }
    }
}

/// Where a message is.
pub(crate) type Spot = (LaneId, i64);

/// The places of messages of a selection, after `after`, oldest first, at most so many. Those that run are in
/// `running`: nothing but memory knows them without a search.
pub(crate) fn spots(
    file: &Connection,
    which: &Selection,
    filter: Filter,
    running: &[(InvocationId, Spot)],
    after: i64,
    most: usize,
) -> Result<Vec<Spot>, Fault> {
    if let Some(ids) = &which.ids {
        return by_ids(file, which, filter, ids, after, most);
    }
    let lanes = lanes_of(file, which)?;
    if filter == Filter::Running {
        let mut found: Vec<Spot> = running
            .iter()
            .map(|(_, spot)| *spot)
            .filter(|(lane, seq)| *seq > after && lanes.contains(lane))
            .collect();
        found.sort_unstable_by_key(|(_, seq)| *seq);
        found.truncate(most);
        return Ok(found);
    }
    let sql = match filter {
        Filter::Dead => sql::NEXT_DEAD,
        Filter::Waiting => sql::NEXT_WAITING,
        _ => sql::NEXT_OF_ALL,
    };
    let mut next = file.prepare_cached(sql)?;
    let mut next = |lane: LaneId, after: i64| -> Result<Option<Reverse<(i64, LaneId)>>, Fault> {
        let seq = next.query_row([lane, after], |row| row.get(0)).optional()?;
        Ok(seq.map(|seq| Reverse((seq, lane))))
    };
    let mut heads = BinaryHeap::with_capacity(lanes.len());
    for lane in lanes {
        heads.extend(next(lane, after)?);
    }
    let mut found = Vec::new();
    while found.len() < most
        && let Some(Reverse((seq, lane))) = heads.pop()
    {
        found.push((lane, seq));
        heads.extend(next(lane, seq)?);
    }
    Ok(found)
}

fn by_ids(
    file: &Connection,
    which: &Selection,
    filter: Filter,
    ids: &[InvocationId],
    after: i64,
    most: usize,
) -> Result<Vec<Spot>, Fault> {
    let mut found = Vec::new();
    for id in ids {
        let Some(entry) = RawEntry::find(file, id)? else { continue };
        if entry.seq > after && filter.meets(entry.phase) && which.covers(id, &entry.message()?.lane) {
            found.push((entry.lane, entry.seq));
        }
    }
    found.sort_unstable_by_key(|(_, seq)| *seq);
    found.dedup();
    found.truncate(most);
    Ok(found)
}

/// The lanes that a selection may have messages in, sorted.
fn lanes_of(file: &Connection, which: &Selection) -> Result<Lanes, Fault> {
    let tenant = which.tenant.as_ref().or_else(|| which.function.as_ref().map(|function| &function.tenant));
    let all = match tenant {
        Some(tenant) => lanes_of_tenant(file, tenant)?,
        None => {
            let mut lanes = file.prepare_cached(sql::LANES)?;
            lanes.query_and_then([], lane_of)?.collect::<Result<Vec<_>, _>>()?
        }
    };
    let everything = Selection { ids: None, ..which.clone() };
    // The id does not matter where none is asked for.
    let covered =
        all.into_iter().filter(|(_, lane)| everything.covers(&InvocationId(uuid::Uuid::nil()), lane));
    let mut ids: Vec<_> = covered.map(|(id, _)| id).collect();
    ids.sort_unstable();
    Ok(Lanes(ids))
}

fn lanes_of_tenant(file: &Connection, tenant: &Tenant) -> Result<Vec<(LaneId, Lane)>, Fault> {
    let mut lanes = file.prepare_cached(sql::LANES_OF_TENANT)?;
    lanes.query_and_then([tenant.as_str()], lane_of)?.collect()
}

struct Lanes(Vec<LaneId>);

impl Lanes {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn contains(&self, lane: &LaneId) -> bool {
        self.0.binary_search(lane).is_ok()
    }
}

impl IntoIterator for Lanes {
    type Item = LaneId;
    type IntoIter = std::vec::IntoIter<LaneId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A row of `lanes`.
pub(crate) fn lane_of(row: &Row<'_>) -> Result<(LaneId, Lane), Fault> {
    let target: String = row.get(3)?;
    let target = serde_json::from_str(&target)
        .map_err(|error| Error::internal("XB4003", format!("a lane's target cannot be read: {error}")))?;
    let lane = Lane {
        tenant: Tenant::new(row.get::<_, String>(1)?),
        queue: row.get::<_, String>(2)?.into(),
        target,
    };
    Ok((row.get(0)?, lane))
}

/// When the first of a lane that is due was due.
pub(crate) fn oldest_due(file: &Connection, lane: LaneId, held: bool) -> Result<Option<i64>, Fault> {
    let mut first = file.prepare_cached(sql::FIRST_DUE)?;
    let mut oldest: Option<i64> = None;
    for held in 0..=i64::from(held) {
        for priority in 0..=i64::from(xebec_core::message::MAX_PRIORITY) {
            let due = first.query_row([lane, held, priority], |row| row.get(0)).optional()?;
            oldest = [oldest, due].into_iter().flatten().min();
        }
    }
    Ok(oldest)
}

/// The blobs that messages name, sorted.
pub(crate) fn blobs(file: &Connection) -> Result<Vec<Digest>, Fault> {
    let mut blobs = file.prepare_cached(sql::BLOBS)?;
    let found = blobs.query_map([], |row| Ok(Digest::from_bytes(row.get(0)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}
