//! `overload`: ten times what a server can do. It shall do what it can, refuse the rest at once and say when to come
//! again, keep to its memory, and be itself again within seconds.

use crate::{
    bars::{
        row::{self, Row},
        server::{self, Server},
    },
    load::{connection::Connection, target::Target},
    vitals::{Vitals, mebibytes},
};
use clap::Args;
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

const TIMEOUT: Duration = Duration::from_secs(30);
const RECOVERY_BAR: Duration = Duration::from_secs(5);
const REFUSAL_BAR: Duration = Duration::from_millis(50);
const MEMORY_BAR: u64 = 64 << 20;
/// What is within this is as fast as ever, whatever else the machine does.
const SWIFT: Duration = Duration::from_millis(500);
/// A function that takes a while: twenty calls per second in each of its two slots.
const MANIFEST: &str = "name = \"slow\"\nenvironment = \"exec\"\ncommand = [\"sleep\", \"0.05\"]\n\
                        limits = { concurrency = 1 }\nscale = { max = 2, queue = 8 }\n";

/// How much and how long.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The server to measure [default: `xebec` beside this program]
    #[arg(long)]
    xebec: Option<PathBuf>,
    /// Seconds of overload
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// How many times what it can do
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=1000))]
    times: u16,
    /// Connections that ask; more than the calls that may be in flight and wait
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(16..=4096))]
    connections: u16,
}

/// What came back.
struct Seen {
    answered: u64,
    refused: u64,
    /// Neither, with an example.
    bad: u64,
    example: Option<String>,
    /// Refusals without a word about when to come again.
    curt: u64,
    waits: Histogram<u64>,
    refusals: Histogram<u64>,
}

impl Seen {
    fn new() -> Result<Self, String> {
        let histogram = || Histogram::new(3).map_err(|error| error.to_string());
        Ok(Self {
            answered: 0,
            refused: 0,
            bad: 0,
            example: None,
            curt: 0,
            waits: histogram()?,
            refusals: histogram()?,
        })
    }

    fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.bad += other.bad;
        self.curt += other.curt;
        self.example = self.example.take().or_else(|| other.example.clone());
        // Both have the same bounds.
        let _ = self.waits.add(&other.waits);
        let _ = self.refusals.add(&other.refusals);
    }
}

pub(crate) fn command(arguments: Arguments) -> Result<(), String> {
    let rows = crate::load::runtime(1)?.block_on(measure(&arguments))?;
    row::print_markdown(&rows);
    match rows.iter().find(|row| row.reached == Some(false)) {
        None => Ok(()),
        Some(row) => Err(format!("{}: {}; the bar is {}", row.path, row.measured, row.bar)),
    }
}

async fn measure(arguments: &Arguments) -> Result<Vec<Row>, String> {
    let server = Server::start(&server::binary(arguments.xebec.clone())?, "")?;
    server.deploy(MANIFEST, &[("readme", b"slow".to_vec(), false)])?;
    let target = Target::new(&server.url("slow"), "GET", &[], None)?.resolve(false).await?;
    ask(&target, 2, None, Duration::from_secs(1)).await?;
    let usual = ask(&target, 2, None, Duration::from_secs(3)).await?;
    if usual.answered == 0 || usual.bad + usual.refused > 0 {
        return Err(format!("without any overload: {:?}", usual.example));
    }
    let capacity = usual.answered as f64 / 3.0;
    let before = vitals(&server)?.resident;
    let asked = capacity * f64::from(arguments.times);
    eprintln!("it can do {capacity:.0}/s; asking {asked:.0}/s …");
    let window = Duration::from_secs(arguments.seconds.into());
    let (seen, most) =
        tokio::join!(ask(&target, arguments.connections.into(), Some(asked), window), watch(&server, window));
    let (seen, most) = (seen?, most?);
    let recovered = recovered(&target, &usual).await?;
    let rate = seen.answered as f64 / window.as_secs_f64();
    let grown = most.saturating_sub(before);
    Ok(vec![
        Row::new(format!("{} times what it can do: answered", arguments.times))
            .measured(format!("{rate:.0}/s of {asked:.0}/s asked"))
            .baseline(format!("without overload: {capacity:.0}/s"))
            .bar("≥ 70 % of what it can do", rate >= 0.7 * capacity),
        Row::new("refused, with 429 or 503 and Retry-After")
            .measured(format!(
                "{} (p50 {}, p99 {})",
                seen.refused,
                row::micros(at(&seen.refusals, 0.5)),
                row::micros(at(&seen.refusals, 0.99))
            ))
            .bar("at once: p50 ≤ 50 ms", seen.refused > 0 && at(&seen.refusals, 0.5) <= REFUSAL_BAR),
        Row::new("neither, or refused without saying when to come again")
            .measured(format!(
                "{}{}",
                seen.bad + seen.curt,
                seen.example.map(|one| format!(": {one}")).unwrap_or_default()
            ))
            .bar("none", seen.bad + seen.curt == 0),
        Row::new("waiting of those that were answered: p99").measured(row::micros(at(&seen.waits, 0.99))),
        Row::new("memory of the server at most")
            .measured(mebibytes(most))
            .baseline(format!("before: {}", mebibytes(before)))
            .bar("≤ 64 MiB more", grown <= MEMORY_BAR),
        Row::new("itself again: ten calls in a row answered in the usual time")
            .measured(format!("{:.2} s after", recovered.as_secs_f64()))
            .bar("≤ 5 s", recovered <= RECOVERY_BAR),
    ])
}

