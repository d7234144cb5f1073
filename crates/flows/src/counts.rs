//! What flows that are nested in one another use together. It travels with a step's request, as an extension
//! of it: no client can bring one.

use crate::steps::Nested;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// What flows that are nested in one another have used together.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    /// Calls of the outermost flow and of all that is nested in it.
    calls: Count,
    /// Steps of a chain and of the chains nested in it.
    pub(crate) links: Count,
    /// Steps that a conductor and those nested in it asked for.
    pub(crate) asked_for: Count,
    /// How often a conductor and those nested in it were asked.
    pub(crate) asked: Count,
}

/// A number that only rises.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicU32>);

impl Count {
    /// Counts one more, unless there were `most` already.
    pub(crate) fn one_more(&self, most: u32) -> bool {
        self.0.try_update(Relaxed, Relaxed, |n| (n < most).then(|| n + 1)).is_ok()
    }

    pub(crate) fn is_at(&self, most: u32) -> bool {
        self.0.load(Relaxed) >= most
    }
}

impl Counts {
    /// Counts one more call, unless there were `most` already.
    pub(crate) fn call(&self, most: u32) -> bool {
        self.calls.one_more(most)
    }

    /// What a step goes on counting: a chain in a chain that chain's steps, a conductor below a conductor that
    /// one's; everything else begins anew. The calls are counted over all.
    pub(crate) fn hand_down(&self, to: Nested, within: Nested) -> Self {
        let calls = self.calls.clone();
        match (within, to) {
            (Nested::Chain, Nested::Chain) => Self { calls, links: self.links.clone(), ..Self::default() },
            (Nested::Conductor, Nested::Conductor) => {
                let (asked_for, asked) = (self.asked_for.clone(), self.asked.clone());
                Self { calls, asked_for, asked, ..Self::default() }
            }
            _ => Self { calls, ..Self::default() },
        }
    }
}
