//! A *seat*: a sandbox made ahead. Its namespaces, network, group, root, init and starter are there; only its
//! binds, limits and variables are not. Handing one out is then a matter of a few mounts.

use super::{ground::Ground, identity::Identity};
use crate::{
    cgroup::Group,
    channel,
    inside::{
        confine,
        init::Init,
        landlock, root,
        starter::{self, Fence},
    },
    mounts,
};
use nix::unistd::{ForkResult, fork, pipe2};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

/// How long making one may take.
const DEADLINE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// What the run directory may hold.
const RUN_BYTES: u64 = 16 * 1024 * 1024;
/// What a starter reports once it is ready; anything else is why not.
const READY: &[u8] = b"ready";

pub(crate) struct Seat {
    pub(crate) number: u32,
    /// The init's process id, as the spawner sees it.
    pub(crate) init: i32,
    pub(crate) identity: Identity,
    pub(crate) group: Group,
    /// The server's ends, until they are handed over.
    pub(crate) ends: Option<Ends>,
    /// The directory that stands for its root, where it has none of its own.
    pub(crate) bare_root: Option<PathBuf>,
}

pub(crate) struct Ends {
    pub(crate) init: OwnedFd,
    pub(crate) starter: OwnedFd,
    pub(crate) run: OwnedFd,
    pub(crate) tunnel: Option<OwnedFd>,
}

/// What a new init gets.
struct Birth {
    init: OwnedFd,
    starter: OwnedFd,
    run: OwnedFd,
    gate: OwnedFd,
    report: OwnedFd,
}

/// Makes a seat.
pub(crate) fn make(ground: &mut Ground, number: u32) -> io::Result<Seat> {
    let identity = ground.identities.take()?;
    let bare_root = ground.bare_root(number);
    let made = ground.groups.make(&number.to_string()).and_then(|group| {
        match give_birth(ground, identity, &group, bare_root.as_deref()) {
            Ok((init, ends)) => Ok(Seat { number, init, identity, group, ends: Some(ends), bare_root }),
            Err(error) => {
                group.remove();
                Err(error)
            }
        }
    });
    if made.is_err() {
        ground.identities.give_back(identity);
    }
    made
}

fn give_birth(
    ground: &Ground,
    identity: Identity,
    group: &Group,
    bare_root: Option<&Path>,
) -> io::Result<(i32, Ends)> {
    let (init, init_inside) = channel::pair()?;
    let (starter, starter_inside) = channel::pair()?;
    let run = match bare_root {
        None => mounts::detached_tmpfs(RUN_BYTES, identity.user)?,
        Some(root) => {
            root::build_bare(root, identity.own.then_some(identity.user))?;
            File::open(root.join(root::RUN))?.into()
        }
    };
    let (gate, open_gate) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (reports, report) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let birth = Birth { init: init_inside, starter: starter_inside, run: run.try_clone()?, gate, report };

    let entered = ground.networks.as_ref().map(|networks| networks.enter()).transpose();
    let forked = entered.and_then(|tunnel| {
        let pid = fork_into(ground.namespaces())?;
        if pid == 0 {
            end(be_first(ground, identity, birth, bare_root));
        }
        Ok((pid, tunnel.flatten()))
    });
    if let Some(networks) = &ground.networks {
        networks.leave()?;
    }
    let (pid, tunnel) = forked?;

    let settled = (|| {
        if ground.user_namespaces {
            identity.map(pid)?;
        }
        group.add(pid)?;
        File::from(open_gate).write_all(b"!")?;
        wait_until_ready(reports)
    })();
    match settled {
        Ok(()) => Ok((pid, Ends { init, starter, run, tunnel })),
        Err(error) => {
            // SAFETY: ends and reaps a child of ours.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, std::ptr::null_mut(), 0);
            }
            Err(error)
        }
    }
}

/// `fork`, the child in new namespaces. The C library has no call for it.
fn fork_into(namespaces: libc::c_int) -> io::Result<i32> {
    // SAFETY: without CLONE_VM this is a fork, and this process has one thread: the child may go on as any.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(namespaces | libc::SIGCHLD), 0, 0, 0, 0) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid as i32) }
}

