//! Starting a program: `clone(CLONE_VM | CLONE_VFORK)`, then `execve`.
//!
//! The child borrows this process's memory until it execs, so nothing is copied. Between the two it makes
//! system calls only: it allocates nothing, takes no lock and cannot unwind. All it needs is laid out in a
//! [`Plan`] beforehand.

use crate::wire::start::{Start, Step};
use libc::{c_char, c_int, c_void};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    ptr,
    sync::atomic::{AtomicI32, Ordering},
};

/// Enough for a child that calls a handful of functions.
const STACK: usize = 64 * 1024;
/// The first descriptor number that incoming descriptors may have: those below are taken by `/dev/null`, so
/// that none of them is in the way of the child's own numbering.
pub(crate) const FIRST_FREE: RawFd = 3 + crate::wire::start::MAX_EXTRA as RawFd;

/// Starts programs. Keeps the child's stack.
pub(crate) struct Vfork {
    stack: Box<[u128]>,
    parent_death_signal: bool,
}

struct Plan {
    directory: *const c_char,
    candidates: Vec<*const c_char>,
    argv: Vec<*const c_char>,
    variables: Vec<*const c_char>,
    streams: [RawFd; 3],
    extra: Vec<RawFd>,
    parent_death_signal: bool,
    step: AtomicI32,
    errno: AtomicI32,
}

impl Vfork {
    /// `parent_death_signal`: programs die with this process (where no pid namespace sees to that).
    pub(crate) fn new(parent_death_signal: bool) -> Self {
        Self { stack: vec![0; STACK / 16].into_boxed_slice(), parent_death_signal }
    }

    /// Starts a program; its pid, or the step that failed and its `errno`.
    pub(crate) fn start(&mut self, start: &Start, descriptors: &[OwnedFd]) -> Result<i32, (Step, i32)> {
        let candidates = candidates(&start.argv[0], &start.variables);
        let mut descriptors = descriptors.iter().map(AsRawFd::as_raw_fd);
        let mut stream = |wanted: bool| if wanted { descriptors.next().unwrap_or(-1) } else { -1 };
        let (stdin, stdout) = (stream(start.stdin), stream(start.stdout));
        let stderr = if start.combined { 1 } else { stream(start.stderr) };
        let plan = Plan {
            directory: start.directory.as_ptr(),
            candidates: candidates.iter().map(|path| path.as_ptr()).collect(),
            argv: pointers(&start.argv),
            variables: pointers(&start.variables),
            streams: [stdin, stdout, stderr],
            extra: descriptors.collect(),
            parent_death_signal: self.parent_death_signal,
            step: AtomicI32::new(0),
            errno: AtomicI32::new(0),
        };
        // SAFETY: one past the end of the stack's allocation, which is 16-byte aligned.
        let top = unsafe { self.stack.as_mut_ptr().add(self.stack.len()) };
        // SAFETY: the child runs `child` on a stack of its own, in our memory, while CLONE_VFORK keeps us
        // from running; `plan`, the strings behind it and the stack outlive it. It makes system calls only.
        let pid = unsafe {
            libc::clone(
                child,
                top.cast(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                ptr::from_ref(&plan).cast_mut().cast(),
            )
        };
        if pid < 0 {
            return Err((Step::Fork, std::io::Error::last_os_error().raw_os_error().unwrap_or(0)));
        }
        match plan.errno.load(Ordering::Relaxed) {
            0 => Ok(pid),
            errno => {
                reap(pid);
                let directory = plan.step.load(Ordering::Relaxed) == Step::Directory as i32;
                Err((if directory { Step::Directory } else { Step::Program }, errno))
            }
        }
    }
}

fn reap(pid: i32) {
    // SAFETY: waits for a child of ours that has exited; no status is asked for.
    while unsafe { libc::waitpid(pid, ptr::null_mut(), 0) } < 0
        && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINTR)
    {}
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// The paths at which a program may lie: itself, or one for each entry of its `PATH`.
fn candidates(program: &CStr, variables: &[CString]) -> Vec<CString> {
    if program.to_bytes().contains(&b'/') || program.is_empty() {
        return vec![program.to_owned()];
    }
    let path = variables.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
    path.unwrap_or(b"/usr/local/bin:/usr/bin:/bin")
        .split(|byte| *byte == b':')
        .map(|directory| if directory.is_empty() { b".".as_slice() } else { directory })
        .filter_map(|directory| CString::new([directory, b"/", program.to_bytes()].concat()).ok())
        .collect()
}

extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `Vfork::start` passes its plan, which outlives us, and does not run meanwhile.
    let plan = unsafe { &*plan.cast_const().cast::<Plan>() };
    // SAFETY: system calls on plain values and on the plan's zero-terminated strings and arrays.
    unsafe {
        libc::setsid();
        if plan.parent_death_signal {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        for (number, descriptor) in (0..).zip(plan.streams) {
            if descriptor >= 0 {
                libc::dup2(descriptor, number);
            }
        }
        for (number, descriptor) in (3..).zip(&plan.extra) {
            libc::dup2(*descriptor, number);
        }
        if libc::chdir(plan.directory) != 0 {
            return fail(plan, Step::Directory, *libc::__errno_location());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());

        let mut errno = libc::ENOENT;
        for candidate in &plan.candidates {
            libc::execve(*candidate, plan.argv.as_ptr(), plan.variables.as_ptr());
            match *libc::__errno_location() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => errno = libc::EACCES,
                other => {
                    errno = other;
                    break;
                }
            }
        }
        fail(plan, Step::Program, errno)
    }
}

fn fail(plan: &Plan, step: Step, errno: i32) -> c_int {
    plan.step.store(step as i32, Ordering::Relaxed);
    plan.errno.store(errno, Ordering::Relaxed);
    // SAFETY: ends the child at once, without running anything of ours.
    unsafe { libc::_exit(127) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_as_shells_do() {
        let path = [c"A=1".to_owned(), c"PATH=/one::/two".to_owned()];
        assert_eq!(candidates(c"x", &path), [c"/one/x".to_owned(), c"./x".to_owned(), c"/two/x".to_owned()]);
        assert_eq!(candidates(c"./x", &path), [c"./x".to_owned()]);
        assert_eq!(candidates(c"x", &[]).len(), 3);
    }
}
