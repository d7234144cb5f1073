//! The handle to a sandbox.

use super::{
    END_DEADLINE,
    calls::{Waiting, call},
    check::{check_bind, check_inside},
    fate::Fate,
    places::Places,
    process::{Kills, Process, not_started},
    spawner::Spawner,
    starter::{Started, Starter},
    usage::{Gauge, SandboxUsage},
};
use crate::{
    Bind, Exec, Network, SandboxError, SandboxExit, SandboxLimits, SandboxSpec, Stream,
    channel::{Link, MAX_BODY, Receiver},
    egress::{self, Way},
    inside::{confine, init::NAMESPACES},
    wire::{self, Fault, InitAnswer, InitCall, Place, SpawnerCall, Taken, start::pack_start},
};
use parking_lot::Mutex;
use rustix::{
    fs::MemfdFlags,
    io::ioctl_fionbio,
    pipe::{PIPE_BUF, PipeFlags},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::chown,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    net::{TcpSocket, TcpStream, UnixStream, unix::pipe},
    sync::oneshot,
};

/// How long a connection into a sandbox may take: nothing but a full queue inside delays it.
const CONNECT_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// A sandbox. Cheap to clone; dropping the last clone destroys it.
#[derive(Clone, Debug)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    seat: u32,
    spawner: Spawner,
    fate: Arc<Fate>,
    init: Arc<Init>,
    starter: Arc<Starter>,
    kills: Arc<Kills>,
    variables: BTreeMap<String, String>,
    directory: PathBuf,
    limits: Mutex<SandboxLimits>,
    user: u32,
    /// Where paths inside are found, where there is no root of its own.
    places: Option<Places>,
    /// A process was started: from now on nothing more of the host can be let in.
    started: AtomicBool,
    gauge: Gauge,
    run_directory: PathBuf,
    /// Keeps `run_directory` valid.
    _run: OwnedFd,
    way_out: Option<Way>,
}

#[derive(Debug)]
struct Init {
    link: Link,
    waiting: Waiting<Result<(), Fault>>,
}

impl Sandbox {
    /// Makes a handle of what the spawner handed over, and the sandbox what its specification says.
    pub(super) async fn take_over(
        spawner: Spawner,
        spec: SandboxSpec,
        taken: Taken,
        descriptors: Vec<OwnedFd>,
        fate: Arc<Fate>,
    ) -> Result<Self, SandboxError> {
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(SandboxError::SpawnerGone);
        let init = Arc::new(Init { link: Link::new(next()?)?, waiting: Waiting::new() });
        let starter = Arc::new(Starter::new(next()?)?);
        let run = next()?;
        let tunnel = if taken.tunnel { Some(next()?) } else { None };
        let way_out = match (spec.network, tunnel) {
            (Network::Outward, Some(tunnel)) => Some(egress::open(tunnel)?),
            // Closing a tunnel's descriptor takes the tunnel away, and the way out with it.
            _ => None,
        };
        // Both end when their other ends do; a process's exit is told even when this handle is gone by then.
        tokio::spawn(Arc::clone(&init).read());
        tokio::spawn(Arc::clone(&starter).read());
        let sandbox = Self(Arc::new(Inner {
            id: spec.id,
            seat: taken.seat,
            gauge: Gauge::of(&taken),
            spawner,
            fate,
            init,
            starter,
            kills: Arc::new(Kills::new(taken.kills_file)),
            variables: spec.variables,
            directory: spec.directory.unwrap_or_else(|| PathBuf::from("/")),
            limits: Mutex::new(spec.limits),
            user: taken.user,
            places: taken.bare_root.map(Places::new),
            started: AtomicBool::new(false),
            run_directory: PathBuf::from(format!("/proc/self/fd/{}", run.as_raw_fd())),
            _run: run,
            way_out,
        }));
        tokio::try_join!(
            sandbox.attach(&spec.binds, descriptors.collect()),
            sandbox.limit_inside(&spec.limits)
        )?;
        Ok(sandbox)
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Where a path inside is found, as its processes must name it: the same, unless the sandbox has no root
    /// of its own ([`Enforcement::own_root`](crate::Enforcement::own_root)). Commands and variables are
    /// rewritten by themselves; what is told to a process otherwise must be translated first.
    pub fn translate(&self, inside: &Path) -> PathBuf {
        self.0.places.as_ref().map_or_else(|| inside.to_owned(), |places| places.translate(inside))
    }

    /// Starts a process inside.
    ///
    /// # Errors
    /// [`SandboxError::NoProgram`] where there is none to start, [`SandboxError::Ended`].
    pub async fn spawn(&self, mut exec: Exec) -> Result<Process, SandboxError> {
        let inner = &self.0;
        if let Some(places) = &inner.places {
            places.translate_exec(&mut exec, &inner.variables, &inner.directory);
            inner.started.store(true, Ordering::Relaxed);
        }
        let (streams, ends) = self.streams(&exec)?;
        let pack = |serial| pack_start(serial, &exec, &inner.variables, &inner.directory);
        match inner.starter.start(pack, ends, &exec.descriptors).await {
            Ok(Ok(started)) => Ok(self.process(started, streams)),
            Ok(Err((step, errno))) => Err(not_started(step, errno, &exec, &inner.directory)),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Err(SandboxError::Invalid(error.to_string()))
            }
            Err(error) => Err(self.ended_or(error).await),
        }
    }

