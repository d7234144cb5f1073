//! `xebec demo`

use super::{deploy, up};
use crate::{
    client::{Client, ServerArguments},
    config::{self, Config, Options},
    failure::Failure,
    output::{self, Format, Steps},
    pack::Project,
    server::Server,
};
use http::Method;
use reqwest::RequestBuilder;
use serde::Serialize;
use std::{
    path::Path,
    time::{Duration, Instant},
};
use xebec_core::{environment::Environments as _, ports::control::EnvironmentInfo};
use xebec_environments::Table;

/// Warm calls of each function: enough for a median that stands still.
const WARM_CALLS: usize = 300;

/// How long a blank is waited for.
const BLANK_PATIENCE: Duration = Duration::from_secs(5);

/// What every example is called with.
const BODY: &str = r#"{"name":"Ada"}"#;

/// The examples: a name, the template it is made of, what is shown of it.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("hello-python", "python", "Python"),
    ("hello-node", "node", "Node"),
    ("hello-shell", "shell", "shell command"),
    ("hello-wasm", "wasm", "WebAssembly component"),
];

/// An action of OpenWhisk's: its name, and its code.
const ACTION: (&str, &str) =
    ("hello-action", "function main ({ name }) { return { greeting: `Hello ${name}` } }");

/// Start a throw-away server, deploy examples, call and measure them
///
/// The server then runs on, with everything in a folder that is deleted at the end. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Address and port to listen on [default: 127.0.0.1:8080, or any free port where that is taken]
    #[arg(long, env = "XEBEC_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// End after the table
    #[arg(long)]
    exit: bool,
}

/// What was measured of one example. Microseconds, over the whole round trip.
#[derive(Debug, Serialize)]
struct Measured {
    function: &'static str,
    language: &'static str,
    deploy_us: u64,
    first_call_us: u64,
    warm_median_us: u64,
    warm_p99_us: u64,
    answer: String,
}

impl Demo {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let folder = tempfile::Builder::new()
            .prefix("xebec-demo-")
            .tempdir()
            .map_err(Failure::io("a temporary folder"))?;
        let steps = Steps::start("starting a server");
        let began = Instant::now();
        let server = self.start(folder.path()).await?;
        steps.step(&format!("the server was ready after {} ms", began.elapsed().as_millis()));
        let arguments = ServerArguments {
            url: server.url().to_owned(),
            token: Some(server.token().to_owned()),
            tenant: None,
            tls_skip_verify: false,
        };
        let client = Client::new(&arguments)?;
        let environments: Vec<EnvironmentInfo> = client.get("environments").await?;
        let (mut measured, mut skipped) = (Vec::new(), Vec::new());
        for (name, template, language) in EXAMPLES {
            let project = example(folder.path(), name, template)?;
            let environment = project.manifest.environment.clone().unwrap_or_default();
            if let Some(missing) = missing(&environments, &project) {
                skipped.push(format!("skipped {language}: this machine has no {missing}"));
                continue;
            }
            steps.step(&format!("deploying {name}"));
            let began = Instant::now();
            deploy::deploy(&client, project, |line| steps.step(&format!("{name}: {line}"))).await?;
            let deploy_us = micros(began);
            // The first function of a language brings its blanks; later ones find them, and that is the usual case.
            steps.step(&format!("waiting for a blank of {environment}"));
            wait_for_blank(&client, &environment).await?;
            steps.step(&format!("calling {name}"));
            let measuring = measure(name, language, || native(&client, name));
            measured.push(Measured { deploy_us, ..measuring.await? });
        }
        if measured.iter().any(|example| example.language == "Node") {
            steps.step("creating and invoking an OpenWhisk action");
            measured.push(action(&client).await?);
        }
        drop(steps);
        output::print(format, &measured, || table(&measured))?;
        for line in skipped {
            eprintln!("{line}");
        }
        if self.exit {
            server.stop().await;
            return Ok(());
        }
        if format == Format::Text {
            output::line(&next(server.url(), &measured))?;
        }
        up::run_until_stopped(server).await
    }

    async fn start(&self, folder: &Path) -> Result<Server, Failure> {
        let listen = self.listen.clone().unwrap_or_else(|| config::LISTEN.to_owned());
        let mut options =
            Options { listen: Some(listen), data_dir: Some(folder.join("data")), ..Options::default() };
        let first = Server::start(Config::load(&options)?).await;
        match first {
            Err(failure) if self.listen.is_none() && failure.message.contains("in use") => {
                options.listen = Some("127.0.0.1:0".to_owned());
                Server::start(Config::load(&options)?).await
            }
            started => started,
        }
    }
}

