//! A program beside the server: ended when dropped.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// This program's web server, run directly: no sandbox, nothing in front.
pub(super) struct Direct {
    child: Child,
    pub(super) port: u16,
}

impl Direct {
    pub(super) fn start(own: &Path) -> Result<Self, String> {
        let mut child = Command::new(own)
            .args(["serve", "--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", own.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        let port = line.trim().parse();
        let mut direct = Self { child, port: 0 };
        direct.port = port.map_err(|_| format!("the direct server said {line:?}, not its port"))?;
        Ok(direct)
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
