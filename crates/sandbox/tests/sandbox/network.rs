//! The way out, tried against a world of our own: the test runs itself again in a network namespace that is
//! "the host", connected by a cable to another one that is "the world". The machine's own network is not
//! touched.

use crate::world::*;
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use xebec_sandbox::{Network, Sandbox};

const INNER: &str = "XEBEC_TEST_NETWORK";
const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const WORLD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

#[test]
fn the_way_out() {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let tools = Command::new("ip").arg("-V").output().is_ok() && Path::new("/usr/bin/python3").exists();
    if !root || !tools || !Path::new("/dev/net/tun").exists() {
        xebec_skipped::skipped!("needs root, ip, python3 and /dev/net/tun");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let resolv = directory.path().join("resolv.conf");
    std::fs::write(&resolv, format!("nameserver {WORLD}\n")).unwrap();
    let script = format!(
        "mount --bind {} /etc/resolv.conf && exec {} --exact network::in_a_world_of_its_own --nocapture",
        resolv.display(),
        std::env::current_exe().unwrap().display()
    );
    let output =
        Command::new("unshare").args(["-n", "-m", "sh", "-c", &script]).env(INNER, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
}

/// Keeps the world's namespace; ends with us.
struct World(Child);

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &str) {
    let status = Command::new("sh").args(["-c", arguments]).status().unwrap();
    assert!(status.success(), "{arguments}");
}

/// Lays the cable; the world's process id.
fn lay_cable() -> World {
    let mut keeper = Command::new("unshare")
        .args(["-n", "sh", "-c", "echo; exec sleep 600"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    keeper.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let pid = keeper.id();
    ip("ip link set lo up");
    ip(&format!("ip link add v0 type veth peer name v1 netns {pid}"));
    ip(&format!("ip addr add {HOST}/24 dev v0 && ip link set v0 up"));
    ip(&format!(
        "nsenter -t {pid} -n sh -c 'ip link set lo up; ip addr add {WORLD}/24 dev v1; ip link set v1 up'"
    ));
    World(keeper)
}

/// Runs something on a thread that lives in the world.
fn in_the_world<T: Send + 'static>(world: &World, what: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = std::fs::File::open(format!("/proc/{}/ns/net", world.0.id())).unwrap();
    let enter = move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        what()
    };
    std::thread::spawn(enter).join().unwrap()
}

/// The world's servers: `echo` answers once the other side has said all; `sink` reads slowly; `source` pours.
fn serve(world: &World) {
    let (echo, sink, source, datagrams, names) = in_the_world(world, || {
        let tcp = |port| TcpListener::bind((WORLD, port)).unwrap();
        let udp = |port| UdpSocket::bind((WORLD, port)).unwrap();
        (tcp(7), tcp(9), tcp(19), udp(7), udp(53))
    });
    std::thread::spawn(move || {
        for stream in echo.incoming() {
            let mut said = Vec::new();
            let mut stream = stream.unwrap();
            stream.read_to_end(&mut said).unwrap();
            stream.write_all(&said).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in sink.incoming() {
            let mut stream = stream.unwrap();
            std::thread::sleep(Duration::from_millis(300));
            let (mut count, mut buffer) = (0u64, vec![0; 65536]);
            loop {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    read => count += read as u64,
                }
            }
            stream.write_all(count.to_string().as_bytes()).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in source.incoming() {
            let mut stream = stream.unwrap();
            (0..320).all(|_| stream.write_all(&[7; 65536]).is_ok());
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 9000];
        while let Ok((count, from)) = datagrams.recv_from(&mut buffer) {
            datagrams.send_to(&buffer[..count], from).unwrap();
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((count, from)) = names.recv_from(&mut buffer) {
            names.send_to(&answer(&buffer[..count]), from).unwrap();
        }
    });
}

/// Every name is the world, by IPv4.
fn answer(question: &[u8]) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let v4 = question[end - 3] == 1;
    let mut answer = question[..end].to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, u8::from(v4), 0, 0, 0, 0]);
    if v4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(WORLD.octets());
    }
    answer
}

async fn python(sandbox: &Sandbox, script: &str) -> String {
    let script = format!("import socket\n{script}");
    let (_, said) = run(sandbox, exec(&["/usr/bin/python3", "-c", &script])).await.unwrap();
    said.trim().to_owned()
}

