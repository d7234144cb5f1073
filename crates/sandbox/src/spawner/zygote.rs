//! Starting zygotes: trusted programs with the spawner's own rights (see [`Zygote`](crate::Zygote)).

use crate::inside::confine;
use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

/// The number under which a zygote finds its control socket.
const CONTROL: i32 = 3;

/// Starts one. It ends when its control socket closes, at the latest with the spawner, which reaps it.
pub(super) fn start(
    argv: &[String],
    variables: &[String],
    directory: Option<&Path>,
    control: &OwnedFd,
) -> io::Result<()> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let variables = variables.iter().filter_map(|variable| variable.split_once('='));
    // Out of the way of `CONTROL`, so that duplicating it also clears its close-on-exec flag.
    let control = rustix::io::fcntl_dupfd_cloexec(control, CONTROL + 1)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(variables)
        .current_dir(directory.unwrap_or_else(|| Path::new("/")))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let prepare = move || {
        rustix::process::setsid()?;
        confine::die_with_parent()?;
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
        // SAFETY: the child's only thread duplicates a descriptor that it owns.
        match unsafe { libc::dup2(control.as_raw_fd(), CONTROL) } {
            CONTROL => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: `prepare` makes system calls only.
    unsafe { command.pre_exec(prepare) };
    command.spawn().map(drop)
}