fn wait_until_ready(reports: OwnedFd) -> io::Result<()> {
    let mut said = Vec::new();
    let mut reports = File::from(reports);
    loop {
        let ready = poll(&mut [PollFd::new(&reports, PollFlags::IN)], Some(&DEADLINE))?;
        if ready == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a sandbox took more than 10 s to set up"));
        }
        let mut bytes = [0; 1024];
        match reports.read(&mut bytes)? {
            0 => break,
            count => said.extend_from_slice(&bytes[..count]),
        }
        if said == READY {
            return Ok(());
        }
    }
    Err(io::Error::other(match said.is_empty() {
        true => "its first process died".to_owned(),
        false => String::from_utf8_lossy(&said).into_owned(),
    }))
}

/// Leaves a forked process without running what only the spawner should.
fn end(result: io::Result<()>) -> ! {
    // SAFETY: ends this process at once.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

/// What a new init does first.
fn be_first(ground: &Ground, identity: Identity, birth: Birth, bare_root: Option<&Path>) -> io::Result<()> {
    let Birth { init, starter, run, gate, report } = birth;
    // First of all: as long as we hold the other end of the gate, or the spawner's socket, nobody could see
    // the spawner die.
    close_all_but(&[&init, &starter, &run, &gate, &report]);
    if File::from(gate).read(&mut [0])? == 0 {
        return Ok(());
    }
    let mut report = File::from(report);
    let born = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        set_up(ground, identity, run)?;
        let user = if ground.user_namespaces { confine::USER_INSIDE } else { identity.user };
        // SAFETY: this process has one thread.
        match unsafe { fork()? } {
            ForkResult::Child => {
                let report = OwnedFd::from(report.try_clone()?);
                close_all_but(&[&starter, &report]);
                end(be_second(ground, user, starter, File::from(report), bare_root));
            }
            ForkResult::Parent { child } => Ok(Init {
                socket: init,
                starter: child.as_raw(),
                user,
                user_namespace: ground.user_namespaces,
                landlock: ground.landlock,
                own_root: bare_root.is_none(),
            }),
        }
    }));
    let init: io::Result<Init> = born.unwrap_or_else(|_| Err(io::Error::other("a defect while setting up")));
    match init {
        Ok(init) => {
            drop(report);
            confine::hide_memory()?;
            init.run()
        }
        Err(error) => report.write_all(error.to_string().as_bytes()),
    }
}

fn set_up(ground: &Ground, identity: Identity, run: OwnedFd) -> io::Result<()> {
    confine::name(c"xebec-init");
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if ground.user_namespaces && identity.own {
        confine::become_root_inside()?;
    }
    // Not before: a change of user would clear it.
    confine::die_with_parent()?;
    match &ground.template {
        Some(template) => root::build(template, run)?,
        // Without a pid namespace, being its reaper is what keeps a sandbox's processes together.
        None => return confine::adopt_orphans(),
    }
    // Only a name; a sandbox works without.
    let _ = rustix::system::sethostname(b"sandbox");
    confine::no_new_privileges()
}

/// What a new starter does first.
fn be_second(
    ground: &Ground,
    user: u32,
    socket: OwnedFd,
    mut report: File,
    bare_root: Option<&Path>,
) -> io::Result<()> {
    let confined = (|| {
        confine::name(c"xebec-starter");
        confine::limit_always();
        let rules = if ground.landlock && bare_root.is_none() { landlock::own_root()? } else { None };
        if ground.template.is_some() || ground.own_ids {
            confine::become_user(user)?;
        }
        confine::die_with_parent()?;
        confine::no_new_privileges()?;
        if let Some(rules) = rules {
            confine::restrict(rules.as_fd())?;
        }
        confine::filter(&ground.filter)?;
        confine::hide_memory()
    })();
    match confined {
        Ok(()) => report.write_all(READY)?,
        Err(error) => {
            report.write_all(format!("cannot confine the starter: {error}").as_bytes())?;
            return Err(error);
        }
    }
    drop(report);
    starter::run(socket, bare_root.map(|root| Fence { root: root.to_owned(), allowed: Vec::new() }))
}

/// Closes every descriptor but the standard ones and those given. Rust's owners of the others are never
/// dropped: this process ends with `_exit`.
fn close_all_but(kept: &[&OwnedFd]) {
    let mut kept: Vec<RawFd> = kept.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for descriptor in kept.into_iter().chain([RawFd::MAX]) {
        if descriptor > first {
            // SAFETY: plain numbers; see above for who owned what is closed.
            unsafe { libc::syscall(libc::SYS_close_range, first, descriptor - 1, 0) };
        }
        first = descriptor.saturating_add(1);
    }
}
