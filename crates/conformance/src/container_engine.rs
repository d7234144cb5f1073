//! A container engine of the tests' own: its own data, socket and addresses, gone when the tests are.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long it may take to come up, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Engines at a time.
const POOLS: u32 = 150;

/// Looks after the engine. It does as it is told line by line, and when nobody can tell it anything any more –
/// the tests have ended, however – it ends the engine and takes away what it left.
const KEEPER: &str = r#"
dir=$1 pool=$2 name=$3 room=$4
shift 4
if [ -n "$room" ]; then
  mkdir "$dir/root"
  mount -t tmpfs -o "size=$room" xebec-engine "$dir/root" || { rm -rf "$dir"; exit 1; }
fi
run() {
  dockerd --data-root "$dir/root" --exec-root "$dir/run" --pidfile "$dir/pid" --host "unix://$dir/docker.sock" \
    --iptables=false --ip6tables=false --ip-forward=false --bridge=none --live-restore \
    --containerd-namespace "$name" --containerd-plugins-namespace "$name-plugins" \
    --default-address-pool "base=$pool.0.0/16,size=24" --shutdown-timeout 2 "$@" >>"$dir/log" 2>&1 &
  engine=$!
}
run "$@"
while read -r told; do
  case $told in
    stop) kill "$engine"; wait "$engine"; echo stopped >"$dir/told" ;;
    start) run "$@"; echo started >"$dir/told" ;;
  esac
done
for id in $(ls "$dir/root/containers" 2>/dev/null); do
  cat /sys/fs/cgroup/pids/docker/"$id"/cgroup.procs /sys/fs/cgroup/docker/"$id"/cgroup.procs 2>/dev/null |
    while read -r process; do kill -9 "$process"; done
done
kill "$engine"; wait "$engine"
# What watched its containers, each by a process that has the name as an argument, as this one has.
for file in $(grep -lszx -- "$name" /proc/[0-9]*/cmdline); do
  process=${file#/proc/}
  process=${process%/cmdline}
  [ "$process" = $$ ] || kill -9 "$process" 2>/dev/null
done
ip -o -4 addr 2>/dev/null | grep " $pool\." | while read -r _ link _; do ip link del "$link"; done
grep -o " $dir[^ ]*" /proc/mounts | sort -r | while read -r mount; do umount -l "$mount"; done
rm -rf "$dir"
"#;

/// A running engine. It ends when this is dropped, or the process that has it ends.
pub struct ContainerEngine {
    /// Where it listens.
    pub socket: PathBuf,
    folder: PathBuf,
    keeper: Mutex<Child>,
}

impl ContainerEngine {
    /// Starts one; those of one process have different numbers.
    ///
    /// # Errors
    /// Why there can be none here, in a sentence.
    pub async fn launch(number: u32) -> Result<Self, String> {
        Self::launch_with(number, "").await
    }

    /// Starts one whose disk is so small.
    ///
    /// # Errors
    /// Why there can be none here, in a sentence.
    pub async fn launch_on_small_disk(number: u32, mebibytes: u32) -> Result<Self, String> {
        Self::launch_with(number, &format!("{mebibytes}m")).await
    }

    async fn launch_with(number: u32, room: &str) -> Result<Self, String> {
        for program in ["dockerd", "containerd", "runc"] {
            if !in_path(program) {
                return Err(format!("this machine has no {program}"));
            }
        }
        if !rustix::process::geteuid().is_root() {
            return Err("a container engine of one's own takes root".to_owned());
        }
        let process = std::process::id();
        let (folder, pool) = claim_pool(process * 2 + number)?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .args([pool.as_str(), &format!("xebec-{process}-{number}"), room])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let engine = Self { socket: folder.join("docker.sock"), folder, keeper: Mutex::new(keeper) };
        if engine.is_up().await {
            return Ok(engine);
        }
        let log = fs::read_to_string(engine.folder.join("log")).unwrap_or_default();
        let tail = log.lines().rev().take(3).collect::<Vec<_>>().join(" | ");
        Err(format!("dockerd does not run here: {tail}"))
    }

    /// Stops it. Containers go on.
    pub async fn stop(&self) {
        self.tell("stop", "stopped").await;
    }

    /// Starts it again.
    pub async fn start(&self) {
        self.tell("start", "started").await;
        assert!(self.is_up().await, "the engine did not come back");
    }

    /// Sends it a request; the status line and what follows. What it streams is read to its end.
    ///
    /// # Errors
    /// When it does not listen, or breaks off.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: engine\r\ncontent-type: application/x-tar\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    async fn tell(&self, what: &str, done: &str) {
        let _ = fs::remove_file(self.folder.join("told"));
        writeln!(self.keeper.lock().await.stdin.as_mut().unwrap(), "{what}").unwrap();
        let deadline = Instant::now() + PATIENCE;
        let is_done = || fs::read_to_string(self.folder.join("told")).is_ok_and(|told| told.trim() == done);
        while !is_done() {
            assert!(Instant::now() < deadline, "the engine did not {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn is_up(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.ask("GET", "/_ping", b"").is_ok_and(|answer| answer.contains(" 200 ")) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

/// A folder, and addresses that no other engine has as long as the folder is there: what ends an engine takes
/// away every bridge that has one of its addresses.
fn claim_pool(first: u32) -> Result<(PathBuf, String), String> {
    for number in (0..POOLS).map(|next| 100 + (first + next) % POOLS) {
        let folder = PathBuf::from(format!("/tmp/xebec-engine-{number}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok((folder, format!("10.{number}"))),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("{POOLS} engines run, or have left /tmp/xebec-engine-*"))
}

/// Whether a program is there.
pub fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: PathBuf| Path::new(&folder).join(program).is_file())
}
