//! Sandboxes and the processes in them.

mod world;

use world::*;
use xebec_sandbox::{SandboxError, Stream};

#[tokio::test]
async fn a_process_answers() {
    let Some(world) = world().await else { return };
    for protection in &world.spawner.enforcement().protections {
        eprintln!("{protection:?}");
    }
    let sandbox = world.spawner.create(spec("echo")).await.unwrap();
    let mut cat = exec(&["cat"]);
    cat.stdin = Stream::Pipe;
    let input = "ahoy\n".repeat(100_000);
    let (exit, said) = run_with(&sandbox, cat, input.as_bytes()).await.unwrap();
    assert_eq!((exit.code, said.len()), (Some(0), input.len()));

    let (exit, said) = run(&sandbox, shell("id; pwd; ls -la / /etc /dev /run /tmp /run/xebec; cat /proc/self/status; mount; env; ps aux; ip a; exit 7")).await.unwrap();
    eprintln!("{said}");
    assert_eq!(exit.code, Some(7));
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("missing")).await.unwrap();
    for program in ["no-such-program", "/no/such/program", "/etc/passwd", "/tmp"] {
        let error = run(&sandbox, exec(&[program])).await.unwrap_err();
        assert!(matches!(&error, SandboxError::NoProgram { .. }), "{error}");
    }
    let (exit, _) = run(&sandbox, exec(&["true"])).await.unwrap();
    assert_eq!(exit.code, Some(0));
}