/// Writes a template out, and reads it as a project.
fn example(folder: &Path, name: &str, template: &str) -> Result<Project, Failure> {
    super::new::write(&folder.join(name), name, template)?;
    let mut project = Project::read(&folder.join(name))?;
    if template == "wasm" {
        // A toolchain for components may be missing; this one is written in WebAssembly's own text.
        let text = include_str!("../../../../examples/wasm-hello/hello.wat");
        let file = folder.join(name).join("hello.wat");
        std::fs::write(&file, text).map_err(Failure::io(file.display()))?;
        project.manifest.build = None;
        project.manifest.artifact = Some("hello.wat".to_owned());
    }
    Ok(project)
}

/// Waits a moment until a blank of an environment is ready, where it keeps any.
async fn wait_for_blank(client: &Client, name: &str) -> Result<(), Failure> {
    if Table::builtin().environment(name).is_none_or(|environment| environment.blanks.is_none()) {
        return Ok(());
    }
    let began = Instant::now();
    while began.elapsed() < BLANK_PATIENCE {
        let environments: Vec<EnvironmentInfo> = client.get("environments").await?;
        if environments.iter().any(|environment| environment.name == name && environment.blanks > 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn missing(environments: &[EnvironmentInfo], project: &Project) -> Option<String> {
    let wanted = project.manifest.environment.as_deref()?;
    let environment = environments.iter().find(|environment| environment.name == wanted)?;
    (!environment.missing.is_empty()).then(|| environment.missing.join(", "))
}

/// Calls an example once, and then often.
async fn measure<C: Future<Output = Result<String, Failure>>>(
    name: &'static str,
    language: &'static str,
    call: impl Fn() -> C,
) -> Result<Measured, Failure> {
    let began = Instant::now();
    let answer = call().await?;
    let first_call_us = micros(began);
    let mut warm = Vec::with_capacity(WARM_CALLS);
    for _ in 0..WARM_CALLS {
        let began = Instant::now();
        call().await?;
        warm.push(micros(began));
    }
    warm.sort_unstable();
    Ok(Measured {
        function: name,
        language,
        deploy_us: 0,
        first_call_us,
        warm_median_us: warm[warm.len() / 2],
        warm_p99_us: warm[warm.len() * 99 / 100],
        answer: answer.trim().to_owned(),
    })
}

/// Calls a function through our own API.
async fn native(client: &Client, name: &str) -> Result<String, Failure> {
    text(client, client.request(Method::POST, &format!("functions/{name}/invoke")), BODY.to_owned()).await
}

/// Creates an action through OpenWhisk's door, as `wsk` does, and invokes it.
async fn action(client: &Client) -> Result<Measured, Failure> {
    let (name, code) = ACTION;
    let path = format!("/api/v1/namespaces/_/actions/{name}");
    let began = Instant::now();
    let action = serde_json::json!({ "exec": { "kind": "nodejs:default", "code": code } });
    text(client, client.request_at(Method::PUT, &path), action.to_string()).await?;
    let deploy_us = micros(began);
    wait_for_blank(client, "node").await?;
    let path = format!("{path}?blocking=true&result=true");
    let invoke = || text(client, client.request_at(Method::POST, &path), BODY.to_owned());
    Ok(Measured { deploy_us, ..measure(name, "Node, an OpenWhisk action", invoke).await? })
}

/// Sends JSON; what is answered.
async fn text(client: &Client, request: RequestBuilder, body: String) -> Result<String, Failure> {
    let request = request.header(http::header::CONTENT_TYPE, "application/json").body(body);
    let response = client.send(request).await?;
    response.text().await.map_err(|error| Failure::new(format!("an answer broke off: {error}")))
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn table(measured: &[Measured]) -> String {
    let row = |example: &Measured| {
        vec![
            example.function.to_owned(),
            example.language.to_owned(),
            output::micros(example.deploy_us),
            output::micros(example.first_call_us),
            output::micros(example.warm_median_us),
            output::micros(example.warm_p99_us),
            example.answer.lines().next().unwrap_or_default().chars().take(40).collect(),
        ]
    };
    let header = ["FUNCTION", "WRITTEN IN", "DEPLOY", "FIRST CALL", "WARM MEDIAN", "WARM P99", "ANSWER"];
    output::table(&header, measured.iter().map(row).collect())
}

fn next(url: &str, measured: &[Measured]) -> String {
    let name = measured.first().map_or("hello", |example| example.function);
    let elsewhere =
        if url.ends_with(":8080") { String::new() } else { format!("  export XEBEC_URL={url}\n") };
    format!(
        "\nthe server runs on at {url}; try in another terminal:\n\n{elsewhere}  \
         xebec ls\n  \
         xebec invoke {name} -d '{BODY}'\n  \
         curl -d '{BODY}' {url}/function/{name}\n  \
         wsk --apihost {url} --auth demo:demo action list\n  \
         xebec new mine --lang python && xebec dev ./mine\n\n\
         Ctrl-C ends it and deletes everything."
    )
}