const TALK: &str = "def talk(host, port, data):\n  s=socket.create_connection((host,port),20)\n  s.sendall(data)\n  \
    s.shutdown(socket.SHUT_WR)\n  said=bytearray()\n  while True:\n    part=s.recv(65536)\n    if not part: return said\n    \
    said+=part\n";

/// Not a test by itself: what runs inside.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_world_of_its_own() {
    if std::env::var_os(INNER).is_none() {
        return;
    }
    let cable = lay_cable();
    serve(&cable);
    let world = world().await.expect("a spawner");
    assert!(world.spawner.enforcement().way_out, "{:?}", world.spawner.enforcement());
    let mut outward = spec("outward");
    outward.network = Network::Outward;
    let sandbox = world.spawner.create(outward.clone()).await.unwrap();

    // There and back, by address and by name, the sending side closed before the answer comes.
    for host in [WORLD.to_string(), "world.example".to_owned()] {
        let said =
            python(&sandbox, &format!("{TALK}print(talk('{host}',7,b'ahoy'*50000)==b'ahoy'*50000)")).await;
        assert_eq!(said, "True");
    }
    let said = python(
        &sandbox,
        &format!("s=socket.socket(2,2)\ns.settimeout(20)\ns.sendto(b'x'*8000,('{WORLD}',7))\nprint(len(s.recv(9000)))"),
    )
    .await;
    assert_eq!(said, "8000");

    // Much, either way; a far end that reads slowly slows the sender, and all of it arrives.
    let began = std::time::Instant::now();
    let said = python(&sandbox, &format!("{TALK}print(len(talk('{WORLD}',19,b'')))")).await;
    assert_eq!(said, (320 * 65536).to_string());
    let down = began.elapsed();
    let said = python(&sandbox, &format!("{TALK}print(talk('{WORLD}',9,b'x'*20000000).decode())")).await;
    assert_eq!(said, "20000000");
    eprintln!("20 MB in: {down:?}; 20 MB out, {:?}", began.elapsed() - down);

    // Many at once.
    let said = python(
        &sandbox,
        &format!(
            "{TALK}from concurrent.futures import ThreadPoolExecutor as P\nwith P(30) as p:\n  \
             print(sum(p.map(lambda i: talk('{WORLD}',7,b'%d'%i)==b'%d'%i, range(300))))"
        ),
    )
    .await;
    assert_eq!(said, "300");

    // Whatever the host listens on is refused, under each of its addresses, and never sees a connection.
    let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
    listener.set_nonblocking(true).unwrap();
    let refused = |host: &str, port: u16| {
        format!(
            "try:\n  socket.create_connection(('{host}',{port}),5); print('reached')\nexcept OSError as e: print(type(e).__name__)"
        )
    };
    for host in
        [HOST.to_string(), "127.0.0.1".to_owned(), "198.18.0.1".to_owned(), "169.254.169.254".to_owned()]
    {
        assert_eq!(python(&sandbox, &refused(&host, 8080)).await, "ConnectionRefusedError", "{host}");
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(
        python(&sandbox, &refused(&WORLD.to_string(), 8081)).await,
        "ConnectionRefusedError",
        "closed port"
    );

    // A sandbox that asked for no way out has none, and one of its own has its own loopback alone.
    let quiet = world.spawner.create(spec("quiet")).await.unwrap();
    assert_eq!(python(&quiet, &refused(&WORLD.to_string(), 7)).await, "OSError");
    let other = world.spawner.create(outward).await.unwrap();
    let mut server = sandbox.spawn(exec(&["/usr/bin/python3", "-m", "http.server", "9000"])).await.unwrap();
    eventually("it listens", || async { sandbox.connect(9000).await.is_ok() }).await;
    assert_eq!(python(&other, &refused("127.0.0.1", 9000)).await, "ConnectionRefusedError");
    assert_eq!(python(&other, &refused("198.18.0.2", 9000)).await, "ConnectionRefusedError");
    server.kill();
    server.wait().await;
    world.spawner.shutdown().await;
    let _: SocketAddr = (HOST, 0).into();
}
