//! The link to a sandbox's starter.

use super::calls::{Waiting, answered};
use crate::{
    channel::{Link, Receiver},
    wire::start::{StarterWord, Step, pack_adopt, pack_allow, pack_kill},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};
use tokio::sync::oneshot;

#[derive(Debug)]
pub(super) struct Starter {
    link: Link,
    waiting: Waiting<Result<Started, (Step, i32)>>,
    /// Who waits for which process; `None` once no more exits will come.
    running: Mutex<Option<HashMap<i32, oneshot::Sender<Exited>>>>,
}

/// A process that runs. Dropping it kills the process and everything it started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: i32,
    starter: Arc<Starter>,
    exit: Option<oneshot::Receiver<Exited>>,
    leftovers: bool,
}

impl Started {
    /// One that a zygote brought; its end is told by others.
    pub(super) fn brought(pid: i32, starter: Arc<Starter>, end: oneshot::Receiver<i32>) -> Self {
        let (sender, exit) = oneshot::channel();
        starter.tell(pack_adopt(pid));
        tokio::spawn(async move {
            if let Ok(status) = end.await {
                let _ = sender.send(Exited { status, leftovers: true });
            }
        });
        Self { pid, starter, exit: Some(exit), leftovers: true }
    }

    /// Its wait status, once it has ended; `None`: the whole sandbox went. Asking again gives `None`.
    pub(super) async fn exit(&mut self) -> Option<i32> {
        let exited = match &mut self.exit {
            Some(exit) => exit.await.ok(),
            None => None,
        };
        self.exit = None;
        self.leftovers = exited.is_some_and(|exited| exited.leftovers);
        exited.map(|exited| exited.status)
    }

    /// Kills it and what it started.
    pub(super) fn kill(&self) {
        if self.exit.is_some() || self.leftovers {
            self.starter.kill(self.pid);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(exited) = self.exit.as_mut().and_then(|exit| exit.try_recv().ok()) {
            self.exit = None;
            self.leftovers = exited.leftovers;
        }
        self.kill();
    }
}

/// A process that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exited {
    pub(super) status: i32,
    pub(super) leftovers: bool,
}

impl Starter {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            link: Link::new(socket)?,
            waiting: Waiting::new(),
            running: Mutex::new(Some(HashMap::new())),
        })
    }

    /// Starts a process with its ends of streams and what else it is given; `pack` writes the message for a
    /// number. Fails with `BrokenPipe` when the starter is gone.
    pub(super) async fn start(
        &self,
        pack: impl FnOnce(u64) -> io::Result<Vec<u8>>,
        ends: Vec<OwnedFd>,
        further: &[Arc<OwnedFd>],
    ) -> io::Result<Result<Started, (Step, i32)>> {
        let descriptors: Vec<_> =
            ends.iter().map(AsFd::as_fd).chain(further.iter().map(|each| each.as_fd())).collect();
        let answer = self.waiting.send(&self.link, pack, &descriptors).await?;
        // At once, so that the end of its output is seen with its last bytes.
        drop(ends);
        Ok(answered(answer).await?.0)
    }

    /// Ends a process and what it started.
    pub(super) fn kill(self: &Arc<Self>, pid: i32) {
        self.tell(pack_kill(pid));
    }

    /// Lets processes reach a path of the host; only before the first one.
    pub(super) fn allow(self: &Arc<Self>, path: &Path, writable: bool) {
        self.tell(pack_allow(path, writable));
    }

    fn tell(self: &Arc<Self>, bytes: Vec<u8>) {
        if let Err(error) = self.link.try_send(&bytes)
            && error.kind() == io::ErrorKind::WouldBlock
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let starter = Arc::clone(self);
            runtime.spawn(async move { starter.link.send(&bytes, &[]).await });
        }
    }

    /// Reads what the starter says until it ends.
    pub(super) async fn read(self: Arc<Self>) {
        let mut receiver = Receiver::new();
        while let Ok(Some(message)) = self.link.receive(&mut receiver).await {
            let Some(words) = StarterWord::unpack_all(&message.body) else { break };
            words.into_iter().for_each(|word| self.hear(word));
        }
        self.waiting.close();
        self.running.lock().take();
    }

    fn hear(self: &Arc<Self>, word: StarterWord) {
        match word {
            StarterWord::Started { serial, pid } => {
                let (sender, exit) = oneshot::channel();
                if let Some(running) = self.running.lock().as_mut() {
                    running.insert(pid, sender);
                }
                let starter = Arc::clone(self);
                let started = Started { pid, starter, exit: Some(exit), leftovers: true };
                // Where nobody waits for it any more, dropping it kills it.
                self.waiting.resolve(serial, (Ok(started), Vec::new()));
            }
            StarterWord::Failed { serial, step, errno } => {
                self.waiting.resolve(serial, (Err((step, errno)), Vec::new()));
            }
            StarterWord::Exited { pid, status, leftovers } => {
                let sender = self.running.lock().as_mut().and_then(|running| running.remove(&pid));
                if let Some(sender) = sender
                    && sender.send(Exited { status, leftovers }).is_err()
                    && leftovers
                {
                    // Its handle was dropped before the exit was known.
                    self.kill(pid);
                }
            }
        }
    }
}
