//! `xebec`: the server and its command line, one binary.
//!
//! `commands/` has a file per subcommand, `server/` composes and runs the server; it is the one place that
//! names implementations.

mod client;
mod commands;
mod config;
mod failure;
mod output;
mod pack;
mod server;

use clap::Parser as _;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The sandbox's spawner is this binary, run again; it must stay single-threaded and small.
    if std::env::args_os().nth(1).is_some_and(|first| first == xebec_sandbox::SPAWNER_ARGUMENT) {
        xebec_sandbox::spawner_main();
    }
    // Two providers may be linked in; this decides once for the whole process.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("xebec: a second TLS provider was installed before ours; using that one");
    }
    let arguments = commands::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("xebec: the async runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(commands::run(arguments));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// Tells a person what failed, and the shell which kind of failure it was.
fn report(failure: &Failure) -> ExitCode {
    if !failure.message.is_empty() {
        eprintln!("error: {}", failure.message);
    }
    for line in &failure.detail {
        eprintln!("  {line}");
    }
    if let Some(hint) = &failure.hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(failure.exit)
}
