//! A registry of the tests' own: Debian's, on a free port, with one user.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Its user.
pub(crate) const USER: &str = "ada";
/// What it lets in.
pub(crate) const PASSWORD: &str = "let-me-in";
/// The same as the registry keeps it: bcrypt, as cheap as that can be.
const HASHED: &str = "$2b$04$WeOLwKwu/7AvgVBfH75DV.XhhEPZUbwJ.3lTr6YaUPvZGCCvMSjK2";

/// Ends the registry when nobody holds the other end of its standard input any more.
const KEEPER: &str = r#"docker-registry serve "$1" >"$2" 2>&1 & cat >/dev/null; kill $!"#;

/// A running registry.
pub(crate) struct Registry {
    /// Its host and port.
    pub(crate) host: String,
    _folder: TempDir,
    /// Holds the other end of its standard input.
    _keeper: Child,
}

impl Registry {
    /// `None`, with a sentence, where there is none to run.
    pub(crate) async fn launch() -> Option<Self> {
        if !xebec_conformance::container_engine::in_path("docker-registry") {
            xebec_skipped::skipped!("this machine has no docker-registry");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("users"), format!("{USER}:{HASHED}\n")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            // Somebody else may take the port before the registry does; then the next.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let host = format!("127.0.0.1:{port}");
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: \
                 {{enabled: true}}\nhttp: {{addr: \"{host}\"}}\nauth:\n  htpasswd: {{realm: tests, path: {}}}\n",
                path("blobs").display(),
                path("users").display(),
            );
            fs::write(path("config.yml"), config).unwrap();
            let mut keeper = keep(&path("config.yml"), &path("log"));
            if listens(&host).await {
                return Some(Self { host, _folder: folder, _keeper: keeper });
            }
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
            assert!(Instant::now() < deadline, "{}", fs::read_to_string(path("log")).unwrap_or_default());
        }
    }

    /// Has an engine push an image here under a name of ours.
    pub(crate) async fn take(&self, docker: &bollard::Docker, local: &str, name: &str) {
        use bollard::query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder};
        use futures_util::StreamExt as _;
        let (repository, tag) = name.rsplit_once(':').unwrap();
        let repository = format!("{}/{repository}", self.host);
        let to = TagImageOptionsBuilder::default().repo(&repository).tag(tag).build();
        docker.tag_image(local, Some(to)).await.unwrap();
        let credentials = bollard::auth::DockerCredentials {
            username: Some(USER.to_owned()),
            password: Some(PASSWORD.to_owned()),
            serveraddress: Some(self.host.clone()),
            ..Default::default()
        };
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let mut told = Box::pin(docker.push_image(&repository, Some(options), Some(credentials)));
        while let Some(line) = told.next().await {
            line.unwrap();
        }
        drop(told);
        self.forget(docker, &format!("{repository}:{tag}")).await;
        self.forget(docker, local).await;
    }

    /// Has an engine forget a name.
    pub(crate) async fn forget(&self, docker: &bollard::Docker, name: &str) {
        let _ = docker.remove_image(name, None::<bollard::query_parameters::RemoveImageOptions>, None).await;
    }
}

fn keep(config: &Path, log: &Path) -> Child {
    Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .args([config, log])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Whether somebody listens there soon.
async fn listens(host: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if tokio::net::TcpStream::connect(host).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}
