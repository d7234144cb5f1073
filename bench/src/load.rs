//! `load`: calls one URL.

use crate::report::{Report, Tally};
use clap::{Args, ValueEnum};
use std::time::{Duration, Instant};
use target::Target;

mod closed;
pub(crate) mod connection;
mod open;
pub(crate) mod target;

/// What to call and how.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What to call, e.g. http://127.0.0.1:8080/function/hello
    url: String,
    /// Method
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// Header, `name: value`; again for more
    #[arg(short = 'H', long = "header")]
    headers: Vec<String>,
    /// Body, or @FILE
    #[arg(short, long)]
    data: Option<String>,
    /// Connections
    #[arg(short, long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Calls per second to start, on schedule (open loop); without it each connection calls again when it
    /// has its answer (closed loop)
    #[arg(short, long)]
    rate: Option<f64>,
    /// Seconds to measure
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds to call before measuring
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds after which a call has failed
    #[arg(long, default_value_t = 30.0)]
    timeout: f64,
    /// Threads to call from
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    /// Allow a target that is not on this machine
    #[arg(long)]
    remote: bool,
    /// How to print the result
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// How to call.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    pub(crate) rate: Option<f64>,
    pub(crate) measure: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) timeout: Duration,
}

pub(crate) fn command(arguments: Arguments) -> Result<(), String> {
    let target =
        Target::new(&arguments.url, &arguments.method, &arguments.headers, arguments.data.as_deref())?;
    let plan = Plan {
        connections: arguments.connections.into(),
        rate: arguments.rate.map(|rate| positive("--rate", rate)).transpose()?,
        measure: seconds("--seconds", arguments.seconds)?,
        warm_up: seconds("--warm-up", arguments.warm_up)?,
        timeout: seconds("--timeout", arguments.timeout)?,
    };
    let report = runtime(arguments.threads)?.block_on(async {
        let target = target.resolve(arguments.remote).await?;
        Ok::<_, String>(run(&target, plan).await.1)
    })?;
    match arguments.output {
        Output::Table => report.print(),
        Output::Json => {
            println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?);
        }
    }
    if report.calls == 0 { Err("no call was answered".into()) } else { Ok(()) }
}

/// A runtime with that many threads; one is this thread.
pub(crate) fn runtime(threads: u8) -> Result<tokio::runtime::Runtime, String> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads.into());
    }
    builder.enable_all().build().map_err(|error| error.to_string())
}

/// Warms up, then measures.
pub(crate) async fn run(target: &Target, plan: Plan) -> (Tally, Report) {
    if !plan.warm_up.is_zero() {
        closed::run(target, plan.connections, plan.warm_up, plan.timeout).await;
    }
    let started = Instant::now();
    let (tally, not_sent): (Tally, u64) = match plan.rate {
        Some(rate) => open::run(target, plan, rate).await,
        None => (closed::run(target, plan.connections, plan.measure, plan.timeout).await, 0),
    };
    let taken = started.elapsed();
    let report = Report::new(target.url.clone(), plan.connections, plan.rate, taken, &tally, not_sent);
    (tally, report)
}

fn seconds(name: &str, value: f64) -> Result<Duration, String> {
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if duration <= Duration::from_secs(3600) => Ok(duration),
        _ => Err(format!("{name} must be from 0 to 3600 seconds, not {value}")),
    }
}

fn positive(name: &str, value: f64) -> Result<f64, String> {
    if value > 0.0 && value <= 1e6 {
        Ok(value)
    } else {
        Err(format!("{name} must be above 0 and at most 1000000 a second, not {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
    };

    /// Answers at once, but for its 50th call, which takes `stall`.
    async fn server(stall: Duration) -> (Target, Arc<AtomicU64>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let calls = counted.clone();
                let service = service_fn(move |_| {
                    let call = calls.fetch_add(1, Ordering::SeqCst);
                    async move {
                        if call == 50 {
                            tokio::time::sleep(stall).await;
                        }
                        Ok::<_, Infallible>(Response::new(String::from("hi")))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (Target::new(&url, "GET", &[], None).unwrap().resolve(false).await.unwrap(), calls)
    }

    fn plan(rate: Option<f64>) -> Plan {
        Plan {
            connections: 1,
            rate,
            measure: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            timeout: Duration::from_secs(5),
        }
    }

    #[tokio::test]
    async fn an_open_loop_charges_a_stall_to_every_call_that_it_held_up() {
        let (target, calls) = server(Duration::from_millis(400)).await;
        let (tally, report) = run(&target, plan(Some(200.0))).await;
        assert_eq!((report.calls, calls.load(Ordering::SeqCst), report.not_sent), (200, 200, 0));
        assert_eq!((tally.bad(), tally.bytes), (0, 400));
        // 80 calls were due during the stall.
        assert!(tally.latencies.at(80.0) > Duration::from_millis(50), "{:?}", report.latency_us);
        assert!(tally.service.at(80.0) < tally.latencies.at(80.0), "{:?}", report.service_us);
    }

    #[tokio::test]
    async fn a_closed_loop_counts_what_was_answered() {
        let (target, calls) = server(Duration::ZERO).await;
        let (tally, report) = run(&target, plan(None)).await;
        assert_eq!(report.calls, calls.load(Ordering::SeqCst));
        assert!(report.calls > 100);
        assert_eq!(tally.statuses.get(&200), Some(&report.calls));
    }

    #[tokio::test]
    async fn nobody_there_is_counted_as_errors() {
        let target =
            Target::new("http://127.0.0.1:1/", "GET", &[], None).unwrap().resolve(false).await.unwrap();
        let (tally, report) = run(&target, Plan { measure: Duration::from_millis(50), ..plan(None) }).await;
        assert_eq!(report.calls, 0);
        assert!(tally.errors.keys().all(|error| error.starts_with("cannot connect")) && tally.bad() > 0);
    }
}
