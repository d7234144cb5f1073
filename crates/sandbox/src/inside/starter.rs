//! The starter: a sandbox's second process. It is as confined as what it starts – user, system calls, files,
//! limits – so that starting a program costs no more than a `vfork` and an `exec` would cost inside anyway.
//! It has a socket straight to the server.

use super::{
    confine, landlock, root,
    vfork::{FIRST_FREE, Vfork},
};
use crate::{
    channel::{self, Receiver},
    wire::start::{StarterCall, StarterWord, Step},
};
use nix::{
    errno::Errno,
    sys::{
        signal::{SigHandler, SigSet, Signal, kill, signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    collections::HashSet,
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
};

/// How often a tree is looked through for what it started meanwhile.
const KILL_ROUNDS: usize = 16;

/// What a sandbox without a root of its own is held to.
pub(crate) struct Fence {
    pub(crate) root: PathBuf,
    pub(crate) allowed: Vec<(PathBuf, bool)>,
}

struct Starter {
    socket: OwnedFd,
    vfork: Vfork,
    /// Rules to be applied before the first process is started, where those could not be made earlier.
    fence: Option<Fence>,
    /// Processes that we started.
    running: HashSet<i32>,
    /// Processes that zygotes brought.
    adopted: HashSet<i32>,
    own_pids: bool,
}

/// What is ignored stays so in every program that we start: SIGPIPE by Rust's runtime, SIGHUP and SIGINT by
/// whoever started the server in the background.
fn heed_all_signals() -> io::Result<()> {
    for each in Signal::iterator().filter(|each| !matches!(each, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: sets a default disposition; no handler of ours is involved.
        unsafe { signal(each, SigHandler::SigDfl)? };
    }
    Ok(())
}

/// Runs until the server's end closes. With a fence, we are not in a pid namespace of the sandbox's own.
pub(crate) fn run(socket: OwnedFd, fence: Option<Fence>) -> io::Result<()> {
    let own_pids = fence.is_none();
    let socket = reserve_low_descriptors(socket)?;
    // Signals to every process inside are not for the starter. What it starts begins with none blocked.
    SigSet::all().thread_block()?;
    heed_all_signals()?;
    // What its parent leaves behind comes to us. So to have no children means that nothing was left, which is
    // much cheaper to ask than to look at every process there is.
    confine::adopt_orphans()?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    let children = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let vfork = Vfork::new(!own_pids);
    let (running, adopted) = (HashSet::new(), HashSet::new());
    let mut starter = Starter { socket, vfork, fence, running, adopted, own_pids };
    let mut receiver = Receiver::new();
    loop {
        let (heard, ended) = {
            let mut sources =
                [PollFd::new(&starter.socket, PollFlags::IN), PollFd::new(&children, PollFlags::IN)];
            match poll(&mut sources, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            (!sources[0].revents().is_empty(), !sources[1].revents().is_empty())
        };
        if ended {
            while let Ok(Some(_)) = children.read_signal() {}
            starter.tell_exits()?;
        }
        if heard {
            let Some(message) = receiver.receive(&starter.socket)? else { return Ok(()) };
            if let Some(call) = StarterCall::unpack(&message.body) {
                starter.answer(call, message.descriptors)?;
            }
        }
    }
}

/// Puts `/dev/null` onto every number that a program's own descriptors will have, and returns the socket under
/// a higher one: what comes in later is then never in a program's way.
fn reserve_low_descriptors(socket: OwnedFd) -> io::Result<OwnedFd> {
    let high = |low: OwnedFd| rustix::io::fcntl_dupfd_cloexec(&low, FIRST_FREE);
    let socket = high(socket)?;
    let null = high(fs::File::options().read(true).write(true).open("/dev/null")?.into())?;
    for number in 0..FIRST_FREE {
        let flags = if number < 3 { 0 } else { libc::O_CLOEXEC };
        // SAFETY: nobody in this process owns one of these numbers any more.
        if unsafe { libc::dup3(null.as_raw_fd(), number, flags) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(socket)
}

impl Starter {
    fn answer(&mut self, call: StarterCall, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        match call {
            StarterCall::Start(start) => {
                let serial = start.serial;
                if let Err(error) = self.close_fence() {
                    let errno = error.raw_os_error().unwrap_or(libc::EPERM);
                    return self.say(&[StarterWord::Failed { serial, step: Step::Fork, errno }]);
                }
                match self.vfork.start(&start, &descriptors) {
                    Ok(pid) => {
                        self.running.insert(pid);
                        // Before we say anything: once the program has ended, its output has, too.
                        drop(descriptors);
                        // It may have ended before it was our turn again: then the server hears both at once.
                        let mut words = vec![StarterWord::Started { serial, pid }];
                        self.reap(&mut words);
                        self.say(&words)
                    }
                    Err((step, errno)) => self.say(&[StarterWord::Failed { serial, step, errno }]),
                }
            }
            StarterCall::Kill { pid } => {
                self.kill_tree(pid);
                Ok(())
            }
            StarterCall::Adopt { pid } => {
                self.adopted.insert(pid);
                Ok(())
            }
            StarterCall::Allow { path, writable } => {
                if let Some(fence) = &mut self.fence {
                    fence.allowed.push((path, writable));
                }
                Ok(())
            }
        }
    }

    fn close_fence(&mut self) -> io::Result<()> {
        let Some(fence) = &self.fence else { return Ok(()) };
        if let Some(rules) = landlock::bare(&fence.root, &root::BARE_WRITTEN, &fence.allowed)? {
            confine::restrict(rules.as_fd())?;
        }
        self.fence = None;
        Ok(())
    }

    fn say(&self, words: &[StarterWord]) -> io::Result<()> {
        if words.is_empty() {
            return Ok(());
        }
        match channel::send(self.socket.as_fd(), &StarterWord::pack_all(words), &[]) {
            // The server went away: the next receive says so.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    fn tell_exits(&mut self) -> io::Result<()> {
        let mut words = Vec::new();
        self.reap(&mut words);
        self.say(&words)
    }

    /// Reaps what has ended, and adds what is to be said of it.
    fn reap(&mut self, words: &mut Vec<StarterWord>) {
        let mut ended = Vec::new();
        let any_left = reap_all(|pid, status| ended.push((pid, status)));
        for (pid, status) in ended {
            if self.running.remove(&pid) {
                // What it left running would be a child of ours now.
                let leftovers = any_left && self.leftovers(pid);
                words.push(StarterWord::Exited { pid, status, leftovers });
            }
        }
    }

    /// Whether something that the process started may still run.
    fn leftovers(&mut self, pid: i32) -> bool {
        let group = kill(Pid::from_raw(-pid), None).is_ok();
        // With nothing else to run, whatever runs was left behind: also what made a session of its own.
        group || (self.own_pids && !self.runs_beside(pid) && kill(Pid::from_raw(-1), None).is_ok())
    }

    /// Whether anything runs that is not part of that process.
    fn runs_beside(&mut self, pid: i32) -> bool {
        // Nobody tells us when those end that were adopted.
        self.adopted.retain(|process| kill(Pid::from_raw(*process), None).is_ok());
        self.running.iter().chain(&self.adopted).any(|other| *other != pid)
    }

    fn kill_tree(&mut self, pid: i32) {
        if self.own_pids && !self.runs_beside(pid) {
            // Every process of ours but ourselves, in one step that no fork can slip through.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            return;
        }
        let mut sessions = HashSet::from([pid]);
        for _ in 0..KILL_ROUNDS {
            let others: HashSet<i32> = self.running.union(&self.adopted).copied().collect();
            let tree = tree(pid, &mut sessions, &others);
            if tree.is_empty() {
                break;
            }
            for member in tree {
                let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
            }
            // So that children of ours do not look alive; their exit is told as any other.
            let _ = self.tell_exits();
        }
        // Whatever hid from `/proc`. Only now: while its root lives, a tree holds together.
        if self.running.contains(&pid) || self.adopted.contains(&pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = kill(Pid::from_raw(-pid), Signal::SIGKILL);
    }
}

/// What lives of a process's tree: itself, its descendants, and whoever is in one of their sessions. Sessions
/// are remembered, since a child whose parent is gone can be told by nothing else.
fn tree(root: i32, sessions: &mut HashSet<i32>, running: &HashSet<i32>) -> Vec<i32> {
    let processes = processes();
    let mut members = HashSet::from([root]);
    loop {
        let before = members.len();
        for process in &processes {
            let others = process.pid != root && running.contains(&process.pid);
            let belongs = members.contains(&process.parent) || sessions.contains(&process.session);
            if belongs && !others && members.insert(process.pid) {
                sessions.insert(process.session);
            }
        }
        if members.len() == before {
            break;
        }
    }
    processes.iter().filter(|p| !p.zombie && members.contains(&p.pid)).map(|p| p.pid).collect()
}

/// Every process whose parents, however far up, include this one.
pub(crate) fn descendants(root: i32) -> Vec<i32> {
    let processes = processes();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(processes.iter().filter(|it| it.parent == parent && !it.zombie).map(|it| it.pid));
        next += 1;
    }
    found.split_off(1)
}

/// One line of `/proc`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    pub(crate) zombie: bool,
}

/// Every process that `/proc` shows.
pub(crate) fn processes() -> Vec<Listed> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// Reads `/proc/<pid>/stat`; the name in it may contain anything, so counting starts behind its last `)`.
fn parse_stat(pid: i32, stat: &str) -> Option<Listed> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Listed { pid, parent, session, zombie: matches!(state, "Z" | "X") })
}

/// Reaps whatever has ended, and tells each one's process id and wait status; `false` once there are no
/// children at all.
pub(crate) fn reap_all(mut ended: impl FnMut(i32, i32)) -> bool {
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for writing.
        match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
            0 => return true,
            pid if pid > 0 => ended(pid, status),
            _ if Errno::last() == Errno::EINTR => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_are_read_whatever_the_name() {
        let listed = parse_stat(7, "7 (a) b (c)) S 3 7 5 0 -1 4194560").unwrap();
        assert_eq!(listed, Listed { pid: 7, parent: 3, session: 5, zombie: false });
        assert!(parse_stat(7, "7 (x) Z 3 7 7 0").unwrap().zombie);
        assert!(parse_stat(7, "").is_none());
    }
}
