//! Beginning and end.

use crate::world::*;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tokio::io::AsyncReadExt;
use xebec_sandbox::{SandboxError, SandboxExit, Spawner};

/// Processes of the host whose parents, however far up, include one.
fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect();
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|it| it.1 == parent).map(|it| it.0));
        next += 1;
    }
    found.split_off(1)
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Groups of spawners that lie below the memory controller.
fn groups_of(pid: u32) -> Vec<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    ["memory", "cpu", "pids"]
        .into_iter()
        .filter_map(|controller| {
            let path = own.lines().find_map(|line| line.split_once(&format!(":{controller}:")))?.1;
            let group = Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/'));
            Some(group.join(format!("xebec-{pid}")))
        })
        .filter(|group| group.exists())
        .collect()
}

#[tokio::test]
async fn destroying_reaps_the_whole_tree() {
    let Some(world) = world().await else { return };
    let spawner = descendants(std::process::id())
        .into_iter()
        .find(|pid| {
            let directory = world.directory.path().display().to_string();
            std::fs::read_to_string(format!("/proc/{pid}/mounts"))
                .is_ok_and(|mounts| mounts.contains(&directory))
        })
        .expect("the spawner is our child");
    let before: Vec<_> = descendants(spawner);
    let sandbox = world.spawner.create(spec("stubborn")).await.unwrap();
    let script =
        "trap '' TERM; for i in 1 2 3; do setsid sh -c 'trap \"\" TERM; sleep 1000' & done; echo up; wait";
    let mut process = sandbox.spawn(shell(script)).await.unwrap();
    process.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).await.unwrap();
    assert!(descendants(spawner).len() >= before.len() + 2);
    assert!(sandbox.ended().is_none());

    let late = sandbox.clone();
    let waits = tokio::spawn(async move { late.exited().await });
    sandbox.destroy().await;
    let expected = SandboxExit { out_of_memory: false, requested: true };
    assert_eq!(sandbox.exited().await, expected);
    assert_eq!(waits.await.unwrap(), expected);
    assert_eq!(process.wait().await.signal, Some(9));
    assert!(matches!(sandbox.spawn(exec(&["true"])).await, Err(SandboxError::Ended(_))));
    assert!(matches!(sandbox.connect(80).await, Err(SandboxError::Ended(_))));
    // One spare remains, of two processes.
    eventually("its processes are gone", || async { descendants(spawner).len() <= 2 }).await;
}

#[tokio::test]
async fn dropping_the_last_handle_destroys() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("dropped")).await.unwrap();
    let mut process = sandbox.spawn(exec(&["sleep", "1000"])).await.unwrap();
    drop(sandbox);
    let exit = tokio::time::timeout(PATIENCE, process.wait()).await.unwrap();
    assert_eq!(exit.signal, Some(9));
}

#[tokio::test]
async fn shutting_down_leaves_nothing() {
    let Some(world) = world().await else { return };
    let before = descendants(std::process::id());
    let sandboxes =
        [world.spawner.create(spec("a")).await.unwrap(), world.spawner.create(spec("b")).await.unwrap()];
    world.spawner.shutdown().await;
    assert!(!world.spawner.alive());
    for sandbox in sandboxes {
        tokio::time::timeout(PATIENCE, sandbox.exited()).await.unwrap();
    }
    assert!(matches!(world.spawner.create(spec("c")).await, Err(SandboxError::SpawnerGone)));
    drop(before);
}

#[tokio::test]
async fn many_sandboxes_come_and_go() {
    let Some(world) = world().await else { return };
    for round in 0..3 {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..20 {
            let spawner = world.spawner.clone();
            tasks.spawn(async move {
                let sandbox = spawner.create(spec(&format!("{round}-{number}"))).await.unwrap();
                let (exit, _) = run(&sandbox, exec(&["true"])).await.unwrap();
                assert_eq!(exit.code, Some(0));
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
}

#[tokio::test]
async fn a_create_given_up_leaves_nothing() {
    let Some(world) = world().await else { return };
    for micros in [0, 50, 200, 1000, 3000] {
        let create = world.spawner.create(spec("impatient"));
        let _ = tokio::time::timeout(std::time::Duration::from_micros(micros), create).await;
    }
    let sandbox = world.spawner.create(spec("patient")).await.unwrap();
    assert_eq!(run(&sandbox, exec(&["true"])).await.unwrap().0.code, Some(0));
}

#[tokio::test]
async fn launching_the_wrong_program_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&directory);
    for (program, said) in [("/no/such/program", "/no/such/program"), ("/bin/true", "spawner_main")] {
        options.executable = Some(program.into());
        let error = Spawner::launch(options.clone()).await.unwrap_err();
        assert!(matches!(&error, SandboxError::Launch(why) if why.contains(said)), "{error}");
    }
}

const VICTIM: &str = "XEBEC_TEST_VICTIM";

/// Not a test by itself: the server that the next test kills.
#[tokio::test]
async fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let world = world().await.expect("a spawner");
    let sandbox = world.spawner.create(spec("victim")).await.unwrap();
    let script = "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & echo up; wait";
    let mut process = sandbox.spawn(shell(script)).await.unwrap();
    process.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).await.unwrap();
    println!("victim ready {}", world.directory.path().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_server_leaves_nothing() {
    let Some(world) = world().await else { return };
    drop(world);
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "life::victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(server.stdout.take().unwrap());
    let directory = loop {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "the victim ended early");
        if let Some((_, directory)) = line.trim().split_once("victim ready ") {
            break PathBuf::from(directory);
        }
    };
    let processes = descendants(server.id());
    let groups: Vec<_> = processes.iter().flat_map(|pid| groups_of(*pid)).collect();
    assert!(processes.len() >= 5, "a spawner, an init, a starter and a tree");
    server.kill().unwrap();
    server.wait().unwrap();
    eventually("every process is gone", || async { !processes.iter().any(|pid| alive(*pid)) }).await;
    eventually("every group is gone", || async { !groups.iter().any(|group| group.exists()) }).await;
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&directory.display().to_string()), "{mounts}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn a_killed_spawner_is_noticed() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("orphan")).await.unwrap();
    let mut process = sandbox.spawn(exec(&["sleep", "1000"])).await.unwrap();
    let spawner = descendants(std::process::id())
        .into_iter()
        .find(|pid| {
            let directory = world.directory.path().display().to_string();
            std::fs::read_to_string(format!("/proc/{pid}/mounts"))
                .is_ok_and(|mounts| mounts.contains(&directory))
        })
        .unwrap();
    let family = descendants(spawner);
    assert!(Command::new("kill").args(["-9", &spawner.to_string()]).status().unwrap().success());
    tokio::time::timeout(PATIENCE, sandbox.exited()).await.unwrap();
    tokio::time::timeout(PATIENCE, process.wait()).await.unwrap();
    eventually("its sandboxes died with it", || async { !family.iter().any(|pid| alive(*pid)) }).await;
    eventually("it is known to be gone", || async { !world.spawner.alive() }).await;
    let groups = groups_of(spawner);

    // The next one clears up what this one could not.
    let again = Spawner::launch(options(&world.directory)).await.unwrap();
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
    let sandbox = again.create(spec("next")).await.unwrap();
    assert_eq!(run(&sandbox, exec(&["true"])).await.unwrap().0.code, Some(0));
}
