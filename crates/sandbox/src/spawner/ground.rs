//! What this host lets us enforce: found out once, at launch, by trying.

use super::{
    identity::Identities,
    network::{self, Networks},
    template,
};
use crate::{
    cgroup::{Controller, Groups, Version},
    enforcement::Enforcement,
    inside::{landlock, root::Template, seccomp},
    mounts,
    wire::{Abilities, Launch},
};
use nix::unistd::{ForkResult, fork};
use rustix::thread::UnshareFlags;
use seccompiler::BpfProgram;
use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// What sandboxes are made of here.
pub(crate) struct Ground {
    pub(crate) user_namespaces: bool,
    pub(crate) networks: Option<Networks>,
    pub(crate) groups: Groups,
    /// What roots are made of; `None`: neither mounts nor other namespaces are to be had (*bare*).
    pub(crate) template: Option<Template>,
    /// Where directories lie that stand for roots then.
    bare: PathBuf,
    pub(crate) identities: Identities,
    pub(crate) filter: BpfProgram,
    pub(crate) landlock: bool,
    pub(crate) own_ids: bool,
    no_network: Option<String>,
    no_tunnel: Option<String>,
    no_user_namespaces: Option<String>,
}

impl Ground {
    /// Finds out, and moves this process into the mount namespace (and for an ordinary user, the user
    /// namespace) that sandboxes are made from.
    pub(crate) fn prepare(launch: &Launch) -> io::Result<Self> {
        let pid = std::process::id();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let exists = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
        let groups = Groups::prepare(Path::new("/sys/fs/cgroup"), &own, pid, exists);
        let maps = (read_map("uid"), read_map("gid"));

        let is_root = rustix::process::geteuid().is_root();
        let root = is_root && tried(|| enter_mounts(false));
        if !root && !tried(|| enter_mounts(true)) {
            return Self::bare(
                launch,
                groups,
                is_root.then(|| Identities::own(&maps.0, &maps.1, pid)).flatten(),
            );
        }
        enter_mounts(!root)?;
        let identities = if root { Identities::own(&maps.0, &maps.1, pid) } else { None };

        let mut ground = Self {
            user_namespaces: true,
            networks: None,
            groups,
            template: None,
            bare: PathBuf::new(),
            own_ids: identities.is_some(),
            identities: identities.unwrap_or_else(|| Identities::shared(0)),
            filter: seccomp::program()?,
            landlock: landlock::version() > 0,
            no_network: None,
            no_tunnel: None,
            no_user_namespaces: None,
        };
        ground.find_network(launch.share_host_network);
        let resolver = ground.tunnels().then(|| network::RESOLVER.to_string());
        ground.template = Some(template::build(&launch.run_directory, resolver.as_deref())?);
        Ok(ground)
    }

