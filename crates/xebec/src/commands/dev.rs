//! `xebec dev`

use super::{deploy, logs};
use crate::{
    client::{Client, ServerArguments, lines},
    failure::Failure,
    output,
    pack::Project,
};
use futures_util::StreamExt as _;
use http::Method;
use notify::{EventKind, RecursiveMode, Watcher as _};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Editors write a file in several steps; this long after the last one the save is over.
const SETTLED: Duration = Duration::from_millis(40);

/// Deploy on every save, and show what the function prints
#[derive(Debug, clap::Args)]
pub(crate) struct Dev {
    /// The folder with the function.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
}

impl Dev {
    pub(crate) async fn run(self, server: &ServerArguments) -> Result<(), Failure> {
        let client = Client::new(server)?;
        let project = Project::read(&self.folder)?;
        let name = project.manifest.name.clone();
        let (_watcher, mut saves) = watch(&self.folder)?;
        // What is wrong at the start ends the command; what is wrong after a save is shown and waits for the next.
        redeploy(&client, project).await?;
        output::line(&format!(
            "{}/function/{name}\nwatching {}; Ctrl-C ends",
            server.url.trim_end_matches('/'),
            self.folder.display()
        ))?;
        let follow = tokio::spawn(follow(client.clone(), name));
        let ended = loop {
            tokio::select! {
                saved = saves.recv() => {
                    if saved.is_none() {
                        break Err(Failure::new("the folder cannot be watched any more"));
                    }
                    while tokio::time::timeout(SETTLED, saves.recv()).await.is_ok_and(|save| save.is_some()) {}
                    let deployed = match Project::read(&self.folder) {
                        Ok(project) => redeploy(&client, project).await,
                        Err(failure) => Err(failure),
                    };
                    if let Err(failure) = deployed {
                        show(&failure);
                    }
                }
                _ = tokio::signal::ctrl_c() => break Ok(()),
            }
        };
        follow.abort();
        ended
    }
}

async fn redeploy(client: &Client, project: Project) -> Result<(), Failure> {
    let start = Instant::now();
    let function = deploy::deploy(client, project, |_| ()).await?;
    let number = function.view.function.latest().map_or(0, |entry| entry.number);
    output::line(&format!("revision {number} is live after {} ms", start.elapsed().as_millis()))
}

fn show(failure: &Failure) {
    eprintln!("error: {}", failure.message);
    for line in &failure.detail {
        eprintln!("  {line}");
    }
    if let Some(hint) = &failure.hint {
        eprintln!("hint: {hint}");
    }
}

/// Tells of saves in the folder; what builds and tools write into their own folders is none.
fn watch(folder: &Path) -> Result<(notify::RecommendedWatcher, mpsc::Receiver<()>), Failure> {
    // One pending save is as good as many.
    let (sender, receiver) = mpsc::channel(1);
    let ignored = ["target", "node_modules", ".git", "__pycache__", "dist", "bin"];
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let written =
            matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_));
        let counts = |path: &PathBuf| !path.iter().any(|part| ignored.iter().any(|name| part == *name));
        if written && event.paths.iter().any(counts) {
            let _ = sender.try_send(());
        }
    })
    .and_then(|mut watcher| watcher.watch(folder, RecursiveMode::Recursive).map(|()| watcher))
    .map_err(|error| Failure::new(format!("{} cannot be watched: {error}", folder.display())))?;
    watcher.configure(notify::Config::default()).ok();
    Ok((watcher, receiver))
}

/// Prints what the function prints, and starts over when the connection breaks.
async fn follow(client: Client, name: String) {
    loop {
        let request = client
            .request(Method::GET, &format!("functions/{name}/logs"))
            .query(&[("follow", "true"), ("tail", "0")]);
        if let Ok(response) = client.send(request).await {
            let mut lines = std::pin::pin!(lines(response));
            while let Some(Ok(line)) = lines.next().await {
                if let Ok(line) = serde_json::from_slice(&line) {
                    let _ = logs::print(&line, false, false);
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
