//! The init: a sandbox's first process, and the only one with rights over its namespaces. It reaps what was
//! orphaned, attaches mounts, writes files and opens sockets for the server. When it ends, the kernel ends
//! everything else in its pid namespace; it ends when the server's end of its socket closes, when its starter
//! dies, and when the spawner dies.

use super::{confine, landlock, root, starter};
use crate::{
    channel::{self, Message, Receiver},
    mounts,
    wire::{self, Call, Fault, InitAnswer, InitCall, Place},
};
use nix::{
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, ipproto, socket_with},
};
use std::{
    fs, io,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

/// The namespaces that can be handed over, in this order.
pub(crate) const NAMESPACES: [&str; 6] = ["user", "mnt", "pid", "ipc", "uts", "net"];

pub(crate) struct Init {
    pub(crate) socket: OwnedFd,
    pub(crate) starter: i32,
    /// The user that files are written for.
    pub(crate) user: u32,
    pub(crate) user_namespace: bool,
    pub(crate) landlock: bool,
    /// There is a root, and a pid namespace, of the sandbox's own.
    pub(crate) own_root: bool,
}

impl Init {
    /// Runs until it is time to end.
    pub(crate) fn run(&self) -> io::Result<()> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let children = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let mut receiver = Receiver::new();
        loop {
            let (heard, ended) = {
                let mut sources =
                    [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&children, PollFlags::IN)];
                match poll(&mut sources, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                (!sources[0].revents().is_empty(), !sources[1].revents().is_empty())
            };
            if ended {
                while let Ok(Some(_)) = children.read_signal() {}
                let mut starter_ended = false;
                let any = starter::reap_all(|pid, _| starter_ended |= pid == self.starter);
                if starter_ended || !any {
                    return Ok(());
                }
            }
            if heard {
                let Some(message) = receiver.receive(&self.socket)? else { return Ok(()) };
                self.answer(message)?;
            }
        }
    }

    fn answer(&self, message: Message) -> io::Result<()> {
        let Call { serial, call } = wire::decode::<Call<InitCall>>(&message.body)?;
        let mut back = Vec::new();
        let result = self.carry_out(call, message.descriptors, &mut back);
        let result = result.map_err(|error| Fault { what: error.to_string(), errno: error.raw_os_error() });
        let answer = wire::encode(&InitAnswer { serial, result })?;
        let back: Vec<_> = back.iter().map(AsFd::as_fd).collect();
        match channel::send(&self.socket, &answer, &back) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    fn carry_out(&self, call: InitCall, came: Vec<OwnedFd>, back: &mut Vec<OwnedFd>) -> io::Result<()> {
        match call {
            InitCall::Attach { places } => attach(&places, came),
            InitCall::Limit { scratch_bytes, data_bytes, processes } => {
                // What the starter starts inherits them; what runs already has to be told.
                for pid in self.members().into_iter().chain([self.starter]) {
                    if let Some(bytes) = data_bytes {
                        confine::change_limit(pid, libc::RLIMIT_DATA as i32, bytes);
                    }
                    if let Some(processes) = processes {
                        confine::change_limit(pid, libc::RLIMIT_NPROC as i32, processes);
                    }
                }
                if self.own_root { root::size_scratch(scratch_bytes) } else { Ok(()) }
            }
            InitCall::Write { path, mode } => {
                let source = came.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
                self.write(&path, mode, source)
            }
            InitCall::Socket => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                back.push(socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?);
                Ok(())
            }
            InitCall::Connect { path } => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                connect(&socket, &SocketAddrUnix::new(path)?)?;
                back.push(socket);
                Ok(())
            }
            InitCall::Signal { signal } => {
                self.signal_all(Signal::try_from(signal)?);
                Ok(())
            }
            InitCall::Namespaces => {
                for name in NAMESPACES.into_iter().filter(|name| self.user_namespace || *name != "user") {
                    back.push(fs::File::open(format!("/proc/self/ns/{name}"))?.into());
                }
                back.extend(if self.landlock { landlock::own_root()? } else { None });
                Ok(())
            }
        }
    }

    /// Every process of the sandbox but this one and the starter, which `/proc` does not show.
    fn members(&self) -> Vec<i32> {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let mut members = match self.own_root {
            true => starter::processes().into_iter().map(|it| it.pid).collect(),
            false => starter::descendants(own),
        };
        members.retain(|pid| *pid != own && *pid != self.starter);
        members
    }

    fn signal_all(&self, signal: Signal) {
        if self.own_root {
            // All but the sender, in one step; what is not there any more needs no signal.
            let _ = kill(Pid::from_raw(-1), signal);
            return;
        }
        for member in self.members() {
            let _ = kill(Pid::from_raw(member), signal);
        }
    }

    /// Writes a file beside its place and moves it there, so that nobody sees half of it and no link that the
    /// function planted is followed.
    fn write(&self, path: &Path, mode: u32, source: OwnedFd) -> io::Result<()> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        fs::create_dir_all(directory)?;
        let draft: PathBuf = directory.join(format!(".{}.draft", name.display()));
        let _ = fs::remove_file(&draft);
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written = (|| {
            let mut source = fs::File::from(source);
            io::Seek::rewind(&mut source)?;
            io::copy(&mut source, &mut file)?;
            file.flush()?;
            fchown(&file, Some(self.user), Some(self.user))?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            fs::rename(&draft, path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }
}

fn attach(places: &[Place], mounts: Vec<OwnedFd>) -> io::Result<()> {
    for (place, mount) in places.iter().zip(mounts) {
        let made = if place.directory { make_directory(&place.inside) } else { make_file(&place.inside) };
        made.and_then(|()| mounts::attach(mount, &place.inside)).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot bind {}: {error}", place.inside.display()))
        })?;
    }
    Ok(())
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

fn make_file(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or_else(|| Path::new("/")))?;
    fs::File::options().write(true).create_new(true).open(path).map(drop)
}