    /// What is left without namespaces: a user of their own for root's sandboxes, landlock, seccomp and limits.
    fn bare(launch: &Launch, groups: Groups, identities: Option<Identities>) -> io::Result<Self> {
        let landlock = landlock::version() > 0;
        // An ordinary user's functions would otherwise read whatever the server can.
        if !landlock {
            return Err(io::Error::other(
                "neither namespaces nor landlock are to be had: nothing would keep functions from the server's \
                 files (allow user namespaces: sysctl user.max_user_namespaces and, on Ubuntu, \
                 kernel.apparmor_restrict_unprivileged_userns=0)",
            ));
        }
        // Other users' sandboxes could not get to a directory that is ours alone.
        let bare = match identities {
            Some(_) => PathBuf::from(format!("/tmp/xebec-{}", std::process::id())),
            None => launch.run_directory.clone(),
        };
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&bare)?;
        let why = "no namespaces: neither root's rights nor user namespaces are to be had here".to_owned();
        Ok(Self {
            user_namespaces: false,
            networks: None,
            groups,
            template: None,
            bare,
            own_ids: identities.is_some(),
            identities: identities.unwrap_or_else(|| Identities::shared(rustix::process::geteuid().as_raw())),
            filter: seccomp::program()?,
            landlock,
            no_network: Some(why.clone()),
            no_tunnel: None,
            no_user_namespaces: Some(why),
        })
    }

    /// The directory that stands for a sandbox's root, where it has none of its own.
    pub(crate) fn bare_root(&self, number: u32) -> Option<PathBuf> {
        self.template.is_none().then(|| self.bare.join(number.to_string()))
    }

    /// Gives back what is not a sandbox's.
    pub(crate) fn remove(&self) {
        self.groups.remove();
        if self.template.is_none() && self.own_ids {
            let _ = fs::remove_dir_all(&self.bare);
        }
    }

    fn find_network(&mut self, share: bool) {
        if share {
            self.no_network = Some("asked to share the host's".to_owned());
            return;
        }
        match Networks::prepare() {
            Ok((networks, no_tunnel)) => {
                self.networks = Some(networks);
                self.no_tunnel = no_tunnel;
            }
            Err(why) => self.no_network = Some(why.to_string()),
        }
    }

    /// Does without user namespaces, where root may.
    pub(crate) fn give_up_user_namespaces(&mut self, why: String) -> bool {
        let possible = self.own_ids && self.user_namespaces && self.template.is_some();
        self.user_namespaces = false;
        self.no_user_namespaces = Some(format!("set up by root itself: {why}"));
        possible
    }

    /// The namespaces that each init is forked into; the network's it inherits.
    pub(crate) fn namespaces(&self) -> libc::c_int {
        if self.template.is_none() {
            return 0;
        }
        let always = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        always | if self.user_namespaces { libc::CLONE_NEWUSER } else { 0 }
    }

    fn tunnels(&self) -> bool {
        self.networks.as_ref().is_some_and(|networks| networks.tunnels)
    }

    pub(crate) fn abilities(&self) -> Abilities {
        Abilities {
            own_root: self.template.is_some(),
            own_ids: self.own_ids,
            user_namespaces: self.user_namespaces,
            own_network: self.networks.is_some(),
            memory_group: self.groups.version(Controller::Memory).is_some(),
            pids_group: self.groups.version(Controller::Pids).is_some(),
            landlock: self.landlock,
        }
    }

    /// What is enforced, for people.
    pub(crate) fn enforcement(&self) -> Enforcement {
        let mut all = Enforcement {
            shares_host_network: self.networks.is_none(),
            way_out: self.tunnels() || self.networks.is_none(),
            own_root: self.template.is_some(),
            protections: Vec::new(),
        };
        match &self.no_user_namespaces {
            None => all.add("user namespace", true, "rights inside are none outside"),
            Some(why) => all.add("user namespace", false, why),
        }
        all.add(
            "own user",
            self.own_ids,
            match self.own_ids {
                true => "each sandbox has user ids of its own",
                false => "an ordinary user has one id only: sandboxes share it (run as root for one each)",
            },
        );
        let own = self.template.is_some();
        for (name, there, missing) in [
            (
                "mount namespace",
                "own root by pivot_root, system directories read-only",
                "paths are the host's; landlock lets functions reach few of them",
            ),
            (
                "pid namespace",
                "sees its own processes only; they end with its first",
                "sees the host's; what hides from its tree outlives a killed spawner",
            ),
            ("ipc namespace", "own System V and POSIX queues and semaphores", "shares the host's"),
            ("private scratch", "a tmpfs of its own", "a directory of its own, its size not limited"),
        ] {
            all.add(name, own, if own { there } else { missing });
        }
        for (name, detail) in [
            ("no new privileges", "set-user-id programs give nothing"),
            ("system call filter", "seccomp refuses what no function needs"),
            ("resource limits", "open files, no core files"),
        ] {
            all.add(name, true, detail);
        }
        match &self.no_network {
            None => all.add("network namespace", true, "own loopback; none of the host's addresses"),
            Some(why) => all.add("network namespace", false, format!("shares the host's network: {why}")),
        }
        match (&self.no_tunnel, self.tunnels()) {
            (_, true) => all.add("way out", true, "through a tunnel that refuses the host's own addresses"),
            (Some(why), false) => all.add("way out", false, format!("loopback only: {why}")),
            (None, false) => all.add("way out", false, "not filtered: the host's network is shared"),
        }
        let version = landlock::version();
        all.add(
            "landlock",
            self.landlock,
            match self.landlock {
                true => format!("version {version}"),
                false => "the kernel does not have it, or it is off (lsm=landlock,…)".to_owned(),
            },
        );
        self.add_groups(&mut all);
        all
    }

    fn add_groups(&self, all: &mut Enforcement) {
        for controller in Controller::ALL {
            let name = format!("{} limit", controller.name());
            match self.groups.version(controller) {
                Some(Version::Two) => all.add(&name, true, "cgroup version 2"),
                Some(Version::One) => all.add(&name, true, "cgroup version 1"),
                None => {
                    let missing = self.groups.missing.iter().find(|missing| missing.0 == controller);
                    let why = missing.map_or("no cgroup", |missing| missing.1.as_str());
                    let instead = match controller {
                        Controller::Memory => "each process is limited (RLIMIT_DATA), the sandbox is not",
                        Controller::Cpu => "not limited",
                        Controller::Pids if self.template.is_some() || self.own_ids => {
                            "limited by RLIMIT_NPROC"
                        }
                        Controller::Pids => "not limited",
                    };
                    all.add(&name, false, format!("{instead}: {why}"));
                }
            }
        }
    }
}

fn read_map(kind: &str) -> String {
    fs::read_to_string(format!("/proc/self/{kind}_map")).unwrap_or_default()
}

/// Moves into a mount namespace of our own – `own_user`: and into a user namespace in which we are root.
fn enter_mounts(own_user: bool) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let flags = UnshareFlags::NEWNS | if own_user { UnshareFlags::NEWUSER } else { UnshareFlags::empty() };
    // SAFETY: this process has one thread, so no other one keeps what is unshared here.
    unsafe { rustix::thread::unshare_unsafe(flags)? };
    if own_user {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    mounts::keep_mounts_to_ourselves()
}

/// Whether something works, tried in a process that is thrown away. Mounting is tried too: some hosts let
/// anyone make namespaces and nobody use them.
fn tried(what: impl FnOnce() -> io::Result<()>) -> bool {
    // SAFETY: this process has one thread.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let works = what().and_then(|()| {
                mounts::mount_new("tmpfs", Path::new("/tmp"), rustix::mount::MountFlags::NODEV, c"")
            });
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(i32::from(works.is_err())) }
        }
        Ok(ForkResult::Parent { child }) => {
            matches!(nix::sys::wait::waitpid(child, None), Ok(nix::sys::wait::WaitStatus::Exited(_, 0)))
        }
        Err(_) => false,
    }
}
