//! A warmed Python, forked into sandboxes.

use crate::world::*;
use std::{path::Path, sync::Arc};
use tokio::io::AsyncReadExt;
use xebec_sandbox::{Exec, Sandbox, SandboxSpec, Stream, ZYGOTE_PYTHON, Zygote};

/// Runs in each child what its first argument says.
const SERVE: &str = "import sys\nsys.path.insert(0, sys.argv[1])\nimport json, zygote\n\
    zygote.serve(lambda arguments: exec(arguments[0], {'warm': json}))";

async fn zygote(world: &World) -> Option<Zygote> {
    let python = "/usr/bin/python3";
    if !Path::new(python).exists() {
        xebec_skipped::skipped!("there is no {python}");
        return None;
    }
    let directory = world.directory.path().join("zygote");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("zygote.py"), ZYGOTE_PYTHON).unwrap();
    let argv = [python, "-c", SERVE, directory.to_str().unwrap()].map(str::to_owned).to_vec();
    Some(world.spawner.zygote(Exec { argv, ..Exec::default() }).await.unwrap())
}

async fn python(zygote: &Zygote, sandbox: &Sandbox, script: &str) -> (Option<i32>, String) {
    let mut process = zygote.fork_into(sandbox, exec(&[script])).await.unwrap();
    let mut said = String::new();
    process.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
    (tokio::time::timeout(PATIENCE, process.wait()).await.unwrap().code, said)
}

#[tokio::test]
async fn children_live_in_their_sandboxes() {
    let Some(world) = world().await else { return };
    let Some(zygote) = zygote(&world).await else { return };
    let sandbox = world.spawner.create(spec("child")).await.unwrap();
    sandbox.write_file(Path::new("/tmp/mine"), b"mine", 0o600).await.unwrap();
    let (code, said) = python(
        &zygote,
        &sandbox,
        "import os\nprint(open('/tmp/mine').read(), os.getuid(), os.getcwd(), sorted(os.environ), \
         warm.dumps(os.listdir('/run')), sorted(os.listdir('/proc/self/fd')))\nraise SystemExit(3)",
    )
    .await;
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(
        said,
        "mine 1000 / ['PATH'] [\"xebec\", \"secrets\"] ['0', '1', '2', '3']\n".replace(
            "[\"xebec\", \"secrets\"]",
            if said.contains("[\"secrets\"") {
                "[\"secrets\", \"xebec\"]"
            } else {
                "[\"xebec\", \"secrets\"]"
            },
        )
    );

    // As confined as what the sandbox starts itself, line by line.
    let lines = "NoNewPrivs:|Seccomp:|Seccomp_filters:|Cap...:|Uid:|Gid:|SigBlk:|NSpid:|Groups:";
    let (_, own) = run(&sandbox, shell(&format!("grep -E '^({lines})' /proc/self/status | grep -v NSpid")))
        .await
        .unwrap();
    let script = format!(
        "import re\nprint(''.join(l for l in open('/proc/self/status') if re.match('^({lines})', l) and 'NSpid' not in l),end='')"
    );
    let (_, forked) = python(&zygote, &sandbox, &script).await;
    assert_eq!(own, forked);
    for (what, script) in [
        ("host files", format!("open('{}')", world.directory.path().join("zygote/zygote.py").display())),
        ("system files", "open('/usr/x','w')".to_owned()),
        (
            "namespaces",
            "import ctypes\nl=ctypes.CDLL(None,use_errno=True)\nif l.unshare(0x10000000): raise OSError"
                .to_owned(),
        ),
        ("its spawner", "import os\nos.kill(1,9)\nos.listdir('/proc/1/fd')".to_owned()),
    ] {
        let (code, said) = python(&zygote, &sandbox, &script).await;
        assert_eq!(code, Some(1), "{what}: {said}");
    }
    // Its groups are the sandbox's: the limit on processes holds for it, too.
    if world.spawner.enforcement().enforces("pids limit") {
        let bomb = "import os\nn=0\ntry:\n  while n<200:\n    if not os.fork():\n      import time; time.sleep(100)\n    n+=1\n\
            except BlockingIOError: print(n)";
        let mut process = zygote.fork_into(&sandbox, exec(&[bomb])).await.unwrap();
        let mut said = vec![0; 3];
        process.stdout.as_mut().unwrap().read_exact(&mut said).await.unwrap();
        assert!(String::from_utf8(said).unwrap().trim().parse::<u32>().unwrap() < 64);
    }
    assert!(zygote.alive());
}

#[tokio::test]
async fn children_are_processes_like_others() {
    let Some(world) = world().await else { return };
    let Some(zygote) = zygote(&world).await else { return };
    let sandbox =
        world.spawner.create(SandboxSpec { directory: Some("/tmp".into()), ..spec("like") }).await.unwrap();
    // Streams and further descriptors.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let script = "import os,sys\nos.write(3,b'three'); print(sys.stdin.read().upper(), os.getcwd(), flush=True); print('err',file=sys.stderr)";
    let mut talk =
        Exec { stdin: Stream::Pipe, descriptors: vec![Arc::new(theirs.into())], ..exec(&[script]) };
    talk.variables.insert("LONG".to_owned(), "x".repeat(100_000));
    let mut process = zygote.fork_into(&sandbox, talk).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut process.stdin.take().unwrap(), b"ahoy").await.unwrap();
    let mut said = String::new();
    process.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "AHOY /tmp\nerr\n");
    let mut heard = String::new();
    std::io::Read::read_to_string(&mut &ours, &mut heard).unwrap();
    assert_eq!(heard, "three");
    assert_eq!(process.wait().await.code, Some(0));

    // Killed with what it started, by hand or by being dropped.
    let script = format!("import os\nos.system('{} & echo up; wait')", sleep("1006"));
    for by_hand in [true, false] {
        let mut process = zygote.fork_into(&sandbox, exec(&[&script])).await.unwrap();
        process.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).await.unwrap();
        eventually("it sleeps", || async { sleeping("1006") == 1 }).await;
        if by_hand {
            process.kill();
            assert_eq!(tokio::time::timeout(PATIENCE, process.wait()).await.unwrap().signal, Some(9));
        }
        drop(process);
        eventually("its tree is gone", || async { sleeping("1006") == 0 }).await;
    }

    // With its sandbox, too; and the zygote with its spawner.
    let mut process = zygote.fork_into(&sandbox, exec(&["import time; time.sleep(1000)"])).await.unwrap();
    sandbox.destroy().await;
    assert_eq!(tokio::time::timeout(PATIENCE, process.wait()).await.unwrap().signal, Some(9));
    assert!(zygote.fork_into(&sandbox, exec(&["pass"])).await.is_err());
    world.spawner.shutdown().await;
    assert!(!zygote.alive());
}

#[tokio::test]
async fn what_is_no_zygote_is_refused() {
    let Some(world) = world().await else { return };
    for argv in [["/no/such/program"], ["/bin/true"]] {
        let argv = argv.map(str::to_owned).to_vec();
        assert!(world.spawner.zygote(Exec { argv, ..Exec::default() }).await.is_err());
    }
}
