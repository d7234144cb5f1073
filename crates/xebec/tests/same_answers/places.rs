//! Where the function runs: compiled once, deployed to each driver that there is here.

use crate::{
    scripts::LIMIT,
    support::{Server, block_on},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use xebec_conformance::container_engine::ContainerEngine;

/// One way to run the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A program, run by the process driver.
    Source,
    /// An image, run by the docker driver.
    Image,
    /// A component, run by the wasm driver.
    Wasm,
}

impl Place {
    /// As functions are named after it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Image => "image",
            Self::Wasm => "wasm",
        }
    }
}

/// The function as it was compiled.
pub(crate) struct Compiled {
    /// The web server, without any library.
    pub(crate) server: PathBuf,
    /// The component, where the compiler has the target.
    pub(crate) wasm: Option<PathBuf>,
}

/// Compiles the function; what earlier runs compiled is used again.
pub(crate) fn compile() -> Compiled {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("same-answers");
    cargo(&folder, &host, &["--bin", "same-answers-server"]).unwrap_or_else(|said| panic!("{said}"));
    let wasm = match cargo(&folder, "wasm32-wasip2", &["--example", "same-answers-component"]) {
        Ok(()) => Some(folder.join("wasm32-wasip2/debug/examples/same_answers_component.wasm")),
        Err(said) if said.contains("target may not be installed") => {
            xebec_skipped::skipped!("the function as a component: rustup target add wasm32-wasip2");
            None
        }
        Err(said) => panic!("{said}"),
    };
    let made = folder.join(host).join("debug");
    Compiled { server: made.join("same-answers-server"), wasm }
}

fn cargo(folder: &Path, target: &str, what: &[&str]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO"));
    // Those of the run that compiled the tests are not for this one.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.ends_with("RUSTFLAGS") || (name.starts_with("CARGO_") && name != "CARGO_HOME") {
            command.env_remove(&*name);
        }
    }
    let flags = format!("target.{target}.rustflags=[\"-Ctarget-feature=+crt-static\",\"-Copt-level=1\"]");
    let output = command
        .args(["build", "--quiet", "--offline", "--locked", "--package", "same-answers-guest"])
        .args(["--target", target, "--config", &flags, "--config", "profile.dev.incremental=false"])
        .args(["--config", "profile.dev.debug=false", "--config", "profile.dev.strip=true"])
        .args(what)
        .arg("--target-dir")
        .arg(folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A container engine with an image of these programs, of which the first is run; `None`, with a sentence, where
/// there is none.
pub(crate) fn engine(number: u32, programs: &[&Path]) -> Option<ContainerEngine> {
    let engine = match block_on(ContainerEngine::launch(number)) {
        Ok(engine) => engine,
        Err(why) => {
            xebec_skipped::skipped!("the function as an image: {why}");
            return None;
        }
    };
    let name = |program: &Path| program.file_name().unwrap().to_str().unwrap().to_owned();
    let mut archive = tar::Builder::new(Vec::new());
    for program in programs {
        archive.append_path_with_name(program, name(program)).unwrap();
    }
    let first = name(programs[0]);
    let import = format!(
        "/images/create?fromSrc=-&repo=same-answers/{first}&tag=1&changes=ENTRYPOINT%20%5B%22/{first}%22%5D"
    );
    let imported = engine.ask("POST", &import, &archive.into_inner().unwrap()).unwrap();
    assert!(imported.contains("sha256:"), "{imported}");
    Some(engine)
}

/// A server with this engine.
pub(crate) fn server(engine: Option<&ContainerEngine>, folder: &Path) -> Server {
    let socket = engine.map_or_else(|| "/nowhere/docker.sock".into(), |engine| engine.socket.clone());
    let host = format!("unix://{}", socket.display());
    Server::try_start_as(folder, &[], &[("DOCKER_HOST", &host)]).unwrap_or_else(|log| panic!("{log}"))
}

/// Deploys the function to a place, and once more as one whose time soon runs out: of a file, or of an image where
/// there is no file.
pub(crate) fn deploy(server: &Server, place: Place, what: &str, file: Option<&Path>) {
    for (name, time) in [(place.name().to_owned(), "10m"), (format!("hasty-{}", place.name()), "2s")] {
        let folder = tempfile::tempdir().unwrap();
        if let Some(file) = file {
            std::fs::copy(file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        let limits = format!(
            "[limits]\nrequest = \"{LIMIT}B\"\nconcurrency = 32\ntimeout = \"{time}\"\nstart-timeout = \"2m\"\n\
             wait-timeout = \"2m\"\n"
        );
        let manifest = format!("name = \"{name}\"\n{what}\n{limits}");
        std::fs::write(folder.path().join("function.toml"), manifest).unwrap();
        server.ok(&["deploy", folder.path().to_str().unwrap()]);
    }
}
