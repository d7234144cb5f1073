//! The handle to the spawner.

use super::{
    ANSWER_DEADLINE, END_DEADLINE,
    calls::{Waiting, call},
    check::check,
    fate::{Fate, Orphans},
    sandbox::Sandbox,
    zygote::Zygote,
};
use crate::{
    Enforcement, Exec, SPAWNER_ARGUMENT, SandboxError, SandboxSpec, SpawnerOptions,
    channel::{self, Link, Receiver},
    wire::{self, Abilities, Answer, Call, Launch, SpawnerCall, SpawnerWord},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Notify, oneshot};

/// Makes sandboxes. Cheap to clone; the spawner's process, and every sandbox with it, ends when the last clone
/// and the last sandbox are dropped.
#[derive(Clone, Debug)]
pub struct Spawner(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    enforcement: Enforcement,
}

/// What the reader works on, too.
#[derive(Debug)]
pub(super) struct Shared {
    link: Link,
    waiting: Waiting<Result<Answer, String>>,
    fates: Mutex<HashMap<u32, Arc<Fate>>>,
    orphans: Mutex<Orphans>,
    pub(super) abilities: Abilities,
    gone: AtomicBool,
    went: Notify,
}

impl Spawner {
    /// Launches the spawner and waits until it knows what it can enforce.
    ///
    /// # Errors
    /// [`SandboxError::Launch`], with what the host lacks.
    pub async fn launch(options: SpawnerOptions) -> Result<Self, SandboxError> {
        let failed = |error: io::Error| SandboxError::Launch(error.to_string());
        let executable = options.executable.as_deref().unwrap_or_else(|| Path::new("/proc/self/exe"));
        let (ours, theirs) = channel::pair().map_err(failed)?;
        let mut child = Command::new(executable)
            .arg(SPAWNER_ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| SandboxError::Launch(format!("{}: {error}", executable.display())))?;
        let started = greet(&options, ours).await;
        let (link, receiver, enforcement, abilities) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let shared = Arc::new(Shared {
            link,
            waiting: Waiting::new(),
            fates: Mutex::new(HashMap::new()),
            orphans: Mutex::new(Orphans::default()),
            abilities,
            gone: AtomicBool::new(false),
            went: Notify::new(),
        });
        tokio::spawn(read(Arc::clone(&shared), receiver, child));
        Ok(Self(Arc::new(Handle { shared, enforcement })))
    }

    /// What its sandboxes enforce, and what it could not and why.
    pub fn enforcement(&self) -> &Enforcement {
        &self.0.enforcement
    }

    /// Whether its process still runs. Once it does not, launch another.
    pub fn alive(&self) -> bool {
        !self.0.shared.gone.load(Ordering::Acquire)
    }

    /// Makes a sandbox. Dropping the future gives everything back.
    ///
    /// # Errors
    /// [`SandboxError::Invalid`] for a specification that cannot be, [`SandboxError::Failed`] with the step
    /// that failed, [`SandboxError::SpawnerGone`].
    pub async fn create(&self, spec: SandboxSpec) -> Result<Sandbox, SandboxError> {
        check(&spec, self.0.shared.abilities.landlock)?;
        let take = SpawnerCall::Take { limits: spec.limits, binds: spec.binds.clone() };
        let (answer, descriptors) = self.call("make a sandbox", take).await?;
        let Answer::Taken(taken) = answer else { return Err(unexpected("make a sandbox")) };
        let fate = self.fate(taken.seat);
        Sandbox::take_over(self.clone(), spec, taken, descriptors, fate).await
    }

    /// Starts a zygote: a program that can be forked into sandboxes once it is warm. See [`Zygote`].
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn zygote(&self, exec: Exec) -> Result<Zygote, SandboxError> {
        Zygote::start(self, exec).await
    }

    /// Ends every sandbox and the spawner, and waits until they are gone.
    pub async fn shutdown(&self) {
        let went = self.0.shared.went.notified();
        if !self.alive() {
            return;
        }
        self.0.shared.tell(SpawnerCall::Shutdown);
        let _ = tokio::time::timeout(END_DEADLINE, went).await;
    }

    pub(super) fn abilities(&self) -> &Abilities {
        &self.0.shared.abilities
    }

    pub(super) async fn call(
        &self,
        what: &str,
        request: SpawnerCall,
    ) -> Result<(Answer, Vec<OwnedFd>), SandboxError> {
        self.call_with(what, request, &[]).await
    }

