//! The warm hop: a web server as a function, beside the same program called directly.

use super::{
    Context,
    process::{Direct, Watchdog},
    row::{Row, micros},
    server::Server,
    turns,
};
use crate::load::target::Target;
use std::{path::Path, time::Duration};

const BAR: Duration = Duration::from_micros(50);

pub(super) async fn measure(context: &Context) -> Result<Vec<Row>, String> {
    let server = Server::start(&context.xebec, "")?;
    let program = std::fs::read(&context.own).map_err(|error| error.to_string())?;
    let manifest = "name = \"hop\"\nenvironment = \"http\"\ncommand = [\"./serve\", \"serve\"]\n";
    server.deploy(manifest, &[("serve", program, true)])?;
    let direct = Direct::start(&context.own)?;
    let targets = [turns::get(&direct.url()).await?, server.target("hop").await?];
    let targets = [&targets[0], &targets[1]];

    let one = turns::closed(&targets, 1, context.measure).await?;
    let [base, hop] = [&one[0], &one[1]].map(|turn| turn.tally.latencies.at(50.0));
    let added = hop.saturating_sub(base);
    let latency = Row::new("warm hop, HTTP function, 1 connection: p50 added")
        .measured(format!(
            "{} (p50 {}, p99 {})",
            micros(added),
            micros(hop),
            micros(one[1].tally.latencies.at(99.0))
        ))
        .baseline(format!(
            "called directly: p50 {}, p99 {}",
            micros(base),
            micros(one[0].tally.latencies.at(99.0))
        ))
        .bar("≤ 50 µs", added <= BAR);

    let many = turns::closed(&targets, 16, context.measure).await?;
    let [base, hop] = [&many[0], &many[1]];
    let rate = Row::new("the same, 16 connections: rate")
        .measured(format!("{:.0}/s (p50 {})", hop.rate, micros(hop.tally.latencies.at(50.0))))
        .baseline(format!("called directly: {:.0}/s", base.rate));
    let mut rows = vec![latency, rate];
    if let Some(watchdog) = &context.of_watchdog {
        rows.push(beside_watchdog(context, watchdog, targets[1]).await?);
    }
    Ok(rows)
}

async fn beside_watchdog(context: &Context, watchdog: &Path, hop: &Target) -> Result<Row, String> {
    let watchdog = Watchdog::start(watchdog, &context.own).await?;
    let peer = turns::get(&watchdog.url()).await?;
    let many = turns::closed(&[hop, &peer], 16, context.measure).await?;
    Ok(Row::new("the same, 16 connections: rate beside of-watchdog alone (no gateway in front)")
        .measured(format!("{:.0}/s", many[0].rate))
        .baseline(format!("of-watchdog: {:.0}/s; we do {:.1} ×", many[1].rate, many[0].rate / many[1].rate)))
}
