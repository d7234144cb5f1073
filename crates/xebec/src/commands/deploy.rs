//! `xebec deploy`

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format, Steps},
    pack::Project,
};
use std::path::PathBuf;
use xebec_api_native::wire::{Code, FunctionAnswer};

/// Deploy the function of a folder
#[derive(Debug, clap::Args)]
pub(crate) struct Deploy {
    /// The folder with the function.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Deploy it under another name
    #[arg(long)]
    name: Option<String>,
}

impl Deploy {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        let mut project = Project::read(&self.folder)?;
        if let Some(name) = self.name {
            project.manifest.name = name;
        }
        let steps = Steps::start(&format!("deploying {}", project.manifest.name));
        let function = deploy(&client, project, |line| steps.step(line)).await?;
        drop(steps);
        output::print(format, &function, || {
            let revision = function.view.function.latest();
            format!(
                "deployed {} (revision {}, {})\n  {}/function/{}",
                function.name,
                revision.map_or(0, |entry| entry.number),
                revision.map(|entry| entry.digest.short()).unwrap_or_default(),
                server.url.trim_end_matches('/'),
                function.name
            )
        })
    }
}

/// Builds, packs, sends and deploys a project.
pub(crate) async fn deploy(
    client: &Client,
    mut project: Project,
    mut step: impl FnMut(&str),
) -> Result<FunctionAnswer, Failure> {
    if project.manifest.image.is_none() {
        if let Some(line) = &project.manifest.build {
            step(&format!("building: {line}"));
        }
        project.build().await?;
        let packed = project.pack()?;
        step(&format!("sending {} KiB", packed.bytes.len().div_ceil(1024)));
        let stored = client.store_code(packed.bytes).await?;
        project.manifest.code =
            Some(Code { digest: stored.digest, format: packed.format, bytes: stored.bytes });
    }
    client.deploy(&project.manifest, step).await
}
