//! Where user namespaces, or none at all, can be had: tests run again where the kernel refuses them, as an
//! ordinary user, as a container's root, and as a root that has all other rights.

use crate::world::*;
use std::{
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};
use tokio::io::AsyncReadExt;
use xebec_sandbox::{Bind, SandboxError};
use xebec_skipped::skipped;

const INNER: &str = "XEBEC_TEST_BARE";

/// Runs the inner test in a user namespace that has none below it; `map` are the ids that it knows.
fn again(before: &[&str], map: &str, setpriv: &str, tests: &str) -> Option<String> {
    if !Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n") {
        skipped!("needs root");
        return None;
    }
    // Once it is mapped, executing a shell gives it the rights that it needs to forbid further namespaces. A shell
    // takes on the id that it finds at its start: the map must not come in the middle of that, so it tells when.
    let script = "echo there && read go && exec sh -c \"echo 0 > /proc/sys/user/max_user_namespaces && exec \
        setpriv $0 $1 $2 --nocapture\"";
    let mut command = Command::new("setpriv");
    command.args(before).args(["unshare", "-U", "--keep-caps", "sh", "-c", script, setpriv]);
    let mut child = command
        .arg(std::env::current_exe().unwrap())
        .arg(tests)
        .env(INNER, "1")
        .env("TMPDIR", "/tmp")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; "there\n".len()]).expect("it gets its namespace");
    let theirs = format!("/proc/{}", child.id());
    std::fs::write(format!("{theirs}/uid_map"), map).unwrap();
    std::fs::write(format!("{theirs}/gid_map"), map).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("test result: ok"), "{said}\n{complained}");
    Some(complained.into_owned())
}

const BARE: &str = "--exact bare::on_bare_ground";

#[test]
fn as_an_ordinary_user() {
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    // Root there in name only.
    let setpriv = "--inh-caps=-all --bounding-set=-all --securebits=+noroot,+noroot_locked";
    if let Some(said) = again(&user, "0 65534 1\n", setpriv, BARE) {
        assert!(said.contains("bare ground reached"), "{said}");
    }
}

#[test]
fn as_root_of_a_container() {
    let setpriv = "--inh-caps=-all --bounding-set=-sys_admin,-sys_ptrace";
    if let Some(said) = again(&[], "0 0 4000000000\n", setpriv, BARE) {
        assert!(said.contains("bare ground reached"), "{said}");
    }
}

#[test]
fn as_root_without_user_namespaces() {
    again(&[], "0 0 4000000000\n", "--inh-caps=-all", "processes:: isolation:: limits::");
}

