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
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Asked to stop when dropped, and everything it had is deleted.
pub(super) struct Server {
    child: Child,
    xebec: PathBuf,
    directory: TempDir,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Starts it with `config` as its `xebec.toml`.
    pub(super) fn start(xebec: &Path, config: &str) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("xebec-bars-")
            .tempdir()
            .map_err(|error| format!("no temporary directory: {error}"))?;
        let data = directory.path().join("data");
        std::fs::create_dir(&data).map_err(|error| error.to_string())?;
        std::fs::write(data.join("xebec.toml"), config).map_err(|error| error.to_string())?;
        let mut child = Command::new(xebec)
            .args(["up", "--listen", "127.0.0.1:0", "--log-format", "json", "--log", "info", "--data-dir"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", xebec.display()))?;
        let stderr = child.stderr.take().ok_or("the server has no standard error")?;
        let mut server =
            Self { child, xebec: xebec.to_owned(), directory, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
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
        server.address = ready.recv_timeout(PATIENCE).map_err(|_| "the server was not ready in time")??;
        Ok(server)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) async fn api(&self) -> Result<Api, String> {
        Api::connect(self.address).await
    }

    /// Where a function is called.
    pub(super) fn url(&self, function: &str) -> String {
        format!("http://{}/function/{function}", self.address)
    }

    pub(super) async fn target(&self, function: &str) -> Result<Target, String> {
        turns::get(&self.url(function)).await
    }

    /// Deploys through the real command line. `files`: name, contents, and whether it can be run.
    pub(super) fn deploy(&self, manifest: &str, files: &[(&str, Vec<u8>, bool)]) -> Result<(), String> {
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
    pub(super) async fn scale_to_zero(&self, api: &mut Api, function: &str) -> Result<(), String> {
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
    pub(super) async fn await_blanks(
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
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
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
