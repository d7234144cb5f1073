//! Calls that outlive their caller: how fast they are accepted, begun and worked off.

use super::{
    Context,
    api::Api,
    row::{Row, micros},
    server::Server,
    turns,
};
use crate::load::{self, Plan, connection::Connection, target::Target};
use bytes::Bytes;
use http::Method;
use std::{
    io::{Seek as _, Write as _},
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Senders at a time.
const SENDERS: usize = 64;
/// Calls accepted a second, at least.
const RATE_BAR: f64 = 20_000.0;
/// From sending a call to its begin.
const START_BAR: Duration = Duration::from_millis(5);
/// About what one message takes on disk.
const MESSAGE_BYTES: usize = 512;
/// How long working off may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn measure(context: &Context) -> Result<Vec<Row>, String> {
    let server = Server::start(&context.xebec, "")?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let syncs = fsyncs(folder.path(), context.measure / 4)?;
    let measured = Measured::of(&server, context).await?;
    Ok(vec![
        Row::new(format!("queue: calls accepted, fsynced, {SENDERS} clients"))
            .measured(format!("{:.0}/s (p50 {})", measured.accepted, micros(measured.accepting)))
            .baseline(format!("bare write and fsync, one after the other: {syncs:.0}/s"))
            .bar(format!("≥ {RATE_BAR:.0}/s"), measured.accepted >= RATE_BAR),
        measured.start_row("queue"),
        measured.drain_row("queue"),
    ])
}

/// What one queue does.
pub(super) struct Measured {
    pub(super) accepted: f64,
    pub(super) accepting: Duration,
    started: Duration,
    started_late: Duration,
    drained: u64,
    drain_rate: f64,
    sync_rate: f64,
}

impl Measured {
    pub(super) async fn of(server: &Server, context: &Context) -> Result<Self, String> {
        let program = std::fs::read(&context.own).map_err(|error| error.to_string())?;
        let manifest = "name = \"later\"\nenvironment = \"http\"\ncommand = [\"./serve\", \"serve\"]\n\
                        limits = { concurrency = 64 }\nscale = { max = 1 }\nasync = { concurrency = 64 }\n";
        server.deploy(manifest, &[("serve", program, true)])?;
        let url = format!("http://{}/xebec/v1/functions/later/invoke", server.address);
        let headers = ["x-xebec-async: true".to_owned()];
        let call = Target::new(&url, "POST", &headers, Some("hello"))?.resolve(false).await?;
        let mut api = server.api().await?;
        // The function is warm before anything is measured.
        api.call(Method::GET, "/function/later", Bytes::new()).await?;

        let (started, started_late) = starts(&mut api, &url).await?;

        api.call(Method::POST, "/xebec/v1/queues/default/pause", Bytes::new()).await?;
        let plan = Plan {
            connections: SENDERS,
            rate: None,
            measure: context.measure,
            warm_up: Duration::ZERO,
            timeout: PATIENCE,
        };
        let (tally, report) = load::run(&call, plan).await;
        if tally.bad() > 0 {
            return Err(format!("accepting failed: {:?} {:?}", tally.statuses, tally.errors));
        }
        let drained = tally.latencies.len();
        let began = Instant::now();
        api.call(Method::POST, "/xebec/v1/queues/default/resume", Bytes::new()).await?;
        until_empty(&mut api).await?;
        let drain_rate = drained as f64 / began.elapsed().as_secs_f64();
        let direct = turns::post(&server.url("later"), "hello").await?;
        let sync = turns::closed(&[&direct], SENDERS, context.measure / 4).await?;
        Ok(Self {
            accepted: report.rate,
            accepting: tally.latencies.at(50.0),
            started,
            started_late,
            drained,
            drain_rate,
            sync_rate: sync[0].rate,
        })
    }

    pub(super) fn start_row(&self, path: &str) -> Row {
        Row::new(format!("{path}: from sending a call to its begin"))
            .measured(format!("p50 {}, p99 {}", micros(self.started), micros(self.started_late)))
            .bar("p50 ≤ 5 ms", self.started <= START_BAR)
    }

    pub(super) fn drain_row(&self, path: &str) -> Row {
        Row::new(format!("{path}: {} calls that wait are worked off", self.drained))
            .measured(format!("{:.0}/s", self.drain_rate))
            .baseline(format!("the same function, called by {SENDERS} who wait: {:.0}/s", self.sync_rate))
    }
}

/// From sending to begin, as the function's own clock sees it: the median, and what 1 in 100 passes.
async fn starts(api: &mut Api, url: &str) -> Result<(Duration, Duration), String> {
    const CALLS: usize = 500;
    for _ in 0..CALLS {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
        let headers = ["x-xebec-async: true".to_owned(), format!("x-sent: {}", now.as_nanos())];
        let call = Target::new(&format!("{url}/began"), "POST", &headers, Some("hello"))?;
        let call = call.resolve(false).await?;
        // A connection of its own costs a little more than a kept one; what is measured includes it.
        Connection::new(&call, PATIENCE).call().await?;
    }
    until_empty(api).await?;
    let text = api.call(Method::GET, "/function/later/delays", Bytes::new()).await?;
    let mut micros: Vec<f64> =
        String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse().ok()).collect();
    if micros.len() < CALLS {
        return Err(format!("{} of {CALLS} calls were made", micros.len()));
    }
    micros.sort_unstable_by(f64::total_cmp);
    let at = |share: usize| Duration::from_secs_f64(micros[micros.len() * share / 100] / 1e6);
    Ok((at(50), at(99)))
}

/// Waits until nothing waits or runs.
async fn until_empty(api: &mut Api) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let lanes = api.get("/xebec/v1/queues").await?;
        let lanes = lanes.as_array().cloned().unwrap_or_default();
        let count = |name: &str| lanes.iter().filter_map(|lane| lane[name].as_u64()).sum::<u64>();
        if count("waiting") + count("running") == 0 {
            return match count("dead") {
                0 => Ok(()),
                dead => Err(format!("{dead} calls failed")),
            };
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err("the queue did not become empty".into())
}

/// What the disk gives to one who writes and syncs, again and again.
fn fsyncs(folder: &Path, measure: Duration) -> Result<f64, String> {
    let run = || -> std::io::Result<f64> {
        let mut file = std::fs::File::create(folder.join("bare"))?;
        let bytes = [7; MESSAGE_BYTES];
        let began = Instant::now();
        let mut count = 0u32;
        while began.elapsed() < measure {
            file.write_all(&bytes)?;
            file.sync_data()?;
            count += 1;
            if count.is_multiple_of(100_000) {
                file.rewind()?;
            }
        }
        Ok(f64::from(count) / began.elapsed().as_secs_f64())
    };
    run().map_err(|error| format!("the bare loop failed: {error}"))
}
