//! `xebec-bench`: measures HTTP servers under load, and Xebec against its own figures.
//!
//! * `load` calls one URL: closed loop (each connection calls again when it has its answer) or open loop
//!   (calls start on schedule whatever the answers do, and latency counts from the schedule).
//! * `bars` starts a server, deploys functions, and measures each path beside its baseline in the same run.
//! * `scale` deploys very many functions; `soak` uses a server for long, and fails where it grows; `overload` asks
//!   of it ten times what it can do.
//!
//! What `bars` starts beside the server is this program itself, by its hidden commands.

mod bars;
mod fixture;
mod load;
mod overload;
mod report;
mod scale;
mod soak;
mod vitals;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measures HTTP servers under load, and Xebec against its own figures.
#[derive(Parser)]
#[command(name = "xebec-bench", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Call one URL and print how long the answers took
    Load(load::Arguments),
    /// Measure every path of an embedded server beside its baseline
    Bars(bars::Arguments),
    /// Deploy very many functions, call some of them, and start the server again
    Scale(scale::Arguments),
    /// Use a server in every way for long; fails where memory, descriptors, threads, processes or files grow
    Soak(soak::Arguments),
    /// Ask ten times what a server can do, and watch it refuse and recover
    Overload(overload::Arguments),
    /// A program to be measured
    #[command(flatten)]
    Fixture(fixture::Command),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Load(arguments) => load::command(arguments),
        Command::Bars(arguments) => bars::command(arguments),
        Command::Scale(arguments) => scale::command(arguments),
        Command::Soak(arguments) => soak::command(arguments),
        Command::Overload(arguments) => overload::command(arguments),
        Command::Fixture(command) => fixture::command(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
