//! `xebec env`

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format, Steps},
};
use xebec_api_native::wire::FunctionAnswer;

/// Show or change a function's environment variables
///
/// `xebec env hello` shows them, `xebec env hello GREETING=Hi` sets one, `xebec env hello GREETING-` takes it
/// away. A change makes a new revision.
#[derive(Debug, clap::Args)]
pub(crate) struct Env {
    /// The function
    name: String,
    /// `NAME=value` to set, `NAME-` to take away
    changes: Vec<String>,
}

impl Env {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        let function: FunctionAnswer = client.get(&format!("functions/{}", self.name)).await?;
        let mut manifest = function.manifest.ok_or_else(|| {
            Failure::new(format!("{} was deployed through the door {}", self.name, function.door))
                .with_hint("change its variables with that door's own tools")
        })?;
        for change in &self.changes {
            match (change.split_once('='), change.strip_suffix('-')) {
                (Some((name, value)), _) if !name.is_empty() => {
                    manifest.env.insert(name.to_owned(), value.to_owned());
                }
                (None, Some(name)) if !name.is_empty() => {
                    manifest.env.remove(name);
                }
                _ => {
                    return Err(Failure::misuse(format!("{change:?} is no change"))
                        .with_hint("write NAME=value to set, NAME- to take away"));
                }
            }
        }
        if !self.changes.is_empty() {
            let steps = Steps::start("deploying");
            client.deploy(&manifest, |line| steps.step(line)).await?;
        }
        output::print(format, &manifest.env, || {
            let lines: Vec<_> = manifest.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
            lines.join("\n")
        })
    }
}
