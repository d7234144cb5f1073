//! Processes inside.

use crate::world::*;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use xebec_sandbox::{SandboxError, Stream};

#[tokio::test]
async fn a_process_answers() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("echo")).await.unwrap();
    let mut cat = exec(&["cat"]);
    cat.stdin = Stream::Pipe;
    let input = "ahoy\n".repeat(100_000);
    let (exit, said) = run_with(&sandbox, cat, input.as_bytes()).await.unwrap();
    assert_eq!((exit.code, said.len()), (Some(0), input.len()));
}

#[tokio::test]
async fn exits_are_told_as_they_are() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("exits")).await.unwrap();
    let (exit, said) = run(&sandbox, shell("echo out; echo err >&2; exit 7")).await.unwrap();
    assert_eq!((exit.code, exit.signal, said.as_str()), (Some(7), None, "out\nerr\n"));
    let (exit, _) = run(&sandbox, shell("kill -TERM $$")).await.unwrap();
    assert_eq!((exit.code, exit.signal, exit.out_of_memory), (None, Some(15), false));

    let mut apart = shell("echo out; echo err >&2");
    apart.stderr = Stream::Pipe;
    let mut process = sandbox.spawn(apart).await.unwrap();
    let mut err = String::new();
    process.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!(err, "err\n");
    assert_eq!(process.wait().await.code, Some(0));
    assert_eq!(process.wait().await.code, Some(0), "asking again gives the same answer");
}

#[tokio::test]
async fn what_is_given_beside_the_streams_is_the_third_and_on() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("third")).await.unwrap();
    let (mut third, theirs) = std::io::pipe().unwrap();
    let (mut fourth, and_theirs) = std::io::pipe().unwrap();
    let mut script = shell("echo third >&3; echo fourth >&4; echo out");
    script.descriptors = vec![Arc::new(theirs.into()), Arc::new(and_theirs.into())];
    let (exit, said) = run(&sandbox, script).await.unwrap();
    assert_eq!((exit.code, said.as_str()), (Some(0), "out\n"));
    // They end: nobody else holds their other ends.
    let read = tokio::task::spawn_blocking(move || {
        let (mut one, mut two) = (String::new(), String::new());
        std::io::Read::read_to_string(&mut third, &mut one).unwrap();
        std::io::Read::read_to_string(&mut fourth, &mut two).unwrap();
        (one, two)
    });
    assert_eq!(read.await.unwrap(), ("third\n".to_owned(), "fourth\n".to_owned()));
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("missing")).await.unwrap();
    for program in ["no-such-program", "/no/such/program", "/etc/passwd", "/tmp"] {
        let error = run(&sandbox, exec(&[program])).await.unwrap_err();
        assert!(
            matches!(&error, SandboxError::NoProgram { program: named, .. } if named == program),
            "{error}"
        );
    }
    let mut lost = exec(&["true"]);
    lost.directory = Some("/no/such/directory".into());
    let error = run(&sandbox, lost).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/directory"), "{error}");
    let error = run(&sandbox, exec(&[])).await.unwrap_err();
    assert!(matches!(error, SandboxError::Invalid(_)), "{error}");
    let (exit, _) = run(&sandbox, exec(&["true"])).await.unwrap();
    assert_eq!(exit.code, Some(0));
}

#[tokio::test]
async fn nothing_of_the_server_leaks_in() {
    let Some(world) = world().await else { return };
    let mut spec = spec("clean");
    spec.variables.insert("GREETING".to_owned(), "hello".to_owned());
    spec.directory = Some("/tmp".into());
    let sandbox = world.spawner.create(spec).await.unwrap();
    let mut env = exec(&["env"]);
    env.variables.insert("PATH".to_owned(), "/usr/bin".to_owned());
    let (_, said) = run(&sandbox, env).await.unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), ["GREETING=hello", "PATH=/usr/bin"]);
    let (_, said) = run(&sandbox, shell("pwd; ls /proc/self/fd; umask; hostname")).await.unwrap();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["/tmp", "0", "1", "2", "3", "0022", "sandbox"],
        "3 is ls's own"
    );
    // Blocked or ignored signals would be inherited; 32 and 33 are the C library's.
    let (_, said) = run(&sandbox, shell("grep -E 'SigBlk|SigIgn' /proc/self/status")).await.unwrap();
    let masks = said.split_whitespace().skip(1).step_by(2).map(|mask| u64::from_str_radix(mask, 16).unwrap());
    assert!(masks.clone().all(|mask| mask & !0x1_8000_0000 == 0), "{said}");
}

#[tokio::test]
async fn further_descriptors_are_numbered_from_three() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("descriptors")).await.unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut speak = shell("echo three >&3; cat <&4");
    let file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &file, b"four").unwrap();
    std::io::Seek::rewind(&mut &file).unwrap();
    speak.descriptors = vec![Arc::new(theirs.into()), Arc::new(file.into())];
    let (_, said) = run(&sandbox, speak).await.unwrap();
    assert_eq!(said, "four");
    let mut heard = String::new();
    std::io::Read::read_to_string(&mut &ours, &mut heard).unwrap();
    assert_eq!(heard, "three\n");
}

#[tokio::test]
async fn many_large_starts_at_once() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("many")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let sandbox = sandbox.clone();
        tasks.spawn(async move {
            let mut echo = shell("echo $NUMBER ${#LONG}");
            echo.variables.insert("NUMBER".to_owned(), number.to_string());
            // Longer than a packet carries.
            echo.variables.insert("LONG".to_owned(), "x".repeat(60_000));
            (
                number,
                loop {
                    // The limit on processes is reached now and then: that is an error, and the next try works.
                    match run(&sandbox, echo.clone()).await {
                        Ok((exit, said)) => break (exit.code, said),
                        Err(SandboxError::Failed { .. }) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error}"),
                    }
                },
            )
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (number, answer) = done.unwrap();
        assert_eq!(answer, (Some(0), format!("{number} 60000\n")));
    }
}

