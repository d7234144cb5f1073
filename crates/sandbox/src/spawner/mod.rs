//! The spawner: a single-threaded process that makes sandboxes, hands them over, and cleans up behind them.
//!
//! It is this binary, executed again, so that it starts small and forks cheaply. It lives in a session of its
//! own, where no terminal's signal finds it, and ends when the server's end of its socket closes.

use crate::{
    SPAWNER_ARGUMENT,
    cgroup::Group,
    channel::{self, Message, Receiver},
    inside::{
        confine,
        starter::{self, reap_all},
    },
    mounts::{self, Access},
    spec::{Bind, SandboxLimits},
    wire::{self, Answer, Call, Launch, SpawnerCall, SpawnerWord, Taken},
};
use ground::Ground;
use nix::sys::{
    signal::{SigSet, Signal, kill},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use seat::{Ends, Seat};
use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::chown,
    },
    path::Path,
    time::{Duration, Instant},
};

mod ground;
mod identity;
pub(crate) mod network;
mod seat;
mod template;
mod zygote;

/// How long it must be quiet before another seat is made ahead.
const QUIET: Duration = Duration::from_millis(5);
/// How soon a group that the kernel has not let go of is tried again.
const AGAIN: Duration = Duration::from_millis(20);
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often what a sandbox left behind is looked for.
const ORPHAN_ROUNDS: usize = 1000;
/// After a seat could not be made ahead, how long until the next try.
const PAUSE: Duration = Duration::from_secs(1);

/// What the spawner runs; `main` calls it when the first argument is
/// [`SPAWNER_ARGUMENT`](crate::SPAWNER_ARGUMENT), before anything else.
pub fn spawner_main() -> ! {
    let code = match run() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{SPAWNER_ARGUMENT}: {error}");
            1
        }
    };
    std::process::exit(code)
}

fn run() -> io::Result<()> {
    let socket = take_standard_input()?;
    let _ = rustix::process::setsid();
    confine::name(c"xebec-spawner");
    confine::adopt_orphans()?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let children = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut receiver = Receiver::new();
    let Some(first) = receiver.receive(&socket)? else { return Ok(()) };
    let launch: Launch = wire::decode(&first.body)?;

    let mut spawner = match Spawner::prepare(&launch, socket.try_clone()?) {
        Ok(spawner) => spawner,
        Err(error) => return say(&socket, &SpawnerWord::Unable(error.to_string()), &[]),
    };
    spawner.say(&SpawnerWord::Ready(spawner.ground.enforcement(), spawner.ground.abilities()), &[])?;
    let result = spawner.serve(&children, &mut receiver);
    spawner.end_all();
    result
}

/// The server gave us its socket as standard input; nothing else of it is ours.
fn take_standard_input() -> io::Result<OwnedFd> {
    // SAFETY: plain numbers; nothing in this process owns a descriptor yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(socket)
}

