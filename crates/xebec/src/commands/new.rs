//! `xebec new`

use crate::{failure::Failure, output};
use std::path::{Path, PathBuf};
use xebec_environments::templates;

/// Make a folder with a function to start from
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// The function's name; also the folder's
    name: String,
    /// Its language
    #[arg(short, long, value_parser = clap::builder::PossibleValuesParser::new(templates::names()))]
    lang: String,
    /// Where to make the folder
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    into: PathBuf,
}

impl New {
    pub(crate) fn run(self) -> Result<(), Failure> {
        xebec_core::names::check_dns_label("function name", &self.name)
            .map_err(|error| Failure { exit: 2, ..error.into() })?;
        let folder = self.into.join(&self.name);
        if folder.exists() {
            return Err(Failure::misuse(format!("{} exists already", folder.display())));
        }
        write(&folder, &self.name, &self.lang)?;
        output::line(&format!(
            "made {0}\n\nnext:\n  xebec deploy {0}\n  xebec invoke {1} -d '{{\"name\":\"Ada\"}}'",
            folder.display(),
            self.name
        ))
    }
}

/// Writes the files of a template into a new folder.
pub(super) fn write(folder: &Path, name: &str, lang: &str) -> Result<(), Failure> {
    for file in templates::files(lang) {
        let path = folder.join(file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(Failure::io(parent.display()))?;
        }
        std::fs::write(&path, file.contents.replace("{{name}}", name))
            .map_err(Failure::io(path.display()))?;
        if file.contents.starts_with("#!") {
            use std::os::unix::fs::PermissionsExt as _;
            let runs = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, runs).map_err(Failure::io(path.display()))?;
        }
    }
    Ok(())
}
