//! A running watchdog: ours, or the original that `OF_WATCHDOG` or `CLASSIC_WATCHDOG` names.

use crate::client::{PATIENCE, get};
use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Classic,
    Of,
}

impl Kind {
    /// The original that is to be tested in place of ours.
    fn original(self) -> Option<PathBuf> {
        let name = match self {
            Self::Classic => "CLASSIC_WATCHDOG",
            Self::Of => "OF_WATCHDOG",
        };
        env::var_os(name).map(Into::into)
    }

    pub(crate) fn is_original(self) -> bool {
        self.original().is_some()
    }
}

/// What a process per call runs: it does as its path tells it.
pub(crate) const FUNCTION: &str = r#"
case "$Http_Path" in
  /cat) cat ;;
  /variables) env | grep ^Http_ | sort ;;
  /exit) echo half; exit 3 ;;
  /killed) echo half; kill -9 $$ ;;
  /both) echo out; echo err >&2 ;;
  /held) echo $$ >"$TMPDIR/held"; echo begun; while [ -e "$TMPDIR/held" ]; do sleep 0.02; done; echo ended ;;
  /lines) printf 'one\ntwo\n' >&2 ;;
  /orphan) sh -c 'sleep 0.2 & sleep 0.1 &' >/dev/null 2>&1 ;;
  /zombies) cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' ;;
esac
"#;

/// A watchdog. Killed when dropped, and what it started ends, too.
pub(crate) struct Watchdog {
    pub(crate) port: u16,
    pub(crate) metrics_port: u16,
    /// Where a server of it listens.
    pub(crate) guest: String,
    /// Its temporary folder, with its lock file.
    pub(crate) folder: TempDir,
    pub(crate) kind: Kind,
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    _alone: Option<MutexGuard<'static, ()>>,
}

/// The originals have one port for metrics, always.
static ALONE: Mutex<()> = Mutex::new(());

impl Watchdog {
    /// One that runs the script for each call.
    pub(crate) fn forking(kind: Kind, variables: &[(&str, &str)]) -> Self {
        Self::prepared(kind, &[], |folder, _| {
            let script = folder.join("function.sh");
            fs::write(&script, FUNCTION).unwrap();
            let mut set = owned(variables);
            set.push(("fprocess".into(), format!("sh {}", script.display())));
            set
        })
        .listening()
    }

    /// One with a server behind it.
    pub(crate) fn serving(variables: &[(&str, &str)]) -> Self {
        Self::serving_as("", variables).listening().serving_calls()
    }

    /// The same, with a word for the server; it may not be there yet. `GUEST` in a value is its address.
    pub(crate) fn serving_as(word: &str, variables: &[(&str, &str)]) -> Self {
        Self::prepared(Kind::Of, &[], |_, address| {
            let guest = env!("CARGO_BIN_EXE_shim-guest-for-tests");
            let mut set = vec![
                ("mode".into(), "http".into()),
                ("fprocess".into(), format!("{guest} {address} {word}").trim().to_owned()),
                ("http_upstream_url".into(), format!("http://{address}")),
            ];
            set.extend(
                owned(variables).into_iter().map(|(name, value)| (name, value.replace("GUEST", address))),
            );
            set
        })
    }

    /// One with these variables and no others, started by `wrapper` where that is not empty.
    pub(crate) fn with(kind: Kind, wrapper: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::prepared(kind, wrapper, |_, _| owned(variables))
    }

    fn prepared(
        kind: Kind,
        wrapper: &[&str],
        variables: impl FnOnce(&Path, &str) -> Vec<(String, String)>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let original = kind.original();
        let alone = original.is_some().then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner));
        let program = original.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_xebec-shim").into());
        let (port, metrics_port) = if original.is_some() { (free_port(), 8081) } else { (0, 0) };
        let guest = guest_address();
        let mut command = match wrapper {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        let mut process = command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("TMPDIR", folder.path())
            .env("port", port.to_string())
            .env("metrics_port", metrics_port.to_string())
            // A machine that is busy runs into no limit but those that a test sets.
            .envs(["exec_timeout", "read_timeout", "write_timeout"].map(|name| (name, "10m")))
            .envs(variables(folder.path(), &guest))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::default();
        collect(process.stdout.take().unwrap(), &log);
        collect(process.stderr.take().unwrap(), &log);
        Self { port, metrics_port, guest, folder, kind, process, log, _alone: alone }
    }

    /// Once it takes calls, and, where it has a server, that does, too.
    pub(crate) fn listening(mut self) -> Self {
        if self.port == 0 {
            self.metrics_port = self.port_after(" metrics listening on port: ");
            self.port = self.port_after(" listening on port: ");
        }
        let port = self.port;
        self.wait("listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        self.wait("is healthy", || get(port, "/_/health").status == 200);
        self
    }

    /// Once its server takes calls, too.
    pub(crate) fn serving_calls(self) -> Self {
        let guest = self.guest.clone();
        self.wait("serves", || TcpStream::connect(&guest).is_ok());
        self
    }

    fn port_after(&self, words: &str) -> u16 {
        let mut port = 0;
        self.wait(words, || {
            let log = self.log();
            let said =
                log.iter().find_map(|line| line.split_once(words).filter(|(before, _)| before.len() == 19));
            port = said.map_or(0, |(_, port)| port.parse().unwrap());
            port != 0
        });
        port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line with these words.
    pub(crate) fn says(&self, words: &str) {
        self.wait(words, || self.log().iter().any(|line| line.contains(words)));
    }

    /// Waits for a condition.
    pub(crate) fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: not so; it said {:#?}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(told.unwrap().success());
    }

    /// How it ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end; it said {:#?}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.folder.path().join(".lock")
    }

    /// Ends the process of a held call.
    pub(crate) fn release(&self) {
        let _ = fs::remove_file(self.folder.path().join("held"));
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.release();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn collect(stream: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) {
    let log = log.clone();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    });
}

/// One that is nobody else's: addresses for processes, ports for those of one process.
fn guest_address() -> String {
    static NUMBER: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let port = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("127.{}.{middle}.{low}:{port}", 64 + high)
}

/// One that nobody has just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
