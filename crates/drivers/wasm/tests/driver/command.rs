//! Programs with a main function.

use crate::guest::{COMMAND, HELLO, Host, Running, memory, soon};
use std::{collections::BTreeMap, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use xebec_core::{
    ports::instance::{Child, Command, Exit, IoError},
    revision::{ContractSpec, RevisionSpec},
};

fn stdio(spec: &mut RevisionSpec) {
    spec.contract = ContractSpec::named("stdio");
    spec.limits.memory_bytes = Some(8 << 20);
}

async fn spawn(running: &Running, does: &str) -> Box<dyn Child> {
    let command = Command { argv: vec!["program".to_owned(), does.to_owned()], ..Command::default() };
    running.io.spawn(command).await.unwrap()
}

/// Runs it to its end: what it printed, what it complained, and how it ended.
async fn run(running: &Running, command: Command) -> (String, String, Exit) {
    let mut child = running.io.spawn(command).await.unwrap();
    let mut streams = child.take_streams().unwrap();
    assert!(child.take_streams().is_none());
    drop(streams.stdin);
    let (mut output, mut complaint) = (String::new(), String::new());
    soon(streams.stdout.read_to_string(&mut output)).await.unwrap();
    if let Some(stderr) = &mut streams.stderr {
        soon(stderr.read_to_string(&mut complaint)).await.unwrap();
    }
    (output, complaint, soon(child.wait()).await)
}

fn command(does: &str) -> Command {
    Command { argv: vec!["program".to_owned(), does.to_owned()], ..Command::default() }
}

fn code(code: i32) -> Exit {
    Exit { code: Some(code), signal: None, out_of_memory: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn input_becomes_output() {
    let host = Host::new();
    let running = host.run(COMMAND, stdio).await;
    let mut child = spawn(&running, "cat").await;
    let mut streams = child.take_streams().unwrap();
    let sent: Vec<u8> = (0..1 << 20).map(|n: u32| u8::try_from(n % 251).unwrap()).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move { streams.stdin.write_all(&sent).await });
    let mut received = Vec::new();
    soon(streams.stdout.read_to_end(&mut received)).await.unwrap();
    assert!(received == expected);
    soon(sending).await.unwrap().unwrap();
    assert_eq!(soon(child.wait()).await, code(0));
    assert_eq!(child.wait().await, code(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_come_from_environment_function_secrets_and_call() {
    let host = Host::new();
    let running = host.run(COMMAND, stdio).await;
    let variables = BTreeMap::from([("CALL".to_owned(), "yes".to_owned())]);
    let (output, _, exit) = run(&running, Command { variables, ..command("variables") }).await;
    assert_eq!(exit, code(0));
    assert_eq!(output, "FROM=environment\nPASSWORD=swordfish\nSHARED=function\nCALL=yes\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_in_their_own_ways() {
    let host = Host::new();
    let running = host.run(COMMAND, stdio).await;
    assert_eq!(run(&running, command("grumble")).await, (String::new(), "complaint\n".to_owned(), code(1)));
    let combined = Command { combine_output: true, ..command("grumble") };
    assert_eq!(run(&running, combined).await, ("complaint\n".to_owned(), String::new(), code(1)));
    let used = running.io.usage().await.unwrap().cpu;
    assert_eq!(run(&running, command("exit")).await.2, code(0));
    assert!(running.io.usage().await.unwrap().cpu > used);

    let (_, complaint, exit) = run(&running, command("trap")).await;
    assert_eq!(exit, Exit { code: None, signal: Some(6), out_of_memory: false });
    assert!(complaint.contains("unreachable"), "{complaint}");
    let (_, complaint, exit) = run(&running, command("memory")).await;
    assert_eq!(exit, Exit { code: None, signal: Some(9), out_of_memory: true });
    assert!(complaint.contains("out of memory"), "{complaint}");
    assert_eq!(memory(&running).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_when_they_are_killed_dropped_or_their_instance_ends() {
    let host = Host::new();
    let running = host.run(COMMAND, stdio).await;
    let killed = Exit { code: None, signal: Some(9), out_of_memory: false };
    let computing = || async {
        soon(async {
            while memory(&running).await == Some(0) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    let gone = || async {
        soon(async {
            while memory(&running).await != Some(0) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    };
    for does in ["loop", "cat"] {
        let mut child = spawn(&running, does).await;
        computing().await;
        child.kill();
        assert_eq!(soon(child.wait()).await, killed, "{does}");
        gone().await;

        let child = spawn(&running, does).await;
        computing().await;
        drop(child);
        gone().await;
    }
    for does in ["loop", "cat"] {
        let running = host.run(COMMAND, stdio).await;
        let mut child = spawn(&running, does).await;
        let _streams = child.take_streams();
        running.io.destroy().await;
        assert_eq!(soon(child.wait()).await, killed, "{does}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_programs_can_be_spawned() {
    let host = Host::new();
    let running = host.run(HELLO, |_| {}).await;
    let error = running.io.spawn(command("cat")).await.err().unwrap();
    assert!(matches!(error, IoError::NoProgram { .. }), "{error}");
}
