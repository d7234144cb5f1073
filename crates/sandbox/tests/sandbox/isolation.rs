//! What a sandbox can see and reach.

use crate::world::*;
use std::{os::unix::fs::PermissionsExt, path::Path};
use xebec_sandbox::{Bind, SandboxError};

#[tokio::test]
async fn files_of_the_host_are_out_of_reach() {
    let Some(world) = world().await else { return };
    let secret = world.directory.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let sandbox = world.spawner.create(spec("files")).await.unwrap();
    let secret = secret.display();
    for command in [
        format!("cat {secret}"),
        format!("cat /proc/1/root{secret}"),
        "ls /root /home/*".to_owned(),
        "cat /etc/shadow".to_owned(),
        "ls -d /boot".to_owned(),
        "cat /proc/1/environ".to_owned(),
        "kill -0 2 && cat /proc/2/maps".to_owned(),
        "touch /usr/x".to_owned(),
        "touch /etc/x".to_owned(),
        "rm /usr/bin/true".to_owned(),
        "mknod /tmp/disk b 254 0".to_owned(),
        "mount -t tmpfs none /tmp".to_owned(),
        "unshare -U true".to_owned(),
        "unshare -m true".to_owned(),
        "chroot / true".to_owned(),
        "su -c true".to_owned(),
        "hostname elsewhere".to_owned(),
        "echo 1 > /proc/sys/kernel/panic".to_owned(),
        "dmesg".to_owned(),
    ] {
        let (exit, said) = run(&sandbox, shell(&command)).await.unwrap();
        assert_ne!(exit.code, Some(0), "{command}: {said}");
    }
    // Where there is one user id only, this may be sent, but it does nothing.
    run(&sandbox, shell("kill -9 1; kill -SEGV 1")).await.unwrap();
    let (exit, said) = run(&sandbox, shell("cat /etc/passwd; ls /proc | grep -c '^[0-9]'")).await.unwrap();
    assert_eq!(exit.code, Some(0));
    assert!(said.contains("app:x:1000") && !said.contains("sync:"), "{said}");
}

#[tokio::test]
async fn sandboxes_do_not_see_each_other() {
    let Some(world) = world().await else { return };
    let one = world.spawner.create(spec("one")).await.unwrap();
    let two = world.spawner.create(spec("two")).await.unwrap();
    run(&one, shell("echo mine > /tmp/file; echo mine > /run/xebec/file; echo mine > /dev/shm/file"))
        .await
        .unwrap();
    one.write_file(Path::new("/run/secrets/key"), b"secret", 0o400).await.unwrap();
    let _sleeps = one.spawn(exec(&["sleep", "1000"])).await.unwrap();
    let look =
        "ls /tmp/file /run/xebec/file /dev/shm/file /run/secrets/key 2>/dev/null; ps ax | grep -c '[s]leep'";
    let (_, said) = run(&two, shell(look)).await.unwrap();
    assert_eq!(said, "0\n");
    let uids = world.spawner.enforcement().enforces("own user");
    let outside =
        |sandbox| async move { run(sandbox, shell("cat /proc/self/uid_map; id -u")).await.unwrap().1 };
    assert_eq!(outside(&one).await != outside(&two).await, uids);
}

