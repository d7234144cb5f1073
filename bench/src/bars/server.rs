//! The server that is measured: the real binary, on a free port, in a directory of its own.

use super::{api::Api, turns};
use crate::load::target::Target;
use http::Method;
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything may take that is not measured.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Asked to stop when dropped, and everything it had is deleted.
pub(crate) struct Server {
    child: Child,
    xebec: PathBuf,
    directory: TempDir,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it with `config` as its `xebec.toml`.
    pub(crate) fn start(xebec: &Path, config: &str) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("xebec-bars-")
            .tempdir()
            .map_err(|error| format!("no temporary directory: {error}"))?;
        let data = directory.path().join("data");
        std::fs::create_dir(&data).map_err(|error| error.to_string())?;
        std::fs::create_dir(directory.path().join("tmp")).map_err(|error| error.to_string())?;
        std::fs::write(data.join("xebec.toml"), config).map_err(|error| error.to_string())?;
        let (child, address) = launch(xebec, directory.path())?;
        Ok(Self { child, xebec: xebec.to_owned(), directory, address })
    }

    /// Stops it, and starts it again with what it had; how long it took until it was ready.
    pub(crate) fn restart(&mut self) -> Result<Duration, String> {
        stop(&mut self.child);
        let started = Instant::now();
        (self.child, self.address) = launch(&self.xebec, self.directory.path())?;
        Ok(started.elapsed())
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Where it makes temporary files.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn api(&self) -> Result<Api, String> {
        Api::connect(self.address).await
    }

    /// Where a function is called.
    pub(crate) fn url(&self, function: &str) -> String {
        format!("http://{}/function/{function}", self.address)
    }

    pub(crate) async fn target(&self, function: &str) -> Result<Target, String> {
        turns::get(&self.url(function)).await
    }

    /// Deploys through the real command line. `files`: name, contents, and whether it can be run.
    pub(crate) fn deploy(&self, manifest: &str, files: &[(&str, Vec<u8>, bool)]) -> Result<(), String> {
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap_or("\"function\"");
        let folder = self.directory.path().join(name.trim_matches('"'));
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("function.toml"), manifest)?;
            for (name, contents, runs) in files {
                let path = folder.join(name);
                std::fs::write(&path, contents)?;
                let mode = if *runs { 0o755 } else { 0o644 };
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
            }
            Ok(())
        };
        write().map_err(|error| format!("cannot write {}: {error}", folder.display()))?;
        let output = Command::new(&self.xebec)
            .args(["--url", &format!("http://{}", self.address), "deploy"])
            .arg(&folder)
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("deploying {name} failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Lets a function's instances go, and waits until they have.
    pub(crate) async fn scale_to_zero(&self, api: &mut Api, function: &str) -> Result<(), String> {
        let path = format!("/xebec/v1/functions/{function}");
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            api.send(Method::POST, &format!("{path}/scale"), &json!({"instances": 0})).await?;
            if api.get(&path).await?["live"]["ready"] == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(format!("{function} did not scale to zero"))
    }

    /// Waits until that many blanks of an environment are ready.
    pub(crate) async fn await_blanks(
        &self,
        api: &mut Api,
        environment: &str,
        wanted: u64,
    ) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let environments = api.get("/xebec/v1/environments").await?;
            let ready = environments
                .as_array()
                .into_iter()
                .flatten()
                .find(|known| known["name"] == environment)
                .and_then(|known| known["blanks"].as_u64());
            if ready.is_some_and(|ready| ready >= wanted) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("no {wanted} blanks of {environment} came"))
    }
}

/// The server to measure: the one that is named, else `xebec` beside this program.
pub(crate) fn binary(named: Option<PathBuf>) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let xebec = named.unwrap_or_else(|| own.with_file_name("xebec"));
    if !xebec.is_file() {
        return Err(format!("{} does not exist: build it, or name it with --xebec", xebec.display()));
    }
    Ok(xebec)
}

/// Starts it in a directory, and waits until it is ready.
fn launch(xebec: &Path, directory: &Path) -> Result<(Child, SocketAddr), String> {
    let mut child = Command::new(xebec)
        .args(["up", "--listen", "127.0.0.1:0", "--log-format", "json", "--log", "info", "--data-dir"])
        .arg(directory.join("data"))
        .env("TMPDIR", directory.join("tmp"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", xebec.display()))?;
    let stderr = child.stderr.take().ok_or("the server has no standard error")?;
    let (told, ready) = std::sync::mpsc::channel();
    // Reads on to the end, so that the server never waits for its log to be read.
    std::thread::spawn(move || {
        let mut said = String::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(address) = ready_at(&line) {
                let _ = told.send(Ok(address));
            }
            if said.len() < 4000 {
                said.push_str(&line);
                said.push('\n');
            }
        }
        let _ = told.send(Err(format!("the server ended; it said:\n{said}")));
    });
    let address =
        ready.recv_timeout(PATIENCE).unwrap_or_else(|_| Err("the server was not ready in time".into()));
    if address.is_err() {
        stop(&mut child);
    }
    Ok((child, address?))
}

fn stop(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The address in the line that says so.
fn ready_at(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["message"] != "ready" {
        return None;
    }
    line["url"].as_str()?.strip_prefix("http://")?.trim_end_matches('/').parse().ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_address_in_the_log() {
        let line = r#"{"level":"INFO","message":"ready","url":"http://127.0.0.1:4321"}"#;
        assert_eq!(ready_at(line), Some("127.0.0.1:4321".parse().unwrap()));
        assert_eq!(ready_at(r#"{"message":"starting"}"#), None);
        assert_eq!(ready_at("ready"), None);
    }
}
