//! Calls over a link, and the answers that come back under their numbers.

use super::ANSWER_DEADLINE;
use crate::{
    channel::Link,
    wire::{self, Call},
};
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    collections::HashMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::sync::oneshot;

/// An answer and the descriptors that came with it.
pub(super) type Answered<R> = (R, Vec<OwnedFd>);

/// Who waits for which answer. Dropping the senders, when the link closes, wakes all of them.
#[derive(Debug)]
pub(super) struct Waiting<R> {
    serial: AtomicU64,
    senders: Mutex<Option<HashMap<u64, oneshot::Sender<Answered<R>>>>>,
}

impl<R> Waiting<R> {
    pub(super) fn new() -> Self {
        Self { serial: AtomicU64::new(1), senders: Mutex::new(Some(HashMap::new())) }
    }

    /// Sends what `pack` makes of a number, and waits for the answer to it.
    pub(super) async fn ask(
        &self,
        link: &Link,
        pack: impl FnOnce(u64) -> io::Result<Vec<u8>>,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<Answered<R>> {
        answered(self.send(link, pack, descriptors).await?).await
    }

    /// Sends what `pack` makes of a number; [`answered`] waits for the answer to it.
    pub(super) async fn send(
        &self,
        link: &Link,
        pack: impl FnOnce(u64) -> io::Result<Vec<u8>>,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<oneshot::Receiver<Answered<R>>> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let message = pack(serial)?;
        let (sender, answer) = oneshot::channel();
        match self.senders.lock().as_mut() {
            Some(senders) => senders.insert(serial, sender),
            None => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        // Until it is sent, no answer will come to take the entry away.
        let unsent = Unsent { waiting: self, serial };
        link.send(&message, descriptors).await?;
        std::mem::forget(unsent);
        Ok(answer)
    }

    fn forget(&self, serial: u64) {
        if let Some(senders) = self.senders.lock().as_mut() {
            senders.remove(&serial);
        }
    }

    /// Delivers an answer; gives it back where nobody waits for it any more.
    pub(super) fn resolve(&self, serial: u64, answer: Answered<R>) -> Option<Answered<R>> {
        let sender = self.senders.lock().as_mut().and_then(|senders| senders.remove(&serial));
        match sender {
            Some(sender) => sender.send(answer).err(),
            None => Some(answer),
        }
    }

    /// No answers will come any more.
    pub(super) fn close(&self) {
        self.senders.lock().take();
    }
}

/// Waits for an answer. Fails with `BrokenPipe` when the other side is gone.
pub(super) async fn answered<R>(answer: oneshot::Receiver<Answered<R>>) -> io::Result<Answered<R>> {
    match tokio::time::timeout(ANSWER_DEADLINE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 20 s")),
    }
}

struct Unsent<'a, R> {
    waiting: &'a Waiting<R>,
    serial: u64,
}

impl<R> Drop for Unsent<'_, R> {
    fn drop(&mut self) {
        self.waiting.forget(self.serial);
    }
}

/// Sends a call and waits for its answer. Fails with `BrokenPipe` when the other side is gone.
pub(super) async fn call<T: Serialize, R>(
    link: &Link,
    waiting: &Waiting<R>,
    call: T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<Answered<R>> {
    waiting.ask(link, |serial| wire::encode(&Call { serial, call }), descriptors).await
}
