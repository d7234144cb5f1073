//! `xebec completions`

use super::Arguments;
use crate::{failure::Failure, output};
use clap::CommandFactory as _;

/// Print a completion script, e.g. `source <(xebec completions bash)`
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// For which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "xebec", &mut script);
        output::bytes(&script)
    }
}
