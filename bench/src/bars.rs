//! `bars`: every path of an embedded server that has a figure to reach, each beside its baseline in the same
//! run.

use clap::{Args, ValueEnum};
use row::Row;
use std::{path::PathBuf, time::Duration};

pub(crate) mod api;
mod first_call;
mod http_hop;
mod memory;
mod openwhisk;
mod process;
mod queue;
mod queue_nats;
pub(crate) mod row;
pub(crate) mod server;
mod stdio;
mod turns;
mod wasm;

/// What to measure and how long.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The server to measure [default: `xebec` beside this program]
    #[arg(long)]
    xebec: Option<PathBuf>,
    /// Only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<Group>,
    /// Seconds for each rate and each latency
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// First calls of each kind
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    first_calls: u16,
    /// Functions to deploy for the memory of many
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    functions: u32,
    /// A wasi:http component to call [default: examples/wasm-hello/hello.wat]
    #[arg(long)]
    component: Option<PathBuf>,
    /// OpenFaaS' of-watchdog, to stand beside the hop
    #[arg(long)]
    of_watchdog: Option<PathBuf>,
    /// A nats-server, for the queue on NATS
    #[arg(long)]
    nats_server: Option<PathBuf>,
    /// How to print the result
    #[arg(short, long, default_value = "markdown")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// The warm hop to a web server
    Http,
    /// WebAssembly, warm and cold
    Wasm,
    /// First calls of Python and Node functions
    FirstCall,
    /// A process per call
    Stdio,
    /// Calls that outlive their caller
    Queue,
    /// The same with their queue on NATS
    QueueNats,
    /// A blocking invocation through OpenWhisk's door
    Openwhisk,
    /// Resident memory
    Memory,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Markdown,
    Json,
}

/// What every measurement gets.
struct Context {
    xebec: PathBuf,
    own: PathBuf,
    measure: Duration,
    first_calls: usize,
    functions: usize,
    component: Option<PathBuf>,
    of_watchdog: Option<PathBuf>,
    nats_server: Option<PathBuf>,
}

pub(crate) fn command(arguments: Arguments) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let xebec = server::binary(arguments.xebec)?;
    let context = Context {
        xebec,
        own,
        measure: Duration::try_from_secs_f64(arguments.seconds)
            .ok()
            .filter(|measure| (0.1..=600.0).contains(&measure.as_secs_f64()))
            .ok_or("--seconds must be from 0.1 to 600")?,
        first_calls: arguments.first_calls.into(),
        functions: arguments.functions as usize,
        component: arguments.component,
        of_watchdog: arguments.of_watchdog,
        nats_server: arguments.nats_server,
    };
    let all = [
        Group::Http,
        Group::Wasm,
        Group::FirstCall,
        Group::Stdio,
        Group::Queue,
        Group::QueueNats,
        Group::Openwhisk,
        Group::Memory,
    ];
    let wanted = if arguments.only.is_empty() { all.to_vec() } else { arguments.only };
    let rows = crate::load::runtime(1)?.block_on(async {
        let mut rows = Vec::new();
        for group in wanted {
            rows.extend(measure(group, &context).await);
        }
        rows
    });
    match arguments.output {
        Output::Markdown => row::print_markdown(&rows),
        Output::Json => {
            println!("{}", serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())?);
        }
    }
    Ok(())
}

/// What could not be measured is a row, too.
async fn measure(group: Group, context: &Context) -> Vec<Row> {
    let name = group.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    eprintln!("measuring {name} …");
    let measured = match group {
        Group::Http => http_hop::measure(context).await,
        Group::Wasm => wasm::measure(context).await,
        Group::FirstCall => first_call::measure(context).await,
        Group::Stdio => stdio::measure(context).await,
        Group::Queue => queue::measure(context).await,
        Group::QueueNats => queue_nats::measure(context).await,
        Group::Openwhisk => openwhisk::measure(context).await,
        Group::Memory => memory::measure(context).await,
    };
    measured.unwrap_or_else(|why| {
        eprintln!("skipped: {name}: {why}");
        vec![Row::skipped(&name, &why)]
    })
}
