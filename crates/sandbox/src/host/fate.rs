//! How a sandbox ended, for whoever asks, then or later.

use crate::exec::SandboxExit;
use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::sync::{oneshot, watch};

#[derive(Debug)]
pub(super) struct Fate {
    requested: AtomicBool,
    ended: watch::Sender<Option<SandboxExit>>,
}

impl Fate {
    pub(super) fn new() -> Self {
        Self { requested: AtomicBool::new(false), ended: watch::Sender::new(None) }
    }

    /// It was asked to end; `false` if it had been before.
    pub(super) fn request(&self) -> bool {
        !self.requested.swap(true, Ordering::Relaxed)
    }

    /// All of it is gone.
    pub(super) fn settle(&self, out_of_memory: bool) {
        let exit = SandboxExit { out_of_memory, requested: self.requested.load(Ordering::Relaxed) };
        self.ended.send_if_modified(|ended| ended.is_none() && ended.replace(exit).is_none());
    }

    pub(super) fn now(&self) -> Option<SandboxExit> {
        *self.ended.borrow()
    }

    pub(super) async fn wait(&self) -> SandboxExit {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(exit) = *ended.borrow_and_update() {
                return exit;
            }
            // The sender lives in `self`: this cannot fail while we wait.
            let _ = ended.changed().await;
        }
    }
}

/// Exits of processes that zygotes brought. The zygote tells of a process and the spawner of its end, each in
/// its own time: whichever is first waits for the other.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    expected: HashMap<i32, oneshot::Sender<i32>>,
    ended: VecDeque<(i32, i32)>,
}

impl Orphans {
    /// Most ends are of processes that nobody waits for (zygotes among them): a few are kept.
    const KEPT: usize = 256;

    pub(super) fn expect(&mut self, pid: i32) -> oneshot::Receiver<i32> {
        let (sender, receiver) = oneshot::channel();
        match self.ended.iter().position(|ended| ended.0 == pid).and_then(|index| self.ended.remove(index)) {
            Some((_, status)) => {
                let _ = sender.send(status);
            }
            None => {
                self.expected.insert(pid, sender);
            }
        }
        receiver
    }

    pub(super) fn ended(&mut self, pid: i32, status: i32) {
        match self.expected.remove(&pid) {
            Some(sender) => {
                let _ = sender.send(status);
            }
            None => {
                self.ended.push_back((pid, status));
                if self.ended.len() > Self::KEPT {
                    self.ended.pop_front();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orphans_are_told_of_in_either_order() {
        let mut orphans = Orphans::default();
        orphans.ended(1, 10);
        let second = orphans.expect(2);
        orphans.ended(2, 20);
        assert_eq!((orphans.expect(1).await, second.await), (Ok(10), Ok(20)));
        (0..1000).for_each(|pid| orphans.ended(pid, 0));
        assert_eq!(orphans.ended.len(), Orphans::KEPT);
    }
}
