//! `xebec invoke`

use super::later::Later;
use crate::{
    client::{Client, ServerArguments, of_body},
    failure::Failure,
    output::{self, Format},
};
use futures_util::StreamExt as _;
use http::Method;
use std::{io::IsTerminal as _, path::PathBuf};
use tokio::io::AsyncReadExt as _;
use xebec_api_native::wire::ErrorBody;

/// Call a function
///
/// The answer's body goes to standard output as it arrives. Exits with 1 if the function failed. With --async,
/// the id goes there instead, as soon as the call is on disk.
#[derive(Debug, clap::Args)]
pub(crate) struct Invoke {
    /// The function
    name: String,
    /// The body; `@file` reads it from a file, `-` or a pipe from standard input
    #[arg(short, long)]
    data: Option<String>,
    /// The method; left out, POST with a body or --async, else GET
    #[arg(short = 'X', long)]
    method: Option<Method>,
    /// The path below the function, with its query
    #[arg(short, long, default_value = "")]
    path: String,
    /// A header, `Name: value`; may be given several times
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Show status, headers and timing on standard error
    #[arg(short = 'i', long)]
    include: bool,
    #[command(flatten)]
    later: Later,
}

impl Invoke {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        let body = self.body().await?;
        let posts = body.is_some() || self.later.asynchronous;
        let usual = if posts { Method::POST } else { Method::GET };
        let method = self.method.clone().unwrap_or(usual);
        let path = self.path.trim_start_matches('/');
        let slash = if path.is_empty() || path.starts_with('?') { "" } else { "/" };
        let mut request = client.request(method, &format!("functions/{}/invoke{slash}{path}", self.name));
        let mut typed = false;
        for header in &self.headers {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                Failure::misuse(format!("{header:?} is not a header")).with_hint("write -H 'Name: value'")
            })?;
            typed |= name.trim().eq_ignore_ascii_case("content-type");
            request = request.header(name.trim(), value.trim());
        }
        if let Some(body) = body {
            if !typed {
                let json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
                request =
                    request.header("content-type", if json { "application/json" } else { "text/plain" });
            }
            request = request.body(body);
        }
        if self.later.asynchronous {
            return self.later.run(&client, request, format).await;
        }
        // An answer is the function's unless the outcome header says that it never gave one.
        let response = client.answer(request).await?;
        let status = response.status();
        let outcome = header(&response, "x-xebec-outcome");
        if self.include {
            eprintln!("{:?} {status}", response.version());
            for (name, value) in response.headers() {
                eprintln!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
            }
            eprintln!();
        }
        if !matches!(outcome.as_deref(), Some("success" | "application_error")) && !status.is_success() {
            let bytes = response.bytes().await.unwrap_or_default();
            if format == Format::Json {
                output::bytes(&bytes)?;
                return Err(Failure::silent());
            }
            return Err(match serde_json::from_slice::<ErrorBody>(&bytes) {
                Ok(body) => of_body(body),
                Err(_) => {
                    Failure::new(format!("the server answered {status}: {}", String::from_utf8_lossy(&bytes)))
                }
            });
        }
        let ends_line = stream_out(response).await?;
        if !ends_line && std::io::stdout().is_terminal() {
            output::line("")?;
        }
        if status.is_server_error() {
            return Err(Failure::new(format!("{} answered {status}", self.name))
                .with_hint(format!("xebec logs {} shows what it printed", self.name)));
        }
        Ok(())
    }

    async fn body(&self) -> Result<Option<Vec<u8>>, Failure> {
        let from_stdin = match self.data.as_deref() {
            Some("-") => true,
            Some(data) => {
                return match data.strip_prefix('@') {
                    Some(file) => {
                        let file = PathBuf::from(file);
                        let bytes = std::fs::read(&file)
                            .map_err(|error| Failure::misuse(format!("{}: {error}", file.display())))?;
                        Ok(Some(bytes))
                    }
                    None => Ok(Some(data.as_bytes().to_vec())),
                };
            }
            None => piped(),
        };
        if !from_stdin {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        tokio::io::stdin().read_to_end(&mut bytes).await.map_err(Failure::io("standard input"))?;
        Ok(if bytes.is_empty() && self.data.is_none() { None } else { Some(bytes) })
    }
}

/// Whether standard input is a pipe or a file: then it is the body. Anything else (a terminal, `/dev/null`,
/// a socket that some parent left open) is not waited for.
fn piped() -> bool {
    use std::os::{fd::AsFd as _, unix::fs::FileTypeExt as _};
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return false;
    }
    let file = stdin.as_fd().try_clone_to_owned().map(std::fs::File::from);
    file.and_then(|file| file.metadata()).is_ok_and(|data| data.file_type().is_fifo() || data.is_file())
}

fn header(response: &reqwest::Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// Copies the body out as it arrives; tells whether it ended a line.
async fn stream_out(response: reqwest::Response) -> Result<bool, Failure> {
    let mut ends_line = false;
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Failure::new(format!("the answer broke off: {error}")))?;
        if let Some(last) = chunk.last() {
            ends_line = *last == b'\n';
        }
        output::bytes(&chunk)?;
    }
    Ok(ends_line)
}