#[tokio::test]
async fn secrets_are_the_instances_alone() {
    let Some(world) = world().await else { return };
    let sandbox = world.spawner.create(spec("secrets")).await.unwrap();
    for path in
        ["/run/secrets/key", "/var/openfaas/secrets/key", "/tmp/deep/er/key", "/var/run/secrets/other"]
    {
        sandbox.write_file(Path::new(path), b"open sesame", 0o400).await.unwrap();
        sandbox.write_file(Path::new(path), b"open barley", 0o400).await.unwrap();
        let (exit, said) =
            run(&sandbox, shell(&format!("cat {path}; stat -c ' %a' {path}; test -O {path}"))).await.unwrap();
        assert_eq!((exit.code, said.as_str()), (Some(0), "open barley 400\n"), "{path}");
    }
    // A link that the function planted leads nowhere but inside, and is replaced, not followed.
    run(&sandbox, shell("echo kept > /tmp/kept; ln -s /tmp/kept /tmp/link; mkfifo /tmp/pipe")).await.unwrap();
    for path in ["/tmp/link", "/tmp/pipe"] {
        sandbox.write_file(Path::new(path), b"written", 0o600).await.unwrap();
        assert_eq!(run(&sandbox, exec(&["cat", path])).await.unwrap().1, "written");
    }
    assert_eq!(run(&sandbox, exec(&["cat", "/tmp/kept"])).await.unwrap().1, "kept\n");
    for path in ["relative", "/", "/proc", "/a/../b"] {
        let error = sandbox.write_file(Path::new(path), b"", 0o600).await.unwrap_err();
        assert!(matches!(error, SandboxError::Invalid(_)), "{path}");
    }
    assert!(sandbox.write_file(Path::new("/usr/bin/x"), b"", 0o600).await.is_err());
}

#[tokio::test]
async fn binds_are_seen_at_creation_and_later() {
    let Some(world) = world().await else { return };
    let host = |name: &str| {
        let path = world.directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("file"), name).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let bind =
        |host: &Path, inside: &str, writable| Bind { host: host.to_owned(), inside: inside.into(), writable };
    let (code, data, late, wide) = (host("code"), host("data"), host("late"), host("wide"));
    let mut spec = spec("binds");
    spec.binds = vec![bind(&code, "/code", false), bind(&data, "/data/here", true)];
    let sandbox = world.spawner.create(spec).await.unwrap();
    let (exit, said) =
        run(&sandbox, shell("cat /code/file /data/here/file; echo new > /data/here/new")).await.unwrap();
    assert_eq!((exit.code, said.as_str()), (Some(0), "codedata"));
    assert_eq!(std::fs::read_to_string(data.join("new")).unwrap(), "new\n");
    let (exit, _) = run(&sandbox, shell("echo no > /code/new")).await.unwrap();
    assert_ne!(exit.code, Some(0));

    sandbox.bind(bind(&late, "/very/late", false)).await.unwrap();
    sandbox.bind(bind(&wide, "/mnt/wide", true)).await.unwrap();
    sandbox.bind(bind(&late.join("file"), "/opt/one/file", false)).await.unwrap();
    let (exit, said) = run(
        &sandbox,
        shell("cat /very/late/file /opt/one/file; echo new > /mnt/wide/new; rm /mnt/wide/file"),
    )
    .await
    .unwrap();
    assert_eq!((exit.code, said.as_str()), (Some(0), "latelate"), "{said}");
    let (exit, _) =
        run(&sandbox, shell("echo no > /very/late/new || echo no > /opt/one/file")).await.unwrap();
    assert_ne!(exit.code, Some(0));

    let error = sandbox.bind(bind(Path::new("/no/such/thing"), "/x", false)).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/thing"), "{error}");
    let error = sandbox.bind(bind(&late, "/usr/share/no/such/thing", false)).await.unwrap_err();
    assert!(matches!(error, SandboxError::Failed { .. }), "{error}");
    let (exit, _) = run(&sandbox, exec(&["true"])).await.unwrap();
    assert_eq!(exit.code, Some(0), "a bind that failed harms nothing");
}

#[tokio::test]
async fn listeners_of_the_host_are_out_of_reach() {
    let Some(world) = world().await else { return };
    if world.spawner.enforcement().shares_host_network {
        xebec_skipped::skipped!("the host's network is shared here");
        return;
    }
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let sandbox = world.spawner.create(spec("reach")).await.unwrap();
    let (exit, _) =
        run(&sandbox, exec(&["bash", "-c", &format!("echo > /dev/tcp/127.0.0.1/{port}")])).await.unwrap();
    assert_ne!(exit.code, Some(0));
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
