//! What a function runs from: its image, or its source, packed.

use super::{
    From, golang,
    read::{self, Meant},
};
use crate::{
    failure::Failure,
    output::Steps,
    pack::{Files, Packed},
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use xebec_core::Digest;
use xebec_manifest_openfaas::{
    Resolved, document,
    language::{self, FOLDER, Runner},
};

/// A function that can be compared and deployed.
pub(super) struct Ready {
    pub(super) meant: Meant,
    /// The body of its deployment.
    pub(super) document: Value,
    /// The code that goes with it.
    pub(super) code: Option<Vec<u8>>,
}

/// Decides for each function what it runs from, and packs what is sent.
pub(super) async fn prepare(
    functions: Vec<Meant>,
    from: From,
    stack: Option<&str>,
    arch: &str,
) -> Result<Vec<Ready>, Failure> {
    let mut runners = Vec::with_capacity(functions.len());
    let mut faults = Vec::new();
    for meant in &functions {
        match runner(meant, from) {
            Ok(runner) => runners.push(runner),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(read::refuse(faults));
    }
    let mut all = Vec::with_capacity(functions.len());
    for (meant, runner) in functions.into_iter().zip(runners) {
        let packed = match &runner {
            Some((runner, folder)) => Some(pack(&meant, runner, folder, arch).await?),
            None => None,
        };
        let both = runner.as_ref().zip(packed.as_ref());
        let source = both.map(|((runner, _), packed)| source(&meant, runner, packed));
        if source.is_some() && !meant.function.build_fields.is_empty() {
            let fields = meant.function.build_fields.join(", ");
            eprintln!(
                "note: {}: {fields} say how an image is built, and have no effect",
                meant.function.name
            );
        }
        let document = document(&Resolved {
            function: &meant.function,
            namespace: &meant.namespace,
            environment: meant.environment.clone(),
            source,
            stack,
        });
        all.push(Ready { meant, document, code: packed.map(|packed| packed.bytes) });
    }
    Ok(all)
}

/// How a function runs from its source, and where that is; `None`: it runs as its image.
fn runner(meant: &Meant, from: From) -> Result<Option<(Runner, PathBuf)>, String> {
    let function = &meant.function;
    let lang = function.lang.as_ref().map(|field| field.text.as_str()).unwrap_or_default();
    let runner = language::runner(lang);
    let image = function.image.is_some();
    if from == From::Image || (from == From::Auto && function.skip_build) {
        return if image { Ok(None) } else { Err(meant.fault(None, "it has no image")) };
    }
    let reason = match (runner, &meant.handler) {
        (None, _) if language::template(lang) == "dockerfile" => {
            "a Dockerfile has to be built into an image, which is not done here: build and push it (docker build, \
             faas-cli publish) and name the image"
                .to_owned()
        }
        (None, _) if lang.is_empty() => "it names no lang, so that nothing says how its source runs".to_owned(),
        (None, _) => format!(
            "lang {lang:?} cannot run from source here: build and push its image (faas-cli publish) and name it"
        ),
        (_, None) => "the folder of its handler is not here".to_owned(),
        (Some(runner), Some(_)) if runner.build.is_some() && !golang::is_there() => {
            format!("lang {lang:?} is built on this machine, which has no go: install Go, or name an image")
        }
        (Some(runner), Some(folder)) => return Ok(Some((runner, folder.clone()))),
    };
    // Where the source cannot run, the image that faas-cli pushed may.
    if from == From::Auto && image {
        return Ok(None);
    }
    Err(meant.fault(function.lang.as_ref(), reason))
}

async fn pack(meant: &Meant, runner: &Runner, folder: &Path, arch: &str) -> Result<Packed, Failure> {
    let mut files = Files::default();
    if let Some(build) = runner.build {
        let steps = Steps::start(&format!("building {}", meant.function.name));
        steps.step(&format!("building {}", meant.function.name));
        let built = golang::build(meant, folder, build, arch).await?;
        files.add_file(&built.binary, Path::new("handler"));
        let fixed = folder.join("static");
        if fixed.is_dir() {
            files.add_folder(&fixed, Path::new("static"))?;
        }
        return files.pack();
    }
    files.add_folder(folder, Path::new(FOLDER))?;
    for (from, below) in &meant.copy {
        let name = Path::new(FOLDER).join(below);
        if from.is_dir() {
            files.add_folder(from, &name)?;
        } else {
            files.add_file(from, &name);
        }
    }
    for name in language::dependency_files(runner) {
        let file = folder.join(name);
        if file.is_file() {
            files.add_file(&file, Path::new(name));
        }
    }
    files.pack()
}

/// The `source` of a deployment.
fn source(meant: &Meant, runner: &Runner, packed: &Packed) -> Value {
    let mut source = json!({
        "lang": meant.function.lang.as_ref().map(|field| &field.text),
        "environment": runner.environment,
        "code": { "digest": Digest::of(&packed.bytes), "format": packed.format, "bytes": packed.bytes.len() },
    });
    let mut set = |name: &str, value: Value| source[name] = value;
    if let Some(style) = runner.style {
        set("style", json!(style));
    }
    if let Some(handler) = runner.handler {
        set("handler", json!(handler));
    }
    if let Some(concurrency) = runner.concurrency {
        set("concurrency", json!(concurrency));
    }
    if runner.build.is_some() {
        set("command", json!(["./handler"]));
    }
    source
}