/// Not a test by itself: what runs there.
#[tokio::test]
async fn on_bare_ground() {
    if std::env::var_os(INNER).is_none() {
        return;
    }
    let Some(world) = world().await else { return };
    let enforcement = world.spawner.enforcement();
    assert!(!enforcement.own_root && enforcement.shares_host_network, "{enforcement:?}");
    assert!(enforcement.enforces("landlock") && !enforcement.enforces("mount namespace"));
    eprintln!("bare ground reached");
    let own_user = enforcement.enforces("own user");

    let host = |name: &str| {
        let path = world.directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("file"), name).unwrap();
        path
    };
    std::fs::set_permissions(world.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (secret, code, kept, data, late) =
        (host("secret"), host("code"), host("kept"), host("data"), host("late"));
    let bind = |host: &Path, inside: &Path, writable| Bind {
        host: host.to_owned(),
        inside: inside.to_owned(),
        writable,
    };
    let mut wanted = spec("bare");
    wanted.variables.insert("CODE".to_owned(), "/code/file".to_owned());
    wanted.directory = Some("/code".into());
    wanted.binds = vec![
        bind(&code, Path::new("/code"), false),
        bind(&kept, &kept, false),
        bind(&data, Path::new("/data/here"), true),
    ];
    let sandbox = world.spawner.create(wanted).await.unwrap();
    sandbox.write_file(Path::new("/run/secrets/key"), b"sesame", 0o400).await.unwrap();
    assert!(sandbox.write_file(Path::new("/etc/x"), b"", 0o400).await.is_err());

    // What was bound is there, by its path inside.
    let kept_file = kept.join("file");
    let (exit, said) = run(
        &sandbox,
        exec(&[
            "cat",
            "file",
            "/code/file",
            kept_file.to_str().unwrap(),
            "/data/here/file",
            "/run/secrets/key",
        ]),
    )
    .await
    .unwrap();
    assert_eq!((exit.code, said.as_str()), (Some(0), "codecodekeptdatasesame"), "{said}");
    let (_, said) = run(&sandbox, shell("cat $CODE; echo new > $TMPDIR/new; cat $TMPDIR/new")).await.unwrap();
    assert_eq!(said, "codenew\n");
    let (exit, said) = run(&sandbox, exec(&["touch", "/tmp/x", "/data/here/new"])).await.unwrap();
    assert_eq!(exit.code, Some(0), "{said}");
    assert!(data.join("new").exists());
    sandbox.bind(bind(&late, Path::new("/function/late"), false)).await.unwrap();
    assert_eq!(run(&sandbox, exec(&["cat", "/function/late/file"])).await.unwrap().1, "late");
    let too_late = sandbox.bind(bind(&late, &late, false)).await.unwrap_err();
    assert!(matches!(too_late, SandboxError::Failed { .. }), "{too_late}");

    // What was not is not.
    let other = world.spawner.create(spec("other")).await.unwrap();
    other.write_file(Path::new("/tmp/theirs"), b"theirs", 0o644).await.unwrap();
    let theirs = other.translate(Path::new("/tmp/theirs"));
    let parent = std::process::id();
    for command in [
        format!("cat {}/file", secret.display()),
        format!("cat {}", theirs.display()),
        format!("ls {}", theirs.parent().unwrap().display()),
        format!("cat /proc/{parent}/environ"),
        format!("kill -9 {parent}"),
        format!("ls -l /proc/{parent}/fd"),
        "cat /etc/fstab /etc/shadow".to_owned(),
        "touch code/x || touch /code/x".to_owned(),
        format!("echo x > {}/file", code.display()),
        "ls /root /home".to_owned(),
        "unshare -U true".to_owned(),
    ] {
        let (exit, said) = run(&sandbox, shell(&command)).await.unwrap();
        assert_ne!(exit.code, Some(0), "{command}: {said}");
    }
    assert_eq!(std::fs::read_to_string(code.join("file")).unwrap(), "code");
    let (_, said) = run(&sandbox, exec(&["id", "-u"])).await.unwrap();
    let own = format!("{}\n", rustix::process::geteuid().as_raw());
    assert_eq!(said != own, own_user, "{said}");

    // Processes end with what they started, alone, with their sandbox, or with their spawner.
    let sleep = sleep("1007");
    let script = format!("trap '' TERM; setsid sh -c \"trap '' TERM; {sleep}; :\" & {sleep} & echo up; wait");
    let mut process = sandbox.spawn(shell(&script)).await.unwrap();
    process.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).await.unwrap();
    eventually("both sleep", || async { sleeping("1007") == 2 }).await;
    sandbox.signal_all(15).await.unwrap();
    process.kill();
    assert_eq!(tokio::time::timeout(PATIENCE, process.wait()).await.unwrap().signal, Some(9));
    eventually("its tree is gone", || async { sleeping("1007") == 0 }).await;
    for _ in 0..2 {
        let mut process = sandbox.spawn(shell(&format!("{script}; :"))).await.unwrap();
        process.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).await.unwrap();
        let _ = process.stdin.take();
        std::mem::forget(process);
    }
    eventually("all sleep", || async { sleeping("1007") == 4 }).await;
    let root = sandbox.translate(Path::new("/tmp"));
    assert!(root.exists());
    sandbox.destroy().await;
    eventually("all of it is gone", || async { sleeping("1007") == 0 }).await;
    assert!(!root.exists());
    assert_eq!(run(&other, exec(&["true"])).await.unwrap().0.code, Some(0), "the other one lives on");
    world.spawner.shutdown().await;
    assert!(!theirs.exists());
}
