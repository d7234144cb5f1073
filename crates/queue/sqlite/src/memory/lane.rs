//! What is known of a lane.

use crate::schema::phase;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use xebec_core::message::Lane;

/// Arrivals that are told apart; later ones count as if they had come with the last of these.
const MOST_ARRIVALS: usize = 1024;

/// Where a message counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Not yet due.
    Delayed,
    /// May begin.
    Ready,
    /// Due, but waits behind another of its key.
    Held,
    Running,
    Dead,
}

impl Slot {
    /// The slot of a row.
    pub(crate) fn of(phase: i64, held: bool) -> Self {
        match phase {
            phase::DELAYED => Self::Delayed,
            phase::DUE if held => Self::Held,
            phase::DUE => Self::Ready,
            phase::RUNNING => Self::Running,
            _ => Self::Dead,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) delayed: u64,
    pub(crate) ready: u64,
    pub(crate) held: u64,
    pub(crate) running: u64,
    pub(crate) dead: u64,
}

impl Counts {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn slot(&mut self, slot: Slot) -> &mut u64 {
        match slot {
            Slot::Delayed => &mut self.delayed,
            Slot::Ready => &mut self.ready,
            Slot::Held => &mut self.held,
            Slot::Running => &mut self.running,
            Slot::Dead => &mut self.dead,
        }
    }
}

pub(super) struct LaneMemory {
    pub(super) name: Arc<Lane>,
    pub(super) counts: Counts,
    /// When the first delayed one is due, or earlier.
    pub(super) next_due: Option<i64>,
    /// When its batch has waited long enough, where that is awaited.
    pub(super) batch_at: Option<Duration>,
    pub(super) paused: bool,
    /// What fairness was told.
    pub(super) open: bool,
    /// It is among those seen empty.
    pub(super) listed: bool,
    /// Where it has batches: since when how many are ready. Those that leave are taken to be the oldest.
    arrivals: Option<VecDeque<(Duration, u64)>>,
}

impl LaneMemory {
    pub(super) fn new(name: Arc<Lane>, paused: bool) -> Self {
        Self {
            name,
            counts: Counts::default(),
            next_due: None,
            batch_at: None,
            paused,
            open: false,
            listed: false,
            arrivals: None,
        }
    }

    pub(super) fn shift(&mut self, from: Option<Slot>, to: Option<Slot>, count: u64, steady: Duration) {
        if let Some(from) = from {
            let slot = self.counts.slot(from);
            debug_assert!(*slot >= count, "{from:?} of {:?}: {slot} < {count}", self.name);
            *slot = slot.saturating_sub(count);
            if from == Slot::Ready {
                self.depart(count);
            }
        }
        if let Some(to) = to {
            *self.counts.slot(to) += count;
            if to == Slot::Ready {
                self.arrive(count, steady);
            }
        }
    }

    /// Begins or ends to keep in mind when messages came.
    pub(super) fn keep_arrivals(&mut self, keep: bool, steady: Duration) {
        if !keep {
            self.arrivals = None;
        } else if self.arrivals.is_none() {
            self.arrivals = Some(VecDeque::new());
            self.arrive(self.counts.ready, steady);
        }
    }

    /// Since when the first that is ready is so.
    pub(super) fn first_arrival(&self) -> Option<Duration> {
        self.arrivals.as_ref()?.front().map(|(since, _)| *since)
    }

    fn arrive(&mut self, count: u64, steady: Duration) {
        let Some(arrivals) = &mut self.arrivals else { return };
        let full = arrivals.len() >= MOST_ARRIVALS;
        match arrivals.back_mut() {
            Some((since, together)) if full || *since == steady => *together += count,
            _ if count > 0 => arrivals.push_back((steady, count)),
            _ => {}
        }
    }

    fn depart(&mut self, mut count: u64) {
        let Some(arrivals) = &mut self.arrivals else { return };
        while count > 0
            && let Some((_, together)) = arrivals.front_mut()
        {
            let gone = count.min(*together);
            (*together, count) = (*together - gone, count - gone);
            if *together == 0 {
                arrivals.pop_front();
            }
        }
    }
}
