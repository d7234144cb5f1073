//! The link to a sandbox's starter.

use super::calls::{Waiting, within_deadline};
use crate::{
    channel::{Link, Receiver},
    wire::start::{StarterWord, Step, pack_adopt, pack_kill},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
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

/// A process that runs.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: i32,
    pub(super) exit: oneshot::Receiver<Exited>,
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

    /// Starts a process; `pack` writes the message for a number. Fails with `BrokenPipe` when the starter is
    /// gone.
    pub(super) async fn start(
        &self,
        pack: impl FnOnce(u64) -> io::Result<Vec<u8>>,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<Result<Started, (Step, i32)>> {
        let (serial, answer) = self.waiting.register()?;
        self.link.send(&pack(serial)?, descriptors).await?;
        Ok(within_deadline(answer).await?.0)
    }

    /// Ends a process and what it started.
    pub(super) fn kill(self: &Arc<Self>, pid: i32) {
        self.tell(pack_kill(pid));
    }

    /// Tells the starter of a process that a zygote brought.
    pub(super) fn adopt(self: &Arc<Self>, pid: i32) {
        self.tell(pack_adopt(pid));
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
            let Some(word) = StarterWord::unpack(&message.body) else { break };
            match word {
                StarterWord::Started { serial, pid } => {
                    let (sender, exit) = oneshot::channel();
                    if let Some(running) = self.running.lock().as_mut() {
                        running.insert(pid, sender);
                    }
                    if self.waiting.resolve(serial, (Ok(Started { pid, exit }), Vec::new())).is_some() {
                        self.kill(pid);
                    }
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
        self.waiting.close();
        self.running.lock().take();
    }
}
