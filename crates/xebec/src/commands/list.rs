//! `xebec ls`

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format},
};
use xebec_api_native::wire::FunctionAnswer;

/// List functions
#[derive(Debug, clap::Args)]
pub(crate) struct List {}

impl List {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let functions: Vec<FunctionAnswer> = Client::new(server)?.get("functions").await?;
        output::print(format, &functions, || {
            if functions.is_empty() {
                return "no functions; `xebec new hello --lang python` makes one".to_owned();
            }
            let row = |function: &FunctionAnswer| {
                let live = &function.view.live;
                vec![
                    function.name.clone(),
                    function.door.clone(),
                    function.view.function.latest().map_or(0, |entry| entry.number).to_string(),
                    format!("{}/{}", live.ready, live.ready + live.starting),
                    live.invocations.to_string(),
                    live.failures.to_string(),
                    output::age(function.view.function.updated),
                ]
            };
            let header = ["NAME", "DOOR", "REVISION", "READY", "CALLS", "FAILED", "AGE"];
            output::table(&header, functions.iter().map(row).collect())
        })
    }
}
