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
pub(crate) struct Idle(Mutex<VecDeque<(Instant, Link)>>);

impl Idle {
    /// One that is open, as far as can be told.
    pub(crate) fn take(&self, repeatable: bool) -> Option<Link> {
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
    pub(crate) fn put(&self, mut link: Link) {
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
    pub(crate) fn clear(&self) {
        let links = std::mem::take(&mut *self.0.lock());
        drop(links);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn link() -> (Link, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        (Link::new(Box::new(ours)).await.unwrap(), theirs)
    }

    #[tokio::test]
    async fn the_last_put_back_is_the_first_taken_and_closed_ones_are_passed_over() {
        let idle = Idle::default();
        let mut servers = Vec::new();
        for _ in 0..3 {
            let (link, server) = link().await;
            idle.put(link);
            servers.push(server);
        }
        assert_eq!(idle.0.lock().len(), 3);
        drop(servers.pop());
        assert!(idle.take(false).is_some());
        assert_eq!(idle.0.lock().len(), 1);
        idle.clear();
        assert!(idle.take(true).is_none());
    }

    #[tokio::test]
    async fn a_request_that_must_not_be_sent_twice_gets_no_aged_connection() {
        let Some(aged) = Instant::now().checked_sub(FRESH * 2) else { return };
        let idle = Idle::default();
        let (first, _server) = link().await;
        let (second, _server) = link().await;
        idle.0.lock().push_back((aged, first));
        assert!(idle.take(true).is_some());
        idle.0.lock().push_back((aged, second));
        assert!(idle.take(false).is_none());
        assert!(idle.0.lock().is_empty());
    }

    #[tokio::test]
    async fn old_ones_are_closed() {
        let Some(old) = Instant::now().checked_sub(OLD * 2) else { return };
        let idle = Idle::default();
        let (first, _server) = link().await;
        let (second, _server) = link().await;
        idle.0.lock().push_back((old, first));
        idle.put(second);
        assert_eq!(idle.0.lock().len(), 1);
    }
}