    fn process(&self, started: Started, streams: Streams) -> Process {
        let (fate, kills) = (Arc::clone(&self.0.fate), Arc::clone(&self.0.kills));
        Process::new(started, fate, kills, (streams.stdin, streams.stdout, streams.stderr))
    }

    /// A process's streams: our ends, and its own.
    pub(super) fn streams(&self, exec: &Exec) -> io::Result<(Streams, Vec<OwnedFd>)> {
        let mut ends = Vec::with_capacity(3);
        let mut streams = Streams::default();
        if exec.stdin == Stream::Pipe {
            let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
            let known = exec.input.as_ref();
            if known.map(|input| fill(&ours, input)).transpose()? != Some(true) {
                streams.stdin = Some(pipe::Sender::from_owned_fd(ours)?);
            }
            ends.push(theirs);
        }
        for (stream, kept) in [(exec.stdout, &mut streams.stdout), (exec.stderr, &mut streams.stderr)] {
            if stream == Stream::Pipe {
                let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
                ioctl_fionbio(&ours, true).map_err(io::Error::from)?;
                *kept = Some(pipe::Receiver::from_owned_fd_unchecked(ours)?);
                ends.push(theirs);
            }
        }
        Ok((streams, ends))
    }

    /// A process that a zygote brought: `pid` as the host sees it, and where its end will be told.
    pub(super) fn adopt(
        &self,
        pid: i32,
        end: oneshot::Receiver<i32>,
        streams: Streams,
    ) -> Result<Process, SandboxError> {
        // The last of its ids is the innermost. Where it has ended already, there is nothing to be killed.
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let inside = ids.and_then(|ids| ids.split_whitespace().last()?.parse().ok()).unwrap_or(i32::MAX);
        Ok(self.process(Started::brought(inside, Arc::clone(&self.0.starter), end), streams))
    }

    /// Its namespaces by name, and landlock's rules.
    pub(super) async fn namespaces(&self) -> Result<Vec<(&'static str, OwnedFd)>, SandboxError> {
        let descriptors = self.ask(|| "open its namespaces".to_owned(), InitCall::Namespaces, &[]).await?;
        let user = self.0.spawner.abilities().user_namespaces;
        let names = NAMESPACES.into_iter().filter(|name| user || *name != "user").chain(["landlock"]);
        Ok(names.zip(descriptors).collect())
    }

    /// What puts a process into its control groups.
    pub(super) async fn groups(&self) -> Result<Vec<OwnedFd>, SandboxError> {
        Ok(self.0.spawner.call("open its control groups", SpawnerCall::Groups { seat: self.0.seat }).await?.1)
    }

    /// What its processes start with: variables and directory.
    pub(super) fn surroundings(&self) -> (&BTreeMap<String, String>, &Path) {
        (&self.0.variables, &self.0.directory)
    }

    /// The user that its processes are, as they see it.
    pub(super) fn user_inside(&self) -> u32 {
        if self.0.spawner.abilities().user_namespaces { confine::USER_INSIDE } else { self.0.user }
    }

    /// Limits that no control group sets: resource and most.
    pub(super) fn limits_without_groups(&self) -> Vec<(i32, u64)> {
        let (data, processes) = self.0.spawner.abilities().without_groups(&self.0.limits.lock());
        let data = data.map(|bytes| (libc::RLIMIT_DATA as i32, bytes));
        let processes = processes.map(|most| (libc::RLIMIT_NPROC as i32, most));
        data.into_iter().chain(processes).collect()
    }

    /// Adds a bind.
    ///
    /// # Errors
    /// [`SandboxError::Failed`] where the host's path is not there or the place inside cannot be made.
    pub async fn bind(&self, bind: Bind) -> Result<(), SandboxError> {
        check_bind(&bind, self.0.spawner.abilities().landlock)?;
        if self.0.places.is_some() {
            return self.bring(&bind).await;
        }
        let mounts = SpawnerCall::Mounts { seat: self.0.seat, binds: vec![bind.clone()] };
        let (_, descriptors) = self.0.spawner.call("bind a path of the host", mounts).await?;
        self.attach(&[bind], descriptors).await
    }