#[tokio::test]
async fn killing_takes_the_whole_tree() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("tree")).await.unwrap();
    let sleep = sleep("1001");
    let stubborn =
        format!("trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; {sleep}; :' & {sleep} & echo up; wait");
    let mut process = sandbox.spawn(shell(&stubborn)).await.unwrap();
    process.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).await.unwrap();
    eventually("all of them sleep", || async { sleeping("1001") == 2 }).await;
    sandbox.signal_all(15).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(100), process.wait()).await;
    assert!(waited.is_err(), "it ignores SIGTERM");
    process.kill();
    let exit = tokio::time::timeout(PATIENCE, process.wait()).await.unwrap();
    assert_eq!(exit.signal, Some(9));
    eventually("its tree is gone", || async { sleeping("1001") == 0 }).await;
}

#[tokio::test]
async fn one_process_of_two_is_killed() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("two")).await.unwrap();
    let both = |sleep: String| shell(&format!("setsid {sleep} & {sleep} & wait"));
    let first = sandbox.spawn(both(sleep("1002"))).await.unwrap();
    let second = sandbox.spawn(both(sleep("1003"))).await.unwrap();
    eventually("all of them sleep", || async { sleeping("1002") == 2 && sleeping("1003") == 2 }).await;
    drop(first);
    eventually("the first tree is gone", || async { sleeping("1002") == 0 }).await;
    assert_eq!(sleeping("1003"), 2);
    drop(second);
    eventually("the second tree is gone", || async { sleeping("1003") == 0 }).await;
}

#[tokio::test]
async fn dropping_a_process_leaves_nothing_behind() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("drop")).await.unwrap();
    // It ends well by itself, but leaves a daemon in a session of its own.
    let script = format!(
        "setsid {} >/dev/null 2>&1 & while [ \"$(cat /proc/$!/comm)\" != sleep ]; do :; done",
        sleep("1004")
    );
    let mut process = sandbox.spawn(shell(&script)).await.unwrap();
    assert_eq!(process.wait().await.code, Some(0));
    assert_eq!(sleeping("1004"), 1);
    drop(process);
    eventually("the daemon is gone", || async { sleeping("1004") == 0 }).await;
}

#[tokio::test]
async fn ports_and_sockets_inside_are_reached() {
    let Some(world) = world().await else { return };
    if run(&world.spawner.create(spec("probe")).await.unwrap(), exec(&["python3", "-V"])).await.is_err() {
        xebec_skipped::skipped!("there is no python3 in /usr");
        return;
    }
    let sandbox = world.spawner.create(spec("ports")).await.unwrap();
    let refused = sandbox.connect(8080).await.unwrap_err();
    assert!(
        matches!(&refused, SandboxError::System(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
    );
    let missing = sandbox.connect_socket(Path::new("/run/xebec/s")).await.unwrap_err();
    assert!(matches!(&missing, SandboxError::System(error) if error.kind() == std::io::ErrorKind::NotFound));

    let serve = "import socket,threading\n\
        def serve(s):\n  while True:\n    c,_=s.accept(); c.sendall(c.recv(9).upper()); c.close()\n\
        a=socket.socket(); a.bind(('127.0.0.1',80))\n\
        b=socket.socket(socket.AF_UNIX); b.bind('/run/xebec/s')\n\
        a.listen(); b.listen()\n\
        threading.Thread(target=serve,args=(a,)).start(); threading.Thread(target=serve,args=(b,)).start()\n\
        print('up',flush=True)";
    let mut server = sandbox.spawn(exec(&["python3", "-c", serve])).await.unwrap();
    let mut line = [0; 3];
    server.stdout.as_mut().unwrap().read_exact(&mut line).await.unwrap();

    async fn ask(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> String {
        stream.write_all(b"ahoy").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
    eventually("the port is open", || async { sandbox.connect(80).await.is_ok() }).await;
    assert_eq!(ask(sandbox.connect(80).await.unwrap()).await, "AHOY");
    assert_eq!(ask(sandbox.connect_socket(Path::new("/run/xebec/s")).await.unwrap()).await, "AHOY");
    let ours = sandbox.run_directory().join("s");
    assert_eq!(ask(tokio::net::UnixStream::connect(ours).await.unwrap()).await, "AHOY");
}

#[tokio::test]
async fn the_server_listens_in_the_run_directory() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("listen")).await.unwrap();
    let path = sandbox.run_directory().join("api.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let dial =
        "import socket; s=socket.socket(socket.AF_UNIX); s.connect('/run/xebec/api.sock'); s.sendall(b'hi')";
    let process = match sandbox.spawn(exec(&["python3", "-c", dial])).await {
        Ok(process) => process,
        Err(error) => return xebec_skipped::skipped!("{error}"),
    };
    let (mut stream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "hi");
    drop(process);
}

#[tokio::test]
async fn a_spawn_given_up_leaves_no_process() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("impatient")).await.unwrap();
    for _ in 0..20 {
        let exec = shell(&format!("exec {}", sleep("1005")));
        let _ = tokio::time::timeout(Duration::from_micros(50), sandbox.spawn(exec)).await;
    }
    // Messages are answered in order: when this one is, none of the others is under way.
    assert_eq!(run(&sandbox, exec(&["true"])).await.unwrap().0.code, Some(0));
    eventually("none sleeps", || async { sleeping("1005") == 0 }).await;
}
