//! `xebec logs`

use crate::{
    client::{Client, ServerArguments, lines},
    failure::Failure,
    output::{self, Format},
};
use futures_util::StreamExt as _;
use http::Method;
use jiff::Timestamp;
use std::io::IsTerminal as _;
use xebec_api_native::wire::Span;
use xebec_core::log::{LogLine, LogStream};

/// Show what a function prints
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// The function
    name: String,
    /// Go on with lines as they come
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines, so many
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
    /// Only what is younger, e.g. `10m`
    #[arg(long, value_name = "SPAN")]
    since: Option<Span>,
    /// Only of this invocation
    #[arg(long, value_name = "ID")]
    invocation: Option<String>,
    /// Without time and instance
    #[arg(long)]
    plain: bool,
}

impl Logs {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        let mut request = client.request(Method::GET, &format!("functions/{}/logs", self.name));
        request = request.query(&[("follow", self.follow)]);
        if let Some(tail) = self.tail {
            request = request.query(&[("tail", tail)]);
        }
        if let Some(since) = self.since {
            request = request.query(&[("since", (Timestamp::now() - since.0).to_string())]);
        }
        if let Some(invocation) = &self.invocation {
            request = request.query(&[("invocation", invocation)]);
        }
        let response = client.send(request).await?;
        let mut lines = std::pin::pin!(lines(response));
        let colour = std::io::stdout().is_terminal();
        while let Some(line) = lines.next().await {
            let json = line?;
            if format == Format::Json {
                output::line(&String::from_utf8_lossy(&json))?;
                continue;
            }
            let line = serde_json::from_slice(&json).map_err(|error| {
                Failure::new(format!("the server sent a line that cannot be read: {error}"))
            })?;
            print(&line, self.plain, colour)?;
        }
        Ok(())
    }
}

/// Prints one line for people.
pub(crate) fn print(line: &LogLine, plain: bool, colour: bool) -> Result<(), Failure> {
    if plain {
        return output::line(&line.text);
    }
    let (on, off) = match (colour, line.stream) {
        (false, _) | (_, LogStream::Stdout) => ("", ""),
        (true, LogStream::Stderr) => ("\x1b[33m", "\x1b[0m"),
        (true, LogStream::Platform) => ("\x1b[36m", "\x1b[0m"),
    };
    output::line(&format!("{} {} {on}{}{off}", output::clock(line.time), line.instance, line.text))
}