    /// Sets what it may use, from now on.
    ///
    /// # Errors
    /// [`SandboxError::Failed`], e.g. where it holds more memory than that already.
    pub async fn set_limits(&self, limits: SandboxLimits) -> Result<(), SandboxError> {
        self.0.spawner.call("set limits", SpawnerCall::Limit { seat: self.0.seat, limits }).await?;
        self.limit_inside(&limits).await
    }

    /// Writes a file inside, whole or not at all. It belongs to the sandbox's user and has this mode.
    ///
    /// # Errors
    /// [`SandboxError::Failed`] where it cannot be written there; [`SandboxError::Invalid`].
    pub async fn write_file(&self, inside: &Path, contents: &[u8], mode: u32) -> Result<(), SandboxError> {
        check_inside(inside)?;
        if contents.len() > MAX_BODY {
            return Err(SandboxError::Invalid(format!("{} is larger than 64 MiB", inside.display())));
        }
        let memory = rustix::fs::memfd_create("xebec-file", MemfdFlags::CLOEXEC).map_err(io::Error::from)?;
        let mut memory = File::from(memory);
        memory.write_all(contents)?;
        let write = InitCall::Write { path: self.place(inside)?, mode: mode & 0o777 };

        let what = || format!("write {}", inside.display());
        self.ask(what, write, &[&OwnedFd::from(memory)]).await.map(drop)
    }

    /// The directory that is `/run/xebec` inside, as this process (and no other) can name it: for sockets
    /// that either side listens on. It is a small tmpfs; what this process makes in it belongs to its own
    /// user, so a socket must be opened to others (mode 666) before the function can connect to it.
    pub fn run_directory(&self) -> &Path {
        &self.0.run_directory
    }

