//! The system calls that no function needs and that a kernel is most often attacked by. They answer `EPERM`.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition as Argument,
    SeccompFilter, SeccompRule, sock_filter,
};
use std::{collections::BTreeMap, io};

/// Refused whatever their arguments.
const REFUSED: &[libc::c_long] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_fanotify_init,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // Kernel interfaces with a history.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    // The machine itself.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] =
    &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS_sysfs];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// `open_tree_attr` and `quotactl_fd`: newer than the `libc` crate's tables for some targets; their numbers
/// are the same everywhere.
const REFUSED_BY_NUMBER: &[libc::c_long] = &[467, 443];

/// Flags of `clone` that make namespaces.
const NEW_NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWCGROUP,
];

/// Families of sockets that stay within a network namespace and that programs use. `AF_VSOCK`, for one,
/// would lead straight to the hypervisor.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// The filter, compiled.
pub(crate) fn program() -> io::Result<BpfProgram> {
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).chain(REFUSED_BY_NUMBER).map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, namespaces().map_err(io::Error::other)?);
    rules.insert(libc::SYS_socket, families().map_err(io::Error::other)?);
    rules.insert(libc::SYS_ioctl, terminals().map_err(io::Error::other)?);
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(io::Error::other)?;
    let compiled: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    Ok(prologue().into_iter().chain(compiled).collect())
}

fn namespaces() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let flags = NEW_NAMESPACES.iter().map(|flag| *flag as u32 as u64);
    flags
        .map(|flag| SeccompRule::new(vec![Argument::new(0, Width::Qword, Is::MaskedEq(flag), flag)?]))
        .collect()
}

fn families() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let unknown = FAMILIES.iter().map(|family| Argument::new(0, Width::Dword, Is::Ne, *family as u64));
    let netlink = libc::AF_NETLINK as u64;
    Ok(vec![
        SeccompRule::new(unknown.collect::<Result<_, _>>()?)?,
        // Of netlink, only what lists interfaces and routes.
        SeccompRule::new(vec![
            Argument::new(0, Width::Dword, Is::Eq, netlink)?,
            Argument::new(2, Width::Dword, Is::Ne, libc::NETLINK_ROUTE as u64)?,
        ])?,
    ])
}

/// Typing into somebody else's terminal.
fn terminals() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    const TIOCLINUX: u32 = 0x541C;
    [libc::TIOCSTI as u32, TIOCLINUX]
        .into_iter()
        .map(|request| SeccompRule::new(vec![Argument::new(1, Width::Dword, Is::Eq, request.into())?]))
        .collect()
}

/// What the compiler has no words for: `clone3`, whose flags lie in memory where no filter can see them, and
/// the second numbering of x86-64 (x32) answer `ENOSYS`. C libraries then fall back to `clone`.
fn prologue() -> Vec<sock_filter> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const JUMP_FROM: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const X32: u32 = 0x4000_0000;
    let no_such_call = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let line = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let mut lines = vec![line(LOAD, 0, 0, 0)];
    if cfg!(target_arch = "x86_64") {
        lines.push(line(JUMP_FROM, 1, 0, X32));
    }
    lines.push(line(JUMP_EQUAL, 0, 1, libc::SYS_clone3 as u32));
    lines.push(line(RETURN, 0, 0, no_such_call));
    lines
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_filter_compiles_and_fits() {
        let program = super::program().unwrap();
        assert!(program.len() > 60 && program.len() < 4096);
    }
}
