//! Programs beside the server: ended when dropped.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A web server run directly: no sandbox, nothing in front. It says its port.
pub(super) struct Direct {
    child: Child,
    pub(super) port: u16,
}

impl Direct {
    /// This program's own.
    pub(super) fn start(own: &Path) -> Result<Self, String> {
        Self::run(own, &["serve", "--port", "0"])
    }

    pub(super) fn run(program: &Path, arguments: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        let port = line.trim().parse();
        let mut direct = Self { child, port: 0 };
        direct.port = port.map_err(|_| format!("{} said {line:?}, not its port", program.display()))?;
        Ok(direct)
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// A web server and a reverse proxy of Go's standard library, compiled here and now.
pub(super) struct Go {
    directory: tempfile::TempDir,
}

impl Go {
    pub(super) fn build() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        std::fs::write(directory.path().join("peer.go"), include_str!("peer.go"))
            .map_err(|error| error.to_string())?;
        let output = Command::new("go")
            .args(["build", "-o", "peer", "peer.go"])
            .current_dir(&directory)
            .env("GO111MODULE", "off")
            .output()
            .map_err(|_| "Go is not installed")?;
        if !output.status.success() {
            return Err(format!("go build failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(Self { directory })
    }

    /// A web server that says hello.
    pub(super) fn server(&self) -> Result<Direct, String> {
        Direct::run(&self.directory.path().join("peer"), &[])
    }

    /// A proxy in front of `url`.
    pub(super) fn proxy(&self, url: &str) -> Result<Direct, String> {
        Direct::run(&self.directory.path().join("peer"), &[url])
    }
}

/// OpenFaaS' of-watchdog in front of this program's web server: half of what a call passes there. (The other
/// half, the gateway, is not free software.)
pub(super) struct Watchdog {
    child: Child,
    port: u16,
}

impl Watchdog {
    pub(super) async fn start(watchdog: &Path, own: &Path) -> Result<Self, String> {
        let (port, upstream, metrics) = (free_port()?, free_port()?, free_port()?);
        let child = Command::new(watchdog)
            .env("mode", "http")
            .env("port", port.to_string())
            .env("metrics_port", metrics.to_string())
            .env("fprocess", format!("{} serve --port {upstream}", own.display()))
            .env("upstream_url", format!("http://127.0.0.1:{upstream}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", watchdog.display()))?;
        let watchdog = Self { child, port };
        await_port(port).await?;
        await_port(upstream).await?;
        Ok(watchdog)
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Asked, it ends its function, too.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

pub(super) fn free_port() -> Result<u16, String> {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| error.to_string())
}

/// Waits until something listens there.
pub(super) async fn await_port(port: u16) -> Result<(), String> {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("nothing listened on port {port} within a minute"))
}

impl Drop for Direct {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