    /// Connects to `127.0.0.1:port` inside.
    ///
    /// # Errors
    /// [`SandboxError::System`] with `ConnectionRefused` where nothing listens; [`SandboxError::Ended`].
    pub async fn connect(&self, port: u16) -> Result<TcpStream, SandboxError> {
        let descriptors = self.ask(|| "open a socket inside".to_owned(), InitCall::Socket, &[]).await?;
        let socket =
            descriptors.into_iter().next().ok_or(io::ErrorKind::InvalidData).map_err(io::Error::from)?;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        let connecting = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let stream = tokio::time::timeout(CONNECT_DEADLINE, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Connects to a Unix socket by its path inside.
    ///
    /// # Errors
    /// [`SandboxError::System`] with `NotFound` or `ConnectionRefused` where nothing listens;
    /// [`SandboxError::Ended`].
    pub async fn connect_socket(&self, inside: &Path) -> Result<UnixStream, SandboxError> {
        check_inside(inside)?;
        let connect = InitCall::Connect { path: self.translate(inside) };

        let descriptors = self.ask(|| format!("connect to {}", inside.display()), connect, &[]).await?;
        let socket =
            descriptors.into_iter().next().ok_or(io::ErrorKind::InvalidData).map_err(io::Error::from)?;
        Ok(UnixStream::from_std(socket.into())?)
    }

    /// Signals every process of the function's.
    ///
    /// # Errors
    /// [`SandboxError::Ended`].
    pub async fn signal_all(&self, signal: i32) -> Result<(), SandboxError> {
        if signal == libc::SIGKILL {
            self.kill();
            return Ok(());
        }
        self.ask(|| format!("send signal {signal}"), InitCall::Signal { signal }, &[]).await.map(drop)
    }

    /// Ends it: kills and reaps all of it and gives back what it held. Does not wait.
    pub fn kill(&self) {
        self.0.end();
    }

    /// Completes when all of it is gone. Any number of waiters, also late ones.
    pub async fn exited(&self) -> SandboxExit {
        self.0.fate.wait().await
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<SandboxExit> {
        self.0.fate.now()
    }

    /// What it uses, where a control group counts or lists its processes. `None` also once it has ended.
    pub fn usage(&self) -> Option<SandboxUsage> {
        if self.ended().is_some() {
            return None;
        }
        self.0.gauge.read()
    }

    /// Whether it has a way out of its network.
    pub fn has_way_out(&self) -> bool {
        self.0.way_out.is_some()
    }

    /// Ends it and waits until all of it is gone.
    pub async fn destroy(&self) {
        self.0.end();
        if tokio::time::timeout(END_DEADLINE, self.exited()).await.is_err() {
            tracing::warn!(sandbox = %self.0.id, "a sandbox did not end within 10 s");
        }
    }

    async fn attach(&self, binds: &[Bind], mounts: Vec<OwnedFd>) -> Result<(), SandboxError> {
        if self.0.places.is_some() {
            for bind in binds {
                self.bring(bind).await?;
            }
            return Ok(());
        }
        if binds.is_empty() {
            return Ok(());
        }
        let places =
            binds.iter().map(|bind| Place { inside: bind.inside.clone(), directory: bind.host.is_dir() });
        let attach = InitCall::Attach { places: places.collect() };
        self.ask(|| "attach a bind".to_owned(), attach, &mounts.iter().collect::<Vec<_>>()).await.map(drop)
    }

    /// A bind where there is no root of its own.
    async fn bring(&self, bind: &Bind) -> Result<(), SandboxError> {
        let what = || format!("bind {}", bind.host.display());
        let failed = |error: io::Error| SandboxError::Failed { what: what(), why: error.to_string() };
        let same = bind.host == bind.inside;
        if same || bind.writable {
            if self.0.started.load(Ordering::Relaxed) {
                let why =
                    "without a root of its own, a sandbox takes such binds before its first process only";
                return Err(SandboxError::Failed { what: what(), why: why.to_owned() });
            }
            std::fs::metadata(&bind.host).map_err(failed)?;
            if bind.writable && self.0.spawner.abilities().own_ids {
                chown(&bind.host, Some(self.0.user), Some(self.0.user)).map_err(failed)?;
            }
            self.0.starter.allow(&bind.host, bind.writable);
        }
        let (sandbox, copied) = (self.clone(), bind.clone());
        let work = move || match &sandbox.0.places {
            Some(places) if same => {
                places.keep(&copied.inside);
                Ok(())
            }
            Some(places) => places.bring(&copied),
            None => Ok(()),
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| failed(io::Error::other(error)))?
            .map_err(failed)
    }

    /// Where a path inside is to be made, or found.
    fn place(&self, inside: &Path) -> Result<PathBuf, SandboxError> {
        match &self.0.places {
            None => Ok(inside.to_owned()),
            Some(places) => places.make(inside).map_err(|error| SandboxError::Invalid(error.to_string())),
        }
    }

    /// Sets the limits that the init sees to.
    async fn limit_inside(&self, limits: &SandboxLimits) -> Result<(), SandboxError> {
        *self.0.limits.lock() = *limits;
        let (data_bytes, processes) = self.0.spawner.abilities().without_groups(limits);
        if limits.scratch_bytes.is_none() && data_bytes.is_none() && processes.is_none() {
            return Ok(());
        }
        let limit = InitCall::Limit { scratch_bytes: limits.scratch_bytes, data_bytes, processes };
        self.ask(|| "set limits".to_owned(), limit, &[]).await.map(drop)
    }

    async fn ask(
        &self,
        what: impl FnOnce() -> String,
        request: InitCall,
        descriptors: &[&OwnedFd],
    ) -> Result<Vec<OwnedFd>, SandboxError> {
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        match call(&self.0.init.link, &self.0.init.waiting, request, &descriptors).await {
            Ok((Ok(()), descriptors)) => Ok(descriptors),
            Ok((Err(fault), _)) => Err(match fault.errno {
                Some(errno @ (libc::ECONNREFUSED | libc::ENOENT | libc::EAGAIN)) => {
                    io::Error::from_raw_os_error(errno).into()
                }
                _ => SandboxError::Failed { what: what(), why: fault.what },
            }),
            Err(error) => Err(self.ended_or(error).await),
        }
    }

    /// Why the other side fell silent: mostly because the sandbox has ended, which is known a moment later.
    async fn ended_or(&self, error: io::Error) -> SandboxError {
        if error.kind() != io::ErrorKind::BrokenPipe {
            return error.into();
        }
        self.0.end();
        match tokio::time::timeout(END_DEADLINE, self.exited()).await {
            Ok(exit) => SandboxError::Ended(exit),
            Err(_) => error.into(),
        }
    }
}

#[derive(Default)]
pub(super) struct Streams {
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

impl Inner {
    fn end(&self) {
        if self.fate.now().is_none() && self.fate.request() {
            self.spawner.tell(SpawnerCall::End { seat: self.seat });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

impl Init {
    /// Reads answers until the init ends.
    async fn read(self: Arc<Self>) {
        let mut receiver = Receiver::new();
        while let Ok(Some(message)) = self.link.receive(&mut receiver).await {
            let Ok(answer) = wire::decode::<InitAnswer>(&message.body) else { break };
            self.waiting.resolve(answer.serial, (answer.result, message.descriptors));
        }
        self.waiting.close();
    }
}

/// Writes `input` into an empty pipe if that can hold it.
fn fill(pipe: &OwnedFd, input: &[u8]) -> io::Result<bool> {
    if input.len() > PIPE_BUF && input.len() > rustix::pipe::fcntl_getpipe_size(pipe)? {
        return Ok(false);
    }
    let mut rest = input;
    while !rest.is_empty() {
        let written = rustix::io::write(pipe, rest)?;
        rest = &rest[written..];
    }
    Ok(true)
}