    pub(super) async fn call_with(
        &self,
        what: &str,
        request: SpawnerCall,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Vec<OwnedFd>), SandboxError> {
        let shared = &self.0.shared;
        match call(&shared.link, &shared.waiting, request, descriptors).await {
            Ok((Ok(answer), descriptors)) => Ok((answer, descriptors)),
            Ok((Err(why), _)) => Err(SandboxError::Failed { what: what.to_owned(), why }),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(SandboxError::SpawnerGone),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a call whose answer nobody needs.
    pub(super) fn tell(&self, request: SpawnerCall) {
        self.0.shared.tell(request);
    }

    /// Where the exit of a process that a zygote brought will be told.
    pub(super) fn orphan(&self, pid: i32) -> oneshot::Receiver<i32> {
        self.0.shared.orphans.lock().expect(pid)
    }

    fn fate(&self, seat: u32) -> Arc<Fate> {
        // The reader noted it before it delivered the answer; if it is gone, the sandbox has ended since.
        self.0.shared.fates.lock().get(&seat).cloned().unwrap_or_else(|| {
            let fate = Arc::new(Fate::new());
            fate.settle(false);
            fate
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left to ask for anything: the spawner ends as when the server does.
        self.shared.tell(SpawnerCall::Shutdown);
    }
}

impl Shared {
    fn tell(self: &Arc<Self>, request: SpawnerCall) {
        let Ok(bytes) = wire::encode(&Call { serial: 0, call: request }) else { return };
        if let Err(error) = self.link.try_send(&bytes)
            && error.kind() == io::ErrorKind::WouldBlock
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let shared = Arc::clone(self);
            runtime.spawn(async move { shared.link.send(&bytes, &[]).await });
        }
    }
}

pub(super) fn unexpected(what: &str) -> SandboxError {
    SandboxError::Failed { what: what.to_owned(), why: "the spawner gave another answer".to_owned() }
}

async fn greet(
    options: &SpawnerOptions,
    socket: OwnedFd,
) -> Result<(Link, Receiver, Enforcement, Abilities), SandboxError> {
    let failed = |error: io::Error| SandboxError::Launch(error.to_string());
    let link = Link::new(socket).map_err(failed)?;
    let launch = Launch {
        run_directory: std::path::absolute(&options.run_directory).map_err(failed)?,
        share_host_network: options.share_host_network,
        spares: options.spare_networks,
    };
    let mut receiver = Receiver::new();
    let ask = async {
        link.send(&wire::encode(&launch)?, &[]).await?;
        link.receive(&mut receiver).await
    };
    let message = match tokio::time::timeout(ANSWER_DEADLINE, ask).await {
        Ok(Ok(Some(message))) => message,
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error)),
        Ok(_) => {
            return Err(SandboxError::Launch(format!(
                "it ended at once; does the program run spawner_main on {SPAWNER_ARGUMENT}?"
            )));
        }
        Err(_) => return Err(SandboxError::Launch("no answer within 20 s".to_owned())),
    };
    match wire::decode(&message.body).map_err(failed)? {
        SpawnerWord::Ready(enforcement, abilities) => Ok((link, receiver, enforcement, abilities)),
        SpawnerWord::Unable(why) => Err(SandboxError::Launch(why)),
        _ => Err(SandboxError::Launch("it said something else first".to_owned())),
    }
}

/// Reads what the spawner says until it ends, then reaps it.
async fn read(shared: Arc<Shared>, mut receiver: Receiver, mut child: Child) {
    while let Ok(Some(message)) = shared.link.receive(&mut receiver).await {
        let Ok(word) = wire::decode::<SpawnerWord>(&message.body) else { break };
        match word {
            SpawnerWord::Answer { serial, result } => {
                let seat = match &result {
                    Ok(Answer::Taken(taken)) => {
                        shared.fates.lock().insert(taken.seat, Arc::new(Fate::new()));
                        Some(taken.seat)
                    }
                    _ => None,
                };
                let unwanted = shared.waiting.resolve(serial, (result, message.descriptors)).is_some();
                if let (true, Some(seat)) = (unwanted, seat) {
                    shared.tell(SpawnerCall::End { seat });
                }
            }
            SpawnerWord::Ended { seat, out_of_memory } => {
                if let Some(fate) = shared.fates.lock().remove(&seat) {
                    fate.settle(out_of_memory);
                }
            }
            SpawnerWord::Orphan { pid, status } => shared.orphans.lock().ended(pid, status),
            SpawnerWord::Ready(..) | SpawnerWord::Unable(_) => {}
        }
    }
    shared.gone.store(true, Ordering::Release);
    shared.waiting.close();
    for (_, fate) in shared.fates.lock().drain() {
        fate.settle(false);
    }
    *shared.orphans.lock() = Orphans::default();
    // It has closed its end, so it is ending; the wait is for its last steps.
    let _ = tokio::task::spawn_blocking(move || child.wait()).await;
    shared.went.notify_waiters();
}
