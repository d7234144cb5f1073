//! Giving up everything that the function must not have.

use libc::c_int;
use seccompiler::BpfProgram;
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The user and group that functions run as where a user namespace lets us choose.
pub(crate) const USER_INSIDE: u32 = 1000;
/// Open files of one process.
pub(crate) const MAX_FILES: u64 = 16_384;

/// Becomes the sandbox's user for good: no groups, no capabilities and no way to gain any.
pub(crate) fn become_user(user: u32) -> io::Result<()> {
    drop_bounding_set();
    // SAFETY: raw calls change this task only (we are its only thread); no pointers but to nothing.
    unsafe {
        // Refused in a user namespace whose owner may not choose groups: those then stay, without effect.
        libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>());
        check(libc::syscall(libc::SYS_setresgid, user, user, user))?;
        check(libc::syscall(libc::SYS_setresuid, user, user, user))?;
    }
    drop_capabilities()
}

/// Becomes user 0 of the user namespace that this process was made in. Its rights there stay.
pub(crate) fn become_root_inside() -> io::Result<()> {
    // SAFETY: as above.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()))?;
        check(libc::syscall(libc::SYS_setresgid, 0, 0, 0))?;
        check(libc::syscall(libc::SYS_setresuid, 0, 0, 0))
    }
}

fn drop_bounding_set() {
    for capability in 0..64 {
        // SAFETY: plain numbers; fails past the last capability and where we may not.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

/// Empties the permitted, effective and inheritable sets.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [0u32; 6];
    // SAFETY: both pointers are to live values of the layout that version 3 asks for.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) })
}

/// No set-user-id program gives anything from here on.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())
}

/// Nobody may look into this process, not even one of the same user.
pub(crate) fn hide_memory() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into())
}

/// Dies with the parent.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }.into())
}

/// Becomes the parent of descendants whose own parents end.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into())
}

/// Names this process, for `ps`.
pub(crate) fn name(name: &std::ffi::CStr) {
    // SAFETY: a zero-terminated string; longer than 15 bytes is cut.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Applies landlock's rules.
pub(crate) fn restrict(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a ruleset's descriptor and no flags.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
}

/// Applies the filter on system calls.
pub(crate) fn filter(program: &BpfProgram) -> io::Result<()> {
    seccompiler::apply_filter(program).map_err(io::Error::other)
}

/// The limits that hold for every process: no core files, a bound on open files.
pub(crate) fn limit_always() {
    set_limit(libc::RLIMIT_CORE as c_int, 0);
    set_limit(libc::RLIMIT_NOFILE as c_int, MAX_FILES);
}

/// Lowers a limit of this process, soft and hard; what is lower already stays.
fn set_limit(resource: c_int, value: u64) {
    change_limit(0, resource, value);
}

/// The same for another process.
pub(crate) fn change_limit(pid: i32, resource: c_int, value: u64) {
    let mut current = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads into, then sets from, a live value; an unknown resource only fails.
    unsafe {
        if libc::prlimit64(pid, resource as _, std::ptr::null(), &raw mut current) == 0 {
            let wanted = value.min(current.rlim_max);
            let new = libc::rlimit64 { rlim_cur: wanted, rlim_max: wanted };
            libc::prlimit64(pid, resource as _, &raw const new, std::ptr::null_mut());
        }
    }
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
