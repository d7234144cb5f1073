//! `xebec-shim`: the contracts next to a function, as a small static program that is an image's entrypoint in
//! place of OpenFaaS' `fwatchdog`, and is set up by the same variables.
//!
//! | module | what it does |
//! |---|---|
//! | `settings` | reads the variables |
//! | `children`, `local` | starts and reaps processes; they are what contracts stand on |
//! | `server` | the one process of the mode `http` |
//! | `function` | one call: session, limits, answer |
//! | `listener`, `connection` | HTTP, its time limits and its end |
//! | `health`, `metrics`, `log` | what others see of it |
//! | `life`, `signals` | from the start to the last exit code |

mod answers;
mod calls;
mod children;
mod connection;
mod counted;
mod function;
mod health;
mod life;
mod listener;
mod local;
mod log;
mod metrics;
mod server;
mod settings;
mod signals;

use std::{collections::BTreeMap, env, process::ExitCode};

const USAGE: &str = "usage: xebec-shim [-version | -run-healthcheck]; it is set up by variables, such as \
                     fprocess, mode and upstream_url";

/// Threads beside the main one, for what blocks: starting processes and reading files. Idle ones end.
const THREADS: usize = 8;
const STACK_BYTES: usize = 256 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = arguments.iter().map(|word| word.trim_start_matches('-')).collect();
    match words.as_slice() {
        [] => run(),
        ["version"] => {
            println!("xebec-shim {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        ["run-healthcheck"] if health::is_locked() => ExitCode::SUCCESS,
        ["run-healthcheck"] => {
            eprintln!("there is no {}", health::lock_file().display());
            ExitCode::FAILURE
        }
        ["h" | "help"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run() -> ExitCode {
    let variables: BTreeMap<String, String> = env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let ended = settings::Settings::read(&variables).map_err(|fault| fault.to_string()).and_then(serve);
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            log::own(format_args!("cannot serve: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: settings::Settings) -> Result<u8, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let ended = runtime.block_on(life::live(settings));
    // A lookup or a slow disk keeps no container alive.
    runtime.shutdown_background();
    ended
}
