//! `xebec backup` and `xebec restore`

use crate::{
    client::{Client, ServerArguments},
    config,
    failure::Failure,
    output::{self, Format},
    server,
};
use http::Method;
use std::path::PathBuf;
use xebec_api_native::wire::BackupRequest;

/// Copy all state of a running server into an empty folder of its machine
#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    /// The folder; made if missing
    folder: PathBuf,
}

impl Backup {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let folder = std::path::absolute(&self.folder).map_err(Failure::io(self.folder.display()))?;
        let request = BackupRequest { directory: folder.display().to_string() };
        let done: BackupRequest = Client::new(server)?.exchange(Method::POST, "backup", &request).await?;
        output::print(format, &done, || {
            format!(
                "backed up to {0}\nit holds the key of all secrets: keep it as safe as the server",
                done.directory
            )
        })
    }
}

/// Make a data directory from a backup
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// The backup
    folder: PathBuf,
    /// The data directory to make; must be missing or empty
    #[arg(long, env = "XEBEC_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

impl Restore {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let directory = self.data_dir.unwrap_or_else(config::default_data_directory);
        server::restore(&self.folder, &directory)?;
        output::line(&format!("restored to {0}\nnext: xebec up --data-dir {0}", directory.display()))
    }
}
