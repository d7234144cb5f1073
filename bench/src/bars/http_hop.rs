//! The warm hop: a web server as a function, beside the same program called directly.

use super::{
    Context,
    process::{Direct, Go, Watchdog},
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
    match Go::build() {
        Ok(go) => {
            rows.extend(beside_go(context, &go, &direct, targets[1]).await?);
            if let Some(watchdog) = &context.of_watchdog {
                rows.extend(beside_watchdog(context, watchdog, Some(&go), targets[1]).await?);
            }
        }
        Err(why) => {
            rows.push(Row::skipped("the same beside Go's standard library", &why));
            if let Some(watchdog) = &context.of_watchdog {
                rows.extend(beside_watchdog(context, watchdog, None, targets[1]).await?);
            }
        }
    }
    Ok(rows)
}

/// Beside Go's web server, which does nothing else, and beside its reverse proxy in front of the same function,
/// unsandboxed: the least that a gateway written in Go does.
async fn beside_go(context: &Context, go: &Go, direct: &Direct, hop: &Target) -> Result<Vec<Row>, String> {
    let (server, proxy) = (go.server()?, go.proxy(&direct.url())?);
    let [server, proxy] = [turns::get(&server.url()).await?, turns::get(&proxy.url()).await?];
    let one = turns::closed(&[hop, &server, &proxy], 1, context.measure).await?;
    let many = turns::closed(&[hop, &server, &proxy], 16, context.measure).await?;
    let p50 = |index: usize| micros(one[index].tally.latencies.at(50.0));
    Ok(vec![
        Row::new("the same beside Go's standard library, 1 connection: p50")
            .measured(p50(0))
            .baseline(format!("its web server, called directly: {}; its reverse proxy: {}", p50(1), p50(2))),
        Row::new("the same, 16 connections: rate").measured(format!("{:.0}/s", many[0].rate)).baseline(
            format!(
                "its web server: {:.0}/s; its reverse proxy: {:.0}/s; we do {:.1} × the proxy",
                many[1].rate,
                many[2].rate,
                many[0].rate / many[2].rate
            ),
        ),
    ])
}

/// Beside of-watchdog alone, and with Go's reverse proxy in front of it, where OpenFaaS has its gateway.
async fn beside_watchdog(
    context: &Context,
    watchdog: &Path,
    go: Option<&Go>,
    hop: &Target,
) -> Result<Vec<Row>, String> {
    let watchdog = Watchdog::start(watchdog, &context.own).await?;
    let peer = turns::get(&watchdog.url()).await?;
    let many = turns::closed(&[hop, &peer], 16, context.measure).await?;
    let row = |name: &str, peer: &str, many: &[turns::Turn]| {
        let times = many[0].rate / many[1].rate;
        Row::new(format!("the same, 16 connections: rate beside {name}"))
            .measured(format!("{:.0}/s", many[0].rate))
            .baseline(format!("{peer}: {:.0}/s; we do {times:.1} ×", many[1].rate))
    };
    let mut rows = vec![row("of-watchdog alone (no gateway in front)", "of-watchdog", &many)];
    if let Some(go) = go {
        let proxy = go.proxy(&watchdog.url())?;
        let peer = turns::get(&proxy.url()).await?;
        let many = turns::closed(&[hop, &peer], 16, context.measure).await?;
        rows.push(row("of-watchdog behind Go's reverse proxy", "both", &many));
    }
    Ok(rows)
}
