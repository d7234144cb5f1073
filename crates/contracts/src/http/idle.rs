//! Idle connections, last in, first out.

use super::link::Link;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Up to this age an idle connection carries any request; older ones only what can be sent twice.
const FRESH: Duration = Duration::from_secs(1);

/// Older ones are closed when the next one is put back.
const OLD: Duration = Duration::from_secs(60);

/// There are never more than the instance had calls at a time.
#[derive(Default)]
pub(super) struct Idle(Mutex<VecDeque<(Instant, Link)>>);

impl Idle {
    /// One that is open, as far as can be told.
    pub(super) fn take(&self, repeatable: bool) -> Option<Link> {
        loop {
            let (since, mut link) = self.0.lock().pop_back()?;
            if !repeatable && since.elapsed() > FRESH {
                // So are all below it, and a server that takes one connection at a time would not
                // come to the next before they are closed.
                self.clear();
                return None;
            }
            if link.is_idle() {
                return Some(link);
            }
        }
    }

    /// Keeps one for the next call, if it can carry it.
    pub(super) fn put(&self, mut link: Link) {
        if !link.is_idle() {
            return;
        }
        let now = Instant::now();
        let mut links = self.0.lock();
        links.push_back((now, link));
        let old = match links.front() {
            Some((since, _)) if now.duration_since(*since) > OLD => links.pop_front(),
            _ => None,
        };
        drop(links);
        drop(old);
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        let links = std::mem::take(&mut *self.0.lock());
        drop(links);
    }
}
