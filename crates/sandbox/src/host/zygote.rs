//! The handle to a zygote.
//!
//! The other side is `zygote.py` ([`ZYGOTE_PYTHON`](crate::ZYGOTE_PYTHON)), or whatever speaks as it does: one message per sandbox with descriptors of
//! namespaces, control groups, rules and streams, one answer with a process id.

use super::{
    ANSWER_DEADLINE,
    process::Process,
    sandbox::Sandbox,
    spawner::{Spawner, unexpected},
};
use crate::{
    Exec, SandboxError, Stream,
    channel::{self, Link, Receiver},
    inside::{confine, seccomp},
    wire::{self, Answer, SpawnerCall},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Mutex;

/// The variable that tells a zygote which descriptor its control socket is.
const VARIABLE: &str = "XEBEC_ZYGOTE";

/// A program outside any sandbox that is forked into sandboxes once it is warm: an interpreter that has
/// loaded what functions usually need. It has the spawner's rights until it forks, so it must run trusted code
/// only; the child gives them up, and is confined as everything else in the sandbox is, before it runs anything
/// of the function's. Cheap to clone; it ends when the last clone is dropped.
///
/// It sees the host's files, the child the sandbox's: what it may load later must be bound to the same paths.
#[derive(Clone, Debug)]
pub struct Zygote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spawner: Spawner,
    link: Link,
    /// One fork at a time, question and answer.
    turn: Mutex<Receiver>,
    gone: AtomicBool,
    filter: OwnedFd,
}

/// What a child is to be.
#[derive(Serialize)]
struct Fork<'a> {
    argv: &'a [String],
    variables: BTreeMap<&'a str, &'a str>,
    directory: PathBuf,
    user: u32,
    files: u64,
    /// Limits that no control group sets: resource and most.
    limits: Vec<(i32, u64)>,
    /// What the descriptors are, in their order.
    names: Vec<&'static str>,
}

/// What a zygote says.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    ready: bool,
    pid: Option<i32>,
    error: Option<String>,
}

impl Zygote {
    pub(super) async fn start(spawner: &Spawner, exec: Exec) -> Result<Self, SandboxError> {
        let (ours, theirs) = channel::pair()?;
        let what = format!("start the zygote {:?}", exec.argv.first().map_or("", String::as_str));
        let own = (VARIABLE.to_owned(), "3".to_owned());
        let variables = exec.variables.into_iter().chain([own]);
        let call = SpawnerCall::Zygote {
            argv: exec.argv,
            variables: variables.map(|(name, value)| format!("{name}={value}")).collect(),
            directory: exec.directory,
        };
        let answer = spawner.call_with(&what, call, &[theirs.as_fd()]).await?;
        drop(theirs);
        let Answer::Zygote = answer.0 else { return Err(unexpected(&what)) };
        let mut receiver = Receiver::new();
        let link = Link::new(ours)?;
        let filter = filter_file()?;
        match hear(&link, &mut receiver).await {
            Ok(Said { ready: true, .. }) => {}
            Ok(_) => return Err(SandboxError::Failed { what, why: "it is not a zygote".to_owned() }),
            Err(error) => return Err(SandboxError::Failed { what, why: error.to_string() }),
        }
        let turn = Mutex::new(receiver);
        Ok(Self(Arc::new(Inner {
            spawner: spawner.clone(),
            link,
            turn,
            gone: AtomicBool::new(false),
            filter,
        })))
    }

    /// Forks it into a sandbox. `exec` says what [`Sandbox::spawn`] would be told; its arguments go to the
    /// function that the zygote runs in its children.
    ///
    /// # Errors
    /// [`SandboxError::Failed`] with what the child could not do, [`SandboxError::Ended`].
    pub async fn fork_into(&self, sandbox: &Sandbox, exec: Exec) -> Result<Process, SandboxError> {
        // A caller that gives up in between must not leave the answer to the next one: the exchange runs to
        // its end by itself, and a process that nobody takes is dropped, which kills it.
        let (zygote, sandbox) = (self.clone(), sandbox.clone());
        let forking = tokio::spawn(async move { zygote.fork(&sandbox, exec).await });
        forking.await.map_err(|error| io::Error::other(error.to_string()))?
    }

