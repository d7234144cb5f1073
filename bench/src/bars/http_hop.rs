//! The warm hop: a web server as a function, beside the same program called directly.

use super::{
    Context,
    process::Direct,
    row::{Row, micros},
    server::Server,
    turns,
};
use std::time::Duration;

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
    let rate = Row::new("the same, 16 connections: rate")
        .measured(format!("{:.0}/s (p50 {})", many[1].rate, micros(many[1].tally.latencies.at(50.0))))
        .baseline(format!("called directly: {:.0}/s", many[0].rate));
    Ok(vec![latency, rate])
}
