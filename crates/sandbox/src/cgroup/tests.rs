use super::*;
use crate::spec::SandboxLimits;

fn limits() -> SandboxLimits {
    SandboxLimits {
        memory_bytes: Some(1 << 20),
        cpu_millis: Some(250),
        processes: Some(10),
        scratch_bytes: None,
    }
}

/// A directory that looks like a version 2 hierarchy; writes land in plain files.
fn second(controllers: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for directory in [root.path().to_owned(), root.path().join("xebec-7")] {
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("cgroup.controllers"), controllers).unwrap();
        fs::write(directory.join("cgroup.procs"), "").unwrap();
    }
    root
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn version_two_writes_what_the_kernel_wants() {
    let root = second("cpuset cpu io memory pids");
    let groups = Groups::prepare(root.path(), "0::/\n", 7, |_| true);
    assert!(groups.missing.is_empty(), "{:?}", groups.missing);
    assert_eq!(groups.version(Controller::Memory), Some(Version::Two));
    assert_eq!(read(&root.path().join("cgroup.subtree_control")), "+pids");

    let group = groups.make("3").unwrap();
    let place = root.path().join("xebec-7/3");
    fs::write(place.join("memory.swap.max"), "max").unwrap();
    group.limit(&limits()).unwrap();
    group.add(42).unwrap();
    assert_eq!(read(&place.join("memory.max")), "1048576");
    assert_eq!(read(&place.join("memory.swap.max")), "0");
    assert_eq!(read(&place.join("cpu.max")), "25000 100000");
    assert_eq!(read(&place.join("pids.max")), "12");
    assert_eq!(read(&place.join("cgroup.procs")), "42");

    group.limit(&SandboxLimits::default()).unwrap();
    assert_eq!(read(&place.join("memory.max")), "max");
    assert_eq!(read(&place.join("cpu.max")), "max 100000");
    assert_eq!(read(&place.join("pids.max")), "max");

    fs::write(place.join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 0\n").unwrap();
    assert_eq!(group.kills(), 2);
}

#[test]
fn controllers_are_looked_for_in_both_versions() {
    let root = tempfile::tempdir().unwrap();
    let unified = root.path().join("unified");
    for directory in ["unified", "unified/xebec-7", "memory/server", "pids"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    for directory in [&unified, &unified.join("xebec-7")] {
        fs::write(directory.join("cgroup.controllers"), "pids").unwrap();
        fs::write(directory.join("cgroup.procs"), "").unwrap();
    }
    fs::write(root.path().join("memory/cgroup.procs"), "").unwrap();
    let own = "4:memory:/server\n1:pids:/\n0::/\n";
    let groups = Groups::prepare(root.path(), own, 7, |_| true);
    assert_eq!(groups.version(Controller::Pids), Some(Version::Two));
    assert_eq!(groups.version(Controller::Memory), Some(Version::One));
    assert_eq!(groups.version(Controller::Cpu), None);
    assert_eq!(groups.missing.len(), 1);

    let group = groups.make("3").unwrap();
    group.limit(&limits()).unwrap();
    assert_eq!(read(&root.path().join("memory/server/xebec-7/3/memory.limit_in_bytes")), "1048576");
}

#[test]
fn what_dead_spawners_left_is_removed() {
    let root = tempfile::tempdir().unwrap();
    for directory in ["memory/xebec-5/1", "memory/xebec-6/1", "memory/other"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    fs::write(root.path().join("memory/cgroup.procs"), "").unwrap();
    let groups = Groups::prepare(root.path(), "4:memory:/\n", 7, |pid| pid == 6);
    let left = |name: &str| root.path().join("memory").join(name).exists();
    assert!(!left("xebec-5") && left("xebec-6") && left("xebec-7") && left("other"));
    groups.remove();
    assert!(!left("xebec-7"));
}

#[test]
fn a_group_full_of_others_is_left_alone() {
    let root = second("memory");
    let own = root.path().join("session");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("cgroup.controllers"), "memory").unwrap();
    // A directory in its place: nothing can be written, as for a group that holds processes.
    fs::create_dir(own.join("cgroup.subtree_control")).unwrap();
    fs::write(own.join("cgroup.procs"), "1\n2\n").unwrap();
    let groups = Groups::prepare(root.path(), "0::/session\n", 7, |_| true);
    assert_eq!(groups.version(Controller::Memory), Some(Version::Two));
    assert!(root.path().join("xebec-7").exists() && !own.join("xebec-7").exists());
}