    async fn fork(&self, sandbox: &Sandbox, exec: Exec) -> Result<Process, SandboxError> {
        let failed = |why: String| SandboxError::Failed { what: "fork the zygote".to_owned(), why };
        let (streams, ends) = sandbox.streams(&exec)?;
        let (namespaces, groups) = tokio::try_join!(sandbox.namespaces(), sandbox.groups())?;
        let extra: Vec<_> = exec.descriptors.iter().map(|descriptor| ("extra", descriptor.as_fd())).collect();
        let kinds = [("stdin", exec.stdin), ("stdout", exec.stdout), ("stderr", exec.stderr)];
        let piped = kinds.iter().filter(|(_, kind)| *kind == Stream::Pipe).map(|(name, _)| *name);
        let mut given: Vec<(&'static str, std::os::fd::BorrowedFd<'_>)> =
            vec![("filter", self.0.filter.as_fd())];
        given.extend(namespaces.iter().map(|(name, descriptor)| (*name, descriptor.as_fd())));
        given.extend(groups.iter().map(|descriptor| ("group", descriptor.as_fd())));
        given.extend(piped.zip(ends.iter().map(AsFd::as_fd)));
        if exec.stderr == Stream::Combined
            && let Some((_, stdout)) = given.iter().copied().find(|(name, _)| *name == "stdout")
        {
            given.push(("stderr", stdout));
        }
        given.extend(extra);

        let (variables, directory) = sandbox.surroundings();
        let fork = Fork {
            argv: &exec.argv,
            variables: variables
                .iter()
                .chain(&exec.variables)
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            directory: exec.directory.clone().unwrap_or_else(|| directory.to_owned()),
            user: sandbox.user_inside(),
            files: confine::MAX_FILES,
            limits: sandbox.limits_without_groups(),
            names: given.iter().map(|(name, _)| *name).collect(),
        };
        let descriptors: Vec<_> = given.iter().map(|(_, descriptor)| *descriptor).collect();
        let said =
            self.ask(&wire::encode(&fork)?, &descriptors).await.map_err(|error| failed(error.to_string()))?;
        let pid = said
            .pid
            .ok_or_else(|| failed(said.error.unwrap_or_else(|| "no process came of it".to_owned())))?;
        let exit = self.0.spawner.orphan(pid);
        sandbox.adopt(pid, exit, streams)
    }

    /// Whether it still runs.
    pub fn alive(&self) -> bool {
        !self.0.gone.load(Ordering::Relaxed) && self.0.spawner.alive()
    }

    /// One question and its answer.
    async fn ask(&self, message: &[u8], descriptors: &[std::os::fd::BorrowedFd<'_>]) -> io::Result<Said> {
        let mut receiver = self.0.turn.lock().await;
        self.0.link.send(message, descriptors).await?;
        let said = hear(&self.0.link, &mut receiver).await;
        if said.is_err() {
            self.0.gone.store(true, Ordering::Relaxed);
        }
        said
    }
}

async fn hear(link: &Link, receiver: &mut Receiver) -> io::Result<Said> {
    let message = tokio::time::timeout(ANSWER_DEADLINE, link.receive(receiver)).await;
    let message = message.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 20 s"))??;
    wire::decode(&message.ok_or_else(|| io::Error::other("it has ended"))?.body)
}

/// The filter on system calls, for those who cannot compile it.
fn filter_file() -> io::Result<OwnedFd> {
    let mut bytes = Vec::new();
    for line in seccomp::program()? {
        bytes.extend(line.code.to_ne_bytes());
        bytes.extend([line.jt, line.jf]);
        bytes.extend(line.k.to_ne_bytes());
    }
    let memory = rustix::fs::memfd_create("xebec-filter", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&bytes)?;
    Ok(file.into())
}
