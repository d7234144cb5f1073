//! The native API, from the outside.

use crate::failure::Failure;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};
use std::{path::PathBuf, time::Duration};
use xebec_api_native::wire::{CodeAnswer, DeployEvent, ErrorBody, FunctionAnswer, Manifest};

/// Where the server is, and what proves who asks.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Which server")]
pub(crate) struct ServerArguments {
    /// Where the server is
    #[arg(
        long,
        env = "XEBEC_URL",
        default_value = "http://127.0.0.1:8080",
        global = true,
        value_name = "URL"
    )]
    pub(crate) url: String,
    /// The token of a key; left out, the token in the data directory is used if it can be read
    #[arg(long, env = "XEBEC_TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
    /// Whose functions
    #[arg(long, env = "XEBEC_TENANT", global = true)]
    pub(crate) tenant: Option<String>,
    /// Accept any TLS certificate of the server (a self-signed one, say)
    #[arg(long, env = "XEBEC_TLS_SKIP_VERIFY", global = true)]
    pub(crate) tls_skip_verify: bool,
}

/// Speaks to one server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    tenant: Option<String>,
}

impl Client {
    pub(crate) fn new(server: &ServerArguments) -> Result<Self, Failure> {
        let base = server.url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(Failure::misuse(format!("{base:?} is not a URL of a server"))
                .with_hint("for example --url http://127.0.0.1:8080"));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .danger_accept_invalid_certs(server.tls_skip_verify)
            .no_proxy()
            .build()
            .map_err(|error| Failure::new(format!("the HTTP client cannot start: {error}")))?;
        let token = server.token.clone().or_else(|| local_token(&base));
        Ok(Self { http, base, token, tenant: server.tenant.clone() })
    }

    /// Where the server is.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// A request below any path, for what other doors offer.
    pub(crate) fn request_at(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// A request below `/xebec/v1/`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.request_at(method, &format!("/xebec/v1/{path}"));
        if let Some(tenant) = &self.tenant {
            request = request.query(&[("tenant", tenant)]);
        }
        request
    }

    /// Sends, and turns an error answer into a failure.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = self.answer(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.bytes().await.unwrap_or_default();
        Err(refusal(status, &text))
    }

    /// Sends a call; whatever comes back is an answer.
    pub(crate) async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    /// Sends, and reads a JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let bytes = self.send(request).await?.bytes().await.map_err(|error| broke_off(&error))?;
        read(&bytes)
    }

    /// `GET`s JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.json(self.request(Method::GET, path)).await
    }

    /// `GET`s JSON; nothing where there is none.
    pub(crate) async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Failure> {
        let response = self.answer(self.request(Method::GET, path)).await?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| broke_off(&error))?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => read(&bytes).map(Some),
            status => Err(refusal(status, &bytes)),
        }
    }

    /// All metrics; nothing for those who may not see them.
    pub(crate) async fn metrics(&self) -> Result<Option<String>, Failure> {
        let response = self.answer(self.request_at(Method::GET, "/metrics")).await?;
        if !response.status().is_success() {
            return Ok(None);
        }
        response.text().await.map(Some).map_err(|error| broke_off(&error))
    }

    /// Sends JSON, reads JSON.
    pub(crate) async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.json(self.request(method, path).json(body)).await
    }

    /// `DELETE`s.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.send(self.request(Method::DELETE, path)).await.map(drop)
    }

    /// Stores code.
    pub(crate) async fn store_code(&self, code: Vec<u8>) -> Result<CodeAnswer, Failure> {
        self.json(self.request(Method::POST, "code").body(code)).await
    }

    /// Deploys, and tells `step` what is being done.
    pub(crate) async fn deploy(
        &self,
        manifest: &Manifest,
        mut step: impl FnMut(&str),
    ) -> Result<FunctionAnswer, Failure> {
        let request = self
            .request(Method::PUT, &format!("functions/{}", manifest.name))
            .header(http::header::ACCEPT, "text/event-stream")
            .json(manifest);
        let response = self.send(request).await?;
        let mut lines = std::pin::pin!(lines(response));
        while let Some(line) = lines.next().await {
            let line = line?;
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let event = serde_json::from_slice(data).map_err(|error| {
                Failure::new(format!("the server sent an event that cannot be read: {error}"))
            })?;
            match event {
                DeployEvent::Step { line } => step(&line),
                DeployEvent::Done { function } => return Ok(*function),
                DeployEvent::Failed { error } => return Err(of_body(error)),
            }
        }
        Err(Failure::new("the server closed the connection before the deploy ended")
            .with_hint("xebec describe tells whether it was deployed"))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let reason = innermost(error);
        if error.is_connect() && reason.contains("certificate") {
            return Failure::new(format!("the certificate of {} is not trusted: {reason}", self.base))
                .with_hint("if it is a self-signed one of yours, add --tls-skip-verify");
        }
        if error.is_connect() {
            return Failure::new(format!("no server answers at {}", self.base))
                .with_hint("start one with `xebec up`, or name one with --url or XEBEC_URL");
        }
        broke_off(error)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::new(format!("the server's answer is not what this version expects: {error}"))
            .with_hint("are client and server of one version? xebec --version, and GET /xebec/v1/info")
    })
}

/// The lines of a streamed answer, without their ends.
pub(crate) fn lines(response: Response) -> impl Stream<Item = Result<Bytes, Failure>> {
    let chunks = response.bytes_stream().map_err(|error| broke_off(&error)).boxed();
    futures_util::stream::try_unfold((chunks, Vec::new()), |(mut chunks, mut held)| async move {
        loop {
            if let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let rest = held.split_off(end + 1);
                held.pop();
                return Ok(Some((Bytes::from(held), (chunks, rest))));
            }
            match chunks.try_next().await? {
                Some(chunk) => held.extend_from_slice(&chunk),
                None if held.is_empty() => return Ok(None),
                None => return Ok(Some((Bytes::from(std::mem::take(&mut held)), (chunks, held)))),
            }
        }
    })
}

fn broke_off(error: &reqwest::Error) -> Failure {
    Failure::new(format!("the connection to the server broke off: {}", innermost(error)))
}

/// What the error comes down to.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => of_body(body),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            Failure::new(format!("the server answered {status}: {}", text.trim()))
        }
    }
}

/// An error of the server's, for people.
pub(crate) fn of_body(body: ErrorBody) -> Failure {
    let mut failure = Failure::new(format!("{} [{}]", body.message, body.code));
    failure.detail = body.log_tail;
    failure.detail.extend(body.output.lines().map(str::to_owned));
    failure.hint = body.hint;
    failure
}

/// The token that a server on this machine keeps in its data directory, where we may read it. It is sent
/// to loopback addresses only.
fn local_token(base: &str) -> Option<String> {
    let host = reqwest::Url::parse(base).ok()?.host_str()?.trim_matches(['[', ']']).to_owned();
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !loopback {
        return None;
    }
    let directory =
        std::env::var_os("XEBEC_DATA_DIR").map_or_else(crate::config::default_data_directory, PathBuf::from);
    let token = std::fs::read_to_string(directory.join("token")).ok()?;
    Some(token.trim().to_owned())
}
