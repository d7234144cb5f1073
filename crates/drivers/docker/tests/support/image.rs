//! Images made here: the guest with the libraries that it needs, in one layer.

use bollard::{Docker, body_full, query_parameters::ImportImageOptionsBuilder};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;
use std::{fs, path::Path, process::Command};
use xebec_core::Digest;

/// An image to make.
pub(crate) struct Image<'a> {
    /// Its name, with its tag.
    pub(crate) name: &'a str,
    /// What is in the file `/version`, so that images differ.
    pub(crate) version: &'a str,
    /// Which processor it says that it is for.
    pub(crate) architecture: &'a str,
    /// Who it runs as.
    pub(crate) user: &'a str,
    /// The signal that stops it; empty: it does not say.
    pub(crate) stop_signal: &'a str,
    /// A folder that it wants to write to; empty: none.
    pub(crate) volume: &'a str,
}

impl<'a> Image<'a> {
    pub(crate) fn named(name: &'a str) -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Self { name, version: "1", architecture, user: "", stop_signal: "", volume: "" }
    }

    /// Has the engine take it in.
    pub(crate) async fn load(&self, docker: &Docker) {
        let options = ImportImageOptionsBuilder::default().build();
        let mut told = Box::pin(docker.import_image(options, body_full(self.archive()), None));
        while let Some(line) = told.next().await {
            line.unwrap();
        }
    }

    fn archive(&self) -> Bytes {
        let layer = layer(self.version);
        let layer_name = Digest::of(&layer);
        let mut config = json!({"Entrypoint": ["/guest"], "User": self.user});
        if !self.stop_signal.is_empty() {
            config["StopSignal"] = json!(self.stop_signal);
        }
        if !self.volume.is_empty() {
            config["Volumes"] = json!({self.volume: {}});
        }
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer_name.to_string()]},
        });
        let config = config.to_string().into_bytes();
        let config_name = format!("{}.json", Digest::of(&config).hex());
        let layer_path = format!("{}/layer.tar", layer_name.hex());
        let manifest = json!([{"Config": config_name, "RepoTags": [self.name], "Layers": [layer_path]}]);
        let mut archive = tar::Builder::new(Vec::new());
        add(&mut archive, &config_name, &config);
        add(&mut archive, &layer_path, &layer);
        add(&mut archive, "manifest.json", manifest.to_string().as_bytes());
        archive.into_inner().unwrap().into()
    }
}

fn layer(version: &str) -> Vec<u8> {
    let guest = env!("CARGO_BIN_EXE_docker-guest-for-tests");
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "guest", &fs::read(guest).unwrap());
    add(&mut archive, "version", version.as_bytes());
    add(&mut archive, "etc/passwd", b"root:x:0:0::/:/guest\napp:x:1000:1000::/:/guest\n");
    // The loader is named by its path, libraries by name and path: the first path of each line.
    let needed = Command::new("ldd").arg(guest).output().unwrap();
    for line in String::from_utf8(needed.stdout).unwrap().lines() {
        if let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) {
            let contents = fs::read(fs::canonicalize(Path::new(path)).unwrap()).unwrap();
            add(&mut archive, path.trim_start_matches('/'), &contents);
        }
    }
    archive.into_inner().unwrap()
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, contents: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, name, contents).unwrap();
}
