//! A spawner of each test's own, and what tests do with sandboxes again and again.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses some of it")]

use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use xebec_sandbox::{
    Exec, Network, ProcessExit, Sandbox, SandboxError, SandboxLimits, SandboxSpec, Spawner, SpawnerOptions,
    Stream,
};

pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    pub spawner: Spawner,
    pub directory: TempDir,
}

pub fn options(directory: &TempDir) -> SpawnerOptions {
    SpawnerOptions {
        executable: Some(PathBuf::from(env!("CARGO_BIN_EXE_spawner-for-tests"))),
        run_directory: directory.path().join("run"),
        share_host_network: false,
        spare_networks: 1,
    }
}

/// A spawner, or why there can be none here.
pub async fn world() -> Option<World> {
    let directory = tempfile::tempdir().unwrap();
    match Spawner::launch(options(&directory)).await {
        Ok(spawner) => Some(World { spawner, directory }),
        Err(error) => {
            xebec_skipped::skipped!("{error}");
            None
        }
    }
}

pub fn spec(id: &str) -> SandboxSpec {
    SandboxSpec {
        id: id.to_owned(),
        network: Network::Loopback,
        variables: [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into(),
        limits: SandboxLimits {
            processes: Some(64),
            memory_bytes: Some(256 << 20),
            ..SandboxLimits::default()
        },
        ..SandboxSpec::default()
    }
}

pub fn exec(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        stdout: Stream::Pipe,
        stderr: Stream::Combined,
        ..Exec::default()
    }
}

pub fn shell(script: &str) -> Exec {
    exec(&["sh", "-c", script])
}

/// Runs a program to its end; how it ended, and what it said.
pub async fn run(sandbox: &Sandbox, exec: Exec) -> Result<(ProcessExit, String), SandboxError> {
    run_with(sandbox, exec, b"").await
}

pub async fn run_with(
    sandbox: &Sandbox,
    exec: Exec,
    input: &[u8],
) -> Result<(ProcessExit, String), SandboxError> {
    let mut process = sandbox.spawn(exec).await?;
    let stdin = process.stdin.take();
    let stdout = process.stdout.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input).await;
        }
    };
    let read = async {
        let mut said = Vec::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_end(&mut said).await.unwrap();
        }
        said
    };
    let work = async {
        let ((), said) = tokio::join!(write, read);
        (process.wait().await, String::from_utf8_lossy(&said).into_owned())
    };
    Ok(tokio::time::timeout(PATIENCE, work).await.expect("the process ends in time"))
}

/// Waits until something holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How many processes sleep for so many seconds, as the host sees it: looking from inside would end what was
/// left behind there. Each test sleeps for a time of its own.
pub fn sleeping(seconds: &str) -> usize {
    let expected = format!("sleep\0{seconds}.{}\0", std::process::id());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|it| it == expected.as_bytes()))
        .count()
}

/// The command for that.
pub fn sleep(seconds: &str) -> String {
    format!("sleep {seconds}.{}", std::process::id())
}
