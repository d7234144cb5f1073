//! `scale`: very many functions, some of them called, the server started again.

use crate::{
    bars::{
        api::Api,
        row::{self, Row},
        server::{self, Server},
    },
    load::{connection::Connection, target::Target},
    vitals::{Vitals, mebibytes},
};
use clap::Args;
use futures_util::future::try_join_all;
use http::Method;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// From the repository's root.
const EXAMPLE: &str = "examples/wasm-hello/hello.wat";
/// How long the server may come to rest before it is looked at.
const REST: Duration = Duration::from_secs(3);
/// What ten thousand functions may take of a scrape, which Prometheus gives ten seconds.
const SCRAPE_BAR: Duration = Duration::from_secs(1);
const START_BAR: Duration = Duration::from_secs(5);
/// As of 100,000 functions in 500 MiB, beside what the server itself takes.
const EACH_BAR: u64 = 5 << 10;

/// How many of what.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The server to measure [default: `xebec` beside this program]
    #[arg(long)]
    xebec: Option<PathBuf>,
    /// Functions to deploy
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    functions: u32,
    /// Functions to call, one after the other
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    called: u32,
    /// Connections that deploy
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    deployers: u16,
    /// A wasi:http component that they are [default: examples/wasm-hello/hello.wat]
    #[arg(long)]
    component: Option<PathBuf>,
}

pub(crate) fn command(arguments: Arguments) -> Result<(), String> {
    let rows = crate::load::runtime(1)?.block_on(measure(&arguments))?;
    row::print_markdown(&rows);
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<Vec<Row>, String> {
    let functions = u64::from(arguments.functions);
    let called = arguments.called.min(arguments.functions);
    let mut server = Server::start(&server::binary(arguments.xebec.clone())?, "")?;
    let component = arguments.component.clone().unwrap_or_else(|| EXAMPLE.into());
    let code = std::fs::read(&component).map_err(|error| format!("{}: {error}", component.display()))?;
    server.deploy(
        "name = \"many-0\"\nenvironment = \"wasm\"\nartifact = \"guest.wat\"\n",
        &[("guest.wat", code, false)],
    )?;
    tokio::time::sleep(REST).await;
    let idle = vitals(&server)?.resident;
    eprintln!("deploying {functions} functions …");
    let deploying = deploy(&server, arguments).await?;
    tokio::time::sleep(REST).await;
    let deployed = vitals(&server)?.resident;
    let each = deployed.saturating_sub(idle) / functions;
    let mut rows = vec![
        Row::new(format!("{functions} functions deployed through the API")).measured(format!(
            "{} ({:.0}/s, each on disk)",
            seconds(deploying),
            functions as f64 / deploying.as_secs_f64()
        )),
        Row::new("the server's memory with them")
            .measured(format!("{}: {:.1} KiB for each", mebibytes(deployed), each as f64 / 1024.0))
            .baseline(format!("with one: {}", mebibytes(idle)))
            .bar("≤ 5 KiB for each", each <= EACH_BAR),
    ];
    let mut api = server.api().await?;
    rows.push(fetched(&mut api, "a list of all", "/xebec/v1/functions").await?);
    rows.push(fetched(&mut api, "/metrics, before any is called", "/metrics").await?);
    eprintln!("calling {called} of them …");
    rows.extend(call(&server, called).await?);
    rows.push(fetched(&mut api, "/metrics, once they were called", "/metrics").await?);
    tokio::time::sleep(REST).await;
    rows.push(
        Row::new("the server's memory once they were called").measured(mebibytes(vitals(&server)?.resident)),
    );
    eprintln!("starting it again …");
    let starting = server.restart()?;
    let first = Instant::now();
    once(&server, 1).await?;
    let row = Row::new("started again, with all of them: until it is ready").measured(format!(
        "{} (then its first call: {})",
        seconds(starting),
        seconds(first.elapsed())
    ));
    // The bar is that of ten thousand.
    rows.push(if functions <= 10_000 { row.bar("≤ 5 s", starting <= START_BAR) } else { row });
    tokio::time::sleep(REST).await;
    rows.push(Row::new("the server's memory after that").measured(mebibytes(vitals(&server)?.resident)));
    let known = server.api().await?.get("/xebec/v1/info").await?["functions"].as_u64();
    if known != Some(functions) {
        return Err(format!("after the start there are {known:?} functions, not {functions}"));
    }
    Ok(rows)
}

fn vitals(server: &Server) -> Result<Vitals, String> {
    Vitals::of(server.pid(), &server.data(), &server.temporary())
}

/// Deploys all but the first, which is there; how long it took.
async fn deploy(server: &Server, arguments: &Arguments) -> Result<Duration, String> {
    let first = server.api().await?.get("/xebec/v1/functions/many-0").await?;
    let manifest = &first["manifest"];
    let next = AtomicUsize::new(1);
    let started = Instant::now();
    let deployers = (0..arguments.deployers).map(|_| async {
        let mut api = server.api().await?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= arguments.functions as usize {
                return Ok::<_, String>(());
            }
            deploy_one(&mut api, manifest, number).await?;
        }
    });
    try_join_all(deployers).await?;
    Ok(started.elapsed())
}

async fn deploy_one(api: &mut Api, manifest: &Value, number: usize) -> Result<(), String> {
    let name = format!("many-{number}");
    let mut manifest = manifest.clone();
    manifest["name"] = json!(name);
    manifest["env"] = json!({"NUMBER": number.to_string()});
    api.send(Method::PUT, &format!("/xebec/v1/functions/{name}"), &manifest).await.map(|_| ())
}

/// How long something takes to fetch, and how much it is.
async fn fetched(api: &mut Api, what: &str, path: &str) -> Result<Row, String> {
    let started = Instant::now();
    let body = api.call(Method::GET, path, bytes::Bytes::new()).await?;
    let took = started.elapsed();
    let row = Row::new(what).measured(format!("{} in {}", mebibytes(body.len() as u64), seconds(took)));
    Ok(if path == "/metrics" { row.bar("≤ 1 s", took <= SCRAPE_BAR) } else { row })
}

/// The first call of each of so many, one after the other.
async fn call(server: &Server, called: u32) -> Result<Vec<Row>, String> {
    let started = Instant::now();
    let mut taken = Vec::new();
    for number in 0..called {
        taken.push(once(server, number).await?);
    }
    let whole = started.elapsed();
    taken.sort_unstable();
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize];
    Ok(vec![Row::new(format!("{called} of them called in turn, each for the first time")).measured(format!(
        "{}; a call p50 {}, p99 {}, at most {}",
        seconds(whole),
        seconds(at(0.5)),
        seconds(at(0.99)),
        seconds(at(1.0))
    ))])
}

async fn once(server: &Server, number: u32) -> Result<Duration, String> {
    let target =
        Target::new(&server.url(&format!("many-{number}")), "GET", &[], None)?.resolve(false).await?;
    let started = Instant::now();
    let answer = Connection::new(&target, Duration::from_secs(60)).call().await?;
    if answer.status != 200 {
        return Err(format!("many-{number} answered {}", answer.status));
    }
    Ok(started.elapsed())
}

fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}
