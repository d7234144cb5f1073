//! The real binary, started on port 0 with a data directory of its own, and what tests do with it.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

pub mod archive;
pub mod nats;
pub mod npm;
pub mod openwhisk;
pub mod sink;
pub mod small_disk;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// How long anything may take that is waited for; far more than it needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a program is on this machine; says so where it is not.
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !found {
        xebec_skipped::skipped!("there is no {program} on this machine");
    }
    found
}

/// The binary under test.
pub fn xebec() -> &'static str {
    env!("CARGO_BIN_EXE_xebec")
}

/// A running server. Killed when dropped.
pub struct Server {
    pub url: String,
    pub data: PathBuf,
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    _folder: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts one in a fresh data directory.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with more arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut server = Self::start_in(&data, arguments);
        server._folder = Some(folder);
        server
    }

    /// Starts one in this data directory.
    pub fn start_in(data: &Path, arguments: &[&str]) -> Self {
        Self::try_start_in(data, arguments).unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// Starts one, or tells what it said when it ended.
    pub fn try_start_in(data: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::try_start_as(data, arguments, &[])
    }

    /// The same, with variables.
    pub fn try_start_as(data: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self, String> {
        let mut process = clean(Command::new(xebec()))
            .envs(variables.iter().copied())
            .args(["up", "--log-format", "json", "--data-dir"])
            .arg(data)
            .args(if arguments.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] })
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (told, ready) = std::sync::mpsc::channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str::<serde_json::Value>(&line)
                    && event["message"] == "ready"
                {
                    let _ = told.send(event["url"].as_str().unwrap_or_default().to_owned());
                }
                kept.lock().unwrap().push(line);
            }
        });
        match ready.recv_timeout(PATIENCE) {
            Ok(url) => Ok(Self { url, data: data.to_owned(), process, log, _folder: None }),
            Err(_) => {
                let _ = process.kill();
                let _ = process.wait();
                let said = log.lock().unwrap().join("\n");
                Err(said)
            }
        }
    }

    /// The token in its data directory.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.data.join("token")).unwrap().trim().to_owned()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Runs our command line against it.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_with(arguments, b"")
    }

    /// The same, with something on standard input.
    pub fn cli_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = clean(Command::new(xebec()))
            .args(arguments)
            .env("XEBEC_URL", &self.url)
            .env("XEBEC_DATA_DIR", &self.data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        std::thread::spawn(move || stdin.write_all(&input));
        child.wait_with_output().unwrap()
    }

    /// Runs our command line, which must succeed; returns what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        assert!(output.status.success(), "xebec {arguments:?} failed:\n{}\n{}", text(&output), self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes a function's folder and deploys it.
    pub fn deploy(&self, manifest: &str, files: &[(&str, &str)]) -> String {
        let folder = function(manifest, files);
        self.ok(&["deploy", folder.path().to_str().unwrap()])
    }

    /// The URL of a function.
    pub fn function(&self, name: &str) -> String {
        format!("{}/function/{name}", self.url)
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        signal(self.pid(), "TERM");
    }

    /// Sends SIGKILL and waits until it is gone.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        eventually("the server ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: &str) {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Nothing of the test's own environment shall decide what the binary does.
pub fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if ["XEBEC_", "OTEL_"].iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
            command.env_remove(name);
        }
    }
    command
}

/// A folder with a function.
pub fn function(manifest: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in [("function.toml", manifest)].iter().chain(files) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        if contents.starts_with("#!") {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    folder
}

/// Everything a command said.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits for a condition.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A blocking request; status and body.
pub fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Vec<u8>) {
    let (status, _, body) = exchange(method, url, headers, body);
    (status, body)
}

/// A blocking request; status, headers and body.
pub fn exchange(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, http::HeaderMap, Vec<u8>) {
    exchange_within(PATIENCE, method, url, headers, body)
}

/// The same of an answer that may take so long.
pub fn exchange_within(
    patience: Duration,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, http::HeaderMap, Vec<u8>) {
    block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(patience).build().unwrap();
        let mut request = client.request(method.parse().unwrap(), url).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{method} {url}: {error:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.bytes().await.map(Vec::from).unwrap_or_default())
    })
}

/// Runs a future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    // Another test may have been first; one provider serves all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A Python function that takes `(event, context)`.
pub fn python(name: &str, more: &str) -> String {
    format!("name = \"{name}\"\nenvironment = \"python\"\n{more}")
}