fn say(socket: &OwnedFd, word: &SpawnerWord, descriptors: &[&OwnedFd]) -> io::Result<()> {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    match channel::send(socket, &wire::encode(word)?, &descriptors) {
        // The server is gone: the next receive says so.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

struct Spawner {
    socket: OwnedFd,
    ground: Ground,
    seats: HashMap<u32, Seat>,
    /// Numbers of the seats that are ready.
    spares: VecDeque<u32>,
    wanted: usize,
    next: u32,
    /// Groups that the kernel has not let go of yet.
    lingering: Vec<Group>,
    refill_after: Instant,
}

impl Spawner {
    fn prepare(launch: &Launch, socket: OwnedFd) -> io::Result<Self> {
        empty(&launch.run_directory)?;
        let mut spawner = Self {
            socket,
            ground: Ground::prepare(launch)?,
            seats: HashMap::new(),
            spares: VecDeque::new(),
            wanted: launch.spares as usize,
            next: 1,
            lingering: Vec::new(),
            refill_after: Instant::now(),
        };
        // The first seat shows whether all of this works.
        if let Err(error) = spawner.refill() {
            if !spawner.ground.give_up_user_namespaces(error.to_string()) {
                spawner.end_all();
                return Err(error);
            }
            spawner.refill()?;
        }
        Ok(spawner)
    }

    fn serve(&mut self, children: &SignalFd, receiver: &mut Receiver) -> io::Result<()> {
        loop {
            let timeout = self.timeout();
            let timeout =
                timeout.map(|it| Timespec { tv_sec: it.as_secs() as i64, tv_nsec: it.subsec_nanos().into() });
            let (quiet, heard, ended) = {
                let mut sources =
                    [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&children, PollFlags::IN)];
                let count = match poll(&mut sources, timeout.as_ref()) {
                    Ok(count) => count,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                };
                (count == 0, !sources[0].revents().is_empty(), !sources[1].revents().is_empty())
            };
            if ended {
                while let Ok(Some(_)) = children.read_signal() {}
                self.reap()?;
            }
            if heard {
                let Some(message) = receiver.receive(&self.socket)? else { return Ok(()) };
                let Call { serial, call } = wire::decode(&message.body)?;
                if matches!(call, SpawnerCall::Shutdown) {
                    return Ok(());
                }
                self.answer(serial, call, message)?;
            }
            if quiet {
                self.lingering.retain(|group| !group.remove());
                if self.spares.len() < self.wanted
                    && Instant::now() >= self.refill_after
                    && self.refill().is_err()
                {
                    self.refill_after = Instant::now() + PAUSE;
                }
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let refill = (self.spares.len() < self.wanted)
            .then(|| self.refill_after.saturating_duration_since(Instant::now()).max(QUIET));
        let linger = (!self.lingering.is_empty()).then_some(AGAIN);
        refill.into_iter().chain(linger).min()
    }

    fn say(&self, word: &SpawnerWord, descriptors: &[&OwnedFd]) -> io::Result<()> {
        say(&self.socket, word, descriptors)
    }

    fn refill(&mut self) -> io::Result<()> {
        let number = self.next;
        self.next += 1;
        let seat = seat::make(&mut self.ground, number)?;
        self.seats.insert(number, seat);
        self.spares.push_back(number);
        Ok(())
    }

    fn answer(&mut self, serial: u64, call: SpawnerCall, message: Message) -> io::Result<()> {
        let mut back = Vec::new();
        let result = self.carry_out(call, message, &mut back).map_err(|error| error.to_string());
        if result.is_err() {
            back.clear();
        }
        self.say(&SpawnerWord::Answer { serial, result }, &back.iter().collect::<Vec<_>>())
    }

    fn carry_out(
        &mut self,
        call: SpawnerCall,
        message: Message,
        back: &mut Vec<OwnedFd>,
    ) -> io::Result<Answer> {
        match call {
            SpawnerCall::Take { limits, binds } => self.take(&limits, &binds, back).map(Answer::Taken),
            SpawnerCall::Zygote { .. } if self.ground.template.is_none() => {
                Err(io::Error::other("without namespaces there is nothing to fork into"))
            }
            SpawnerCall::Mounts { seat, binds } => {
                let user = self.seat(seat)?.identity;
                copy_binds(&binds, user.own.then_some(user.user), back)?;
                Ok(Answer::Done)
            }
            SpawnerCall::Limit { seat, limits } => {
                self.seat(seat)?.group.limit(&limits)?;
                Ok(Answer::Done)
            }
            SpawnerCall::End { seat } => {
                if let Some(seat) = self.seats.get(&seat) {
                    end_seat(seat);
                }
                Ok(Answer::Done)
            }
            SpawnerCall::Groups { seat } => {
                back.extend(self.seat(seat)?.group.open()?);
                Ok(Answer::Done)
            }
            SpawnerCall::Zygote { argv, variables, directory } => {
                let control = message.descriptors.first().ok_or(io::ErrorKind::InvalidData)?;
                zygote::start(&argv, &variables, directory.as_deref(), control)?;
                Ok(Answer::Zygote)
            }
            SpawnerCall::Shutdown => Ok(Answer::Done),
        }
    }

    fn seat(&self, number: u32) -> io::Result<&Seat> {
        self.seats.get(&number).ok_or_else(|| io::Error::other("the sandbox has ended"))
    }

    fn take(&mut self, limits: &SandboxLimits, binds: &[Bind], back: &mut Vec<OwnedFd>) -> io::Result<Taken> {
        if self.spares.is_empty() {
            self.refill()?;
        }
        let number = self.spares.pop_front().ok_or_else(|| io::Error::other("no sandbox is to be had"))?;
        let taken = self.hand_over(number, limits, binds, back);
        if taken.is_err()
            && let Some(seat) = self.seats.get(&number)
        {
            end_seat(seat);
        }
        taken
    }

    fn hand_over(
        &mut self,
        number: u32,
        limits: &SandboxLimits,
        binds: &[Bind],
        back: &mut Vec<OwnedFd>,
    ) -> io::Result<Taken> {
        let seat = self.seats.get_mut(&number).ok_or_else(|| io::Error::other("the sandbox has ended"))?;
        seat.group.limit(limits)?;
        let Ends { init, starter, run, tunnel } =
            seat.ends.take().ok_or_else(|| io::Error::other("the sandbox was taken already"))?;
        let taken = Taken {
            seat: number,
            tunnel: tunnel.is_some(),
            bare_root: seat.bare_root.clone(),
            init: seat.init,
            user: seat.identity.user,
            cpu_file: seat.group.cpu_file(),
            memory_file: seat.group.memory_file(),
            processes_file: seat.group.processes_file(),
            kills_file: seat.group.kills_file(),
        };
        back.extend([init, starter, run].into_iter().chain(tunnel));
        if seat.bare_root.is_none() {
            copy_binds(binds, seat.identity.own.then_some(seat.identity.user), back)?;
        }
        Ok(taken)
    }

    /// Reaps inits that have ended, and clears up behind them. By then the kernel has ended all that ran in
    /// their pid namespaces.
    fn reap(&mut self) -> io::Result<()> {
        let mut ended = Vec::new();
        reap_all(|pid, status| ended.push((pid, status)));
        for (pid, status) in ended {
            let seat = self.seats.values().find(|seat| seat.init == pid);
            let Some(number) = seat.map(|seat| seat.number) else {
                self.say(&SpawnerWord::Orphan { pid, status }, &[])?;
                continue;
            };
            let Some(seat) = self.seats.remove(&number) else { continue };
            self.spares.retain(|spare| *spare != number);
            let out_of_memory = seat.group.kills() > 0;
            if let Some(root) = &seat.bare_root {
                self.end_orphans();
                let _ = fs::remove_dir_all(root);
            }
            self.ground.identities.give_back(seat.identity);
            if !seat.group.remove() {
                self.lingering.push(seat.group);
            }
            self.say(&SpawnerWord::Ended { seat: number, out_of_memory }, &[])?;
        }
        Ok(())
    }

    /// Without pid namespaces, what a sandbox's processes left behind when its init ended has become ours.
    fn end_orphans(&self) {
        let own = std::process::id() as i32;
        for _ in 0..ORPHAN_ROUNDS {
            let inits: Vec<i32> = self.seats.values().map(|seat| seat.init).collect();
            let orphans =
                starter::processes().into_iter().filter(|it| it.parent == own && !inits.contains(&it.pid));
            let mut any = false;
            for orphan in orphans {
                any = true;
                let _ = kill(nix::unistd::Pid::from_raw(orphan.pid), Signal::SIGKILL);
                // SAFETY: waits for a child of ours that cannot but end.
                unsafe { libc::waitpid(orphan.pid, std::ptr::null_mut(), 0) };
            }
            if !any {
                return;
            }
        }
    }

    /// Ends every sandbox and gives back what they held.
    fn end_all(&mut self) {
        self.seats.values().for_each(end_seat);
        let deadline = Instant::now() + FAREWELL;
        while !(self.seats.is_empty() && self.lingering.is_empty()) && Instant::now() < deadline {
            let _ = self.reap();
            self.lingering.retain(|group| !group.remove());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.ground.remove();
    }
}

fn end_seat(seat: &Seat) {
    let _ = kill(nix::unistd::Pid::from_raw(seat.init), Signal::SIGKILL);
}

/// Makes a mount for each bind. What may be written is given to the sandbox's own user, where it has one.
fn copy_binds(binds: &[Bind], user: Option<u32>, back: &mut Vec<OwnedFd>) -> io::Result<()> {
    for bind in binds {
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot bind {}: {error}", bind.host.display()))
        };
        if bind.writable {
            if let Some(user) = user {
                chown(&bind.host, Some(user), Some(user)).map_err(explain)?;
            }
            back.push(mounts::copy_tree(&bind.host, Access::Write).map_err(explain)?);
        } else {
            back.push(mounts::copy_tree(&bind.host, Access::Read).map_err(explain)?);
        }
    }
    Ok(())
}

/// Empties the spawner's directory of what an earlier one left.
fn empty(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}