fn vitals(server: &Server) -> Result<Vitals, String> {
    Vitals::of(server.pid(), &server.data(), &server.temporary())
}

fn at(histogram: &Histogram<u64>, quantile: f64) -> Duration {
    Duration::from_micros(histogram.value_at_quantile(quantile))
}

/// The most memory that it has meanwhile.
async fn watch(server: &Server, window: Duration) -> Result<u64, String> {
    let until = Instant::now() + window;
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(vitals(server)?.resident);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(most)
}

/// Calls for so long: each connection as soon as it can, or all together at a rate.
async fn ask(target: &Target, connections: u32, rate: Option<f64>, window: Duration) -> Result<Seen, String> {
    let started = Instant::now();
    let asking = (0..connections).map(|number| async move {
        let mut seen = Seen::new()?;
        let mut connection = Connection::new(target, TIMEOUT);
        let between = rate.map(|rate| Duration::from_secs_f64(f64::from(connections) / rate));
        let mut due = started + between.map_or(Duration::ZERO, |between| between * number / connections);
        while started.elapsed() < window {
            tokio::time::sleep_until(due.into()).await;
            one(&mut connection, &mut seen).await;
            due = between.map_or_else(Instant::now, |between| (due + between).max(Instant::now() - between));
        }
        Ok::<_, String>(seen)
    });
    let mut all = Seen::new()?;
    for seen in join_all(asking).await {
        all.add(&seen?);
    }
    Ok(all)
}

async fn one(connection: &mut Connection<'_>, seen: &mut Seen) {
    let began = Instant::now();
    let answer = connection.call().await;
    let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    match answer {
        Ok(answer) if answer.status == 200 => {
            seen.answered += 1;
            // The histogram grows with what it is given.
            let _ = seen.waits.record(took);
        }
        Ok(answer) if matches!(answer.status, 429 | 503) => {
            seen.refused += 1;
            seen.curt += u64::from(!answer.later);
            let _ = seen.refusals.record(took);
        }
        Ok(answer) => {
            seen.bad += 1;
            seen.example = Some(format!("it answered {}", answer.status));
        }
        Err(error) => {
            seen.bad += 1;
            seen.example = Some(error);
        }
    }
}

/// How long until ten calls in a row are answered, each within twice the usual time.
async fn recovered(target: &Target, usual: &Seen) -> Result<Duration, String> {
    let usually = (at(&usual.waits, 0.99) * 2).max(SWIFT);
    let (started, mut in_a_row, mut first) = (Instant::now(), 0, Instant::now());
    let mut connection = Connection::new(target, TIMEOUT);
    while in_a_row < 10 {
        if started.elapsed() > TIMEOUT {
            return Err(format!("it was not itself again within {} s", TIMEOUT.as_secs()));
        }
        let began = Instant::now();
        if in_a_row == 0 {
            first = began;
        }
        let good = connection.call().await.is_ok_and(|answer| answer.status == 200);
        in_a_row = if good && began.elapsed() <= usually { in_a_row + 1 } else { 0 };
    }
    Ok(first - started)
}
