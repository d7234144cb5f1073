//! Finding the controllers, and the parent group of a spawner.

use super::{Controller, Group, Version, remove_tree, write};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The prefix of a spawner's parent group; its process id follows.
const PREFIX: &str = "xebec-";

/// Where a spawner's groups lie.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Per controller: its version and the parent group.
    parents: Vec<(Controller, Version, PathBuf)>,
    /// Per controller that is missing, why.
    pub(crate) missing: Vec<(Controller, String)>,
}

impl Groups {
    /// Finds what there is below `root` for a process whose `/proc/self/cgroup` reads `own`, makes the parents
    /// and removes those of spawners that are no more. `alive` says whether a process exists.
    pub(crate) fn prepare(root: &Path, own: &str, pid: u32, alive: impl Fn(u32) -> bool) -> Self {
        let name = format!("{PREFIX}{pid}");
        let mut groups = Self::default();
        let second = version_two(root, own, &name, pid);
        for controller in Controller::ALL {
            let (version, parent) = match &second {
                Ok((parent, controllers)) if controllers.contains(&controller) => {
                    (Version::Two, Ok(parent.clone()))
                }
                _ => (Version::One, version_one(root, own, controller, &name)),
            };
            match (parent, &second) {
                (Ok(parent), _) => {
                    if let Some(holder) = parent.parent() {
                        remove_stale(holder, &name, &alive);
                    }
                    groups.parents.push((controller, version, parent));
                }
                (Err(why), Ok(_)) => groups.missing.push((controller, why.to_string())),
                (Err(first), Err(second)) => {
                    groups.missing.push((controller, format!("version 2: {second}; version 1: {first}")));
                }
            }
        }
        groups
    }

    /// Which version a controller was found in.
    pub(crate) fn version(&self, controller: Controller) -> Option<Version> {
        self.parents.iter().find(|parent| parent.0 == controller).map(|parent| parent.1)
    }

    /// Makes a group.
    pub(crate) fn make(&self, name: &str) -> io::Result<Group> {
        let mut group = Group::default();
        for (controller, version, parent) in &self.parents {
            let directory = parent.join(name);
            if let Err(error) = fs::create_dir(&directory)
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                group.remove();
                return Err(error);
            }
            group.places.push((*controller, *version, directory));
        }
        Ok(group)
    }

    /// Removes the parents.
    pub(crate) fn remove(&self) {
        for (_, _, parent) in &self.parents {
            let _ = remove_tree(parent);
        }
    }
}

/// The path of this process's group in one hierarchy, from `/proc/self/cgroup`.
fn own_path(own: &str, controller: Option<Controller>) -> Option<&str> {
    own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let found = match controller {
            None => controllers.is_empty(),
            Some(controller) => controllers.split(',').any(|it| it == controller.name()),
        };
        found.then_some(path)
    })
}

/// A group by its path below a mount; the mount itself where the path is not visible (a container).
fn below(mount: &Path, path: &str) -> PathBuf {
    let group = mount.join(path.trim_start_matches('/'));
    if group.is_dir() { group } else { mount.to_owned() }
}

fn version_one(root: &Path, own: &str, controller: Controller, name: &str) -> io::Result<PathBuf> {
    let mount = root.join(controller.name());
    let path =
        own_path(own, Some(controller)).ok_or_else(|| io::Error::other("the controller is not mounted"))?;
    if !mount.join("cgroup.procs").exists() {
        return Err(io::Error::other("the controller is not mounted"));
    }
    make_parent(&below(&mount, path), name)
}

fn version_two(root: &Path, own: &str, name: &str, pid: u32) -> io::Result<(PathBuf, Vec<Controller>)> {
    let mount = [root.to_owned(), root.join("unified")]
        .into_iter()
        .find(|mount| mount.join("cgroup.controllers").exists())
        .ok_or_else(|| io::Error::other("not mounted"))?;
    let group = below(&mount, own_path(own, None).unwrap_or("/"));
    let mut last = io::Error::other("none of its controllers is given to the server's group");
    let candidates = if group == mount { vec![group] } else { vec![group, mount] };
    for group in candidates {
        match enable(&group, pid) {
            Ok(controllers) if controllers.is_empty() => {}
            Ok(_) => match make_parent(&group, name) {
                Ok(parent) => {
                    let controllers = delegate(&parent);
                    return Ok((parent, controllers));
                }
                Err(error) => last = error,
            },
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Gives a group's controllers to the groups below it. A group that still holds processes may not; where
/// they are only ours, they move one group down first.
fn enable(group: &Path, pid: u32) -> io::Result<Vec<Controller>> {
    let controllers = delegate(group);
    if !controllers.is_empty() || available(group).is_empty() {
        return Ok(controllers);
    }
    let server = std::os::unix::process::parent_id();
    let processes = fs::read_to_string(group.join("cgroup.procs"))?;
    let processes: Vec<u32> = processes.lines().filter_map(|line| line.parse().ok()).collect();
    if processes.iter().any(|process| *process != pid && *process != server) {
        return Err(io::Error::other(format!(
            "{} holds other processes: start the server in a group of its own (systemd: Delegate=yes)",
            group.display()
        )));
    }
    let leaf = make_parent(group, "xebec-server")?;
    for process in processes {
        write(&leaf.join("cgroup.procs"), &process.to_string())?;
    }
    Ok(delegate(group))
}

fn available(group: &Path) -> Vec<Controller> {
    let names = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    Controller::ALL.into_iter().filter(|it| names.split_whitespace().any(|name| name == it.name())).collect()
}

/// Gives what it can; what was given.
fn delegate(group: &Path) -> Vec<Controller> {
    let control = group.join("cgroup.subtree_control");
    available(group).into_iter().filter(|it| write(&control, &format!("+{}", it.name())).is_ok()).collect()
}

fn make_parent(holder: &Path, name: &str) -> io::Result<PathBuf> {
    let parent = holder.join(name);
    match fs::create_dir(&parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io::Error::new(error.kind(), format!("cannot make {}: {error}", parent.display())))
        }
        _ => Ok(parent),
    }
}

/// Removes the parents of spawners that are no more.
fn remove_stale(holder: &Path, own: &str, alive: &impl Fn(u32) -> bool) {
    let Ok(entries) = fs::read_dir(holder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok()) else {
            continue;
        };
        if name != own && !alive(pid) {
            let _ = remove_tree(&entry.path());
        }
    }
}
