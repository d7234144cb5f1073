//! `soak`: a server used in every way at once, for long. What it takes of the machine must not grow.

mod load;
mod verdict;

use crate::{
    bars::server::{self, Server},
    vitals::{Vitals, mebibytes},
};
use clap::Args;
use std::{
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use verdict::Sample;

/// How long what was in use may take to be let go after the last call.
const REST: Duration = Duration::from_secs(10);

/// How long.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The server to use [default: `xebec` beside this program]
    #[arg(long)]
    xebec: Option<PathBuf>,
    /// How long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Seconds between two looks at it
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    every: u16,
}

pub(crate) fn command(arguments: Arguments) -> Result<(), String> {
    let window = Duration::try_from_secs_f64(arguments.minutes * 60.0)
        .ok()
        .filter(|window| (20.0..=86_400.0).contains(&window.as_secs_f64()))
        .ok_or("--minutes must be from 0.34 to 1440")?;
    crate::load::runtime(1)?.block_on(soak(&arguments, window))
}

async fn soak(arguments: &Arguments, window: Duration) -> Result<(), String> {
    let server = Server::start(&server::binary(arguments.xebec.clone())?, "")?;
    load::deploy(&server)?;
    let done = load::Done::default();
    let started = Instant::now();
    let until = started + window;
    let samples = watch(&server, started, until, Duration::from_secs(arguments.every.into()));
    let (samples, used) = tokio::join!(samples, load::all(&server, &done, until));
    let samples = samples?;
    used?;
    tokio::time::sleep(REST).await;
    let rest = look(&server)?;
    println!("\n| what was done | times |\n|---|---|");
    for (what, count) in done.counts() {
        println!("| {what} | {} |", count.load(Ordering::Relaxed));
    }
    let judged = verdict::judge(&samples, done.deployed());
    println!("\n| | in its second quarter | in its last quarter | may grow by | |\n|---|---|---|---|---|");
    for one in &judged {
        let verdict = if one.flat { "flat" } else { "**grows**" };
        println!("| {} | {} | {} | {} | {verdict} |", one.what, one.then, one.now, one.room);
    }
    println!(
        "\n{} s after the last call: {}, {} descriptors, {} threads, {} processes",
        REST.as_secs(),
        mebibytes(rest.resident),
        rest.descriptors,
        rest.threads,
        rest.processes
    );
    let growing: Vec<&str> = judged.iter().filter(|one| !one.flat).map(|one| one.what).collect();
    match done.unexpected() {
        Some(fault) => Err(format!("an answer that was not expected: {fault}")),
        None if growing.is_empty() => Ok(()),
        None => Err(format!("it grows: {}", growing.join(", "))),
    }
}

fn look(server: &Server) -> Result<Vitals, String> {
    Vitals::of(server.pid(), &server.data(), &server.temporary())
}

/// Looks at it from time to time, and tells.
async fn watch(
    server: &Server,
    started: Instant,
    until: Instant,
    every: Duration,
) -> Result<Vec<Sample>, String> {
    println!(
        "| s | memory | descriptors | threads | processes | temporary files | files |\n|---|---|---|---|---|---|---|"
    );
    let mut samples = Vec::new();
    while Instant::now() < until {
        tokio::time::sleep(every).await;
        let (at, vitals) = (started.elapsed(), look(server)?);
        println!(
            "| {:.0} | {} | {} | {} | {} | {} | {} |",
            at.as_secs_f64(),
            mebibytes(vitals.resident),
            vitals.descriptors,
            vitals.threads,
            vitals.processes,
            vitals.temporary,
            vitals.files
        );
        samples.push(Sample { at, vitals });
    }
    Ok(samples)
}
