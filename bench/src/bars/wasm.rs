//! WebAssembly components: warm, and from no instance at all.

use super::{
    Context,
    process::{await_port, free_port},
    row::{Row, median, micros},
    server::Server,
    turns,
};
use crate::load::connection::Connection;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// From the repository's root.
const EXAMPLE: &str = "examples/wasm-hello/hello.wat";

const WARM_BAR: Duration = Duration::from_micros(150);
const COLD_BAR: Duration = Duration::from_millis(1);

pub(super) async fn measure(context: &Context) -> Result<Vec<Row>, String> {
    let component = context.component.clone().unwrap_or_else(|| EXAMPLE.into());
    let code = std::fs::read(&component).map_err(|error| format!("{}: {error}", component.display()))?;
    let server = Server::start(&context.xebec, "")?;
    let text = component.extension().is_some_and(|extension| extension == "wat");
    let file = if text { "guest.wat" } else { "guest.wasm" };
    let manifest = format!("name = \"guest\"\nenvironment = \"wasm\"\nartifact = \"{file}\"\n");
    server.deploy(&manifest, &[(file, code, false)])?;
    let function = server.target("guest").await?;
    let peer = Peer::start(&component).await;

    let one = turns::closed(&[&function], 1, context.measure).await?;
    let warm = one[0].tally.latencies.at(50.0);
    let mut rows = vec![
        Row::new("warm wasm call, whole round trip, 1 connection: p50")
            .measured(format!("{} (p99 {})", micros(warm), micros(one[0].tally.latencies.at(99.0))))
            .bar("≤ 150 µs", warm <= WARM_BAR),
    ];
    rows.push(rate(context, &function, peer.as_ref()).await?);
    rows.push(cold(context, &server, &function, warm).await?);
    Ok(rows)
}

async fn rate(
    context: &Context,
    function: &crate::load::target::Target,
    peer: Result<&Peer, &String>,
) -> Result<Row, String> {
    let row = Row::new("the same, 16 connections: rate");
    match peer {
        Ok(peer) => {
            let target = turns::get(&peer.url).await?;
            let turns = turns::closed(&[function, &target], 16, context.measure).await?;
            Ok(row
                .measured(format!("{:.0}/s", turns[0].rate))
                .baseline(format!("wasmtime serve: {:.0}/s", turns[1].rate))
                .bar("≥ 2 × wasmtime serve", turns[0].rate >= 2.0 * turns[1].rate))
        }
        Err(why) => {
            let turns = turns::closed(&[function], 16, context.measure).await?;
            Ok(row.measured(format!("{:.0}/s", turns[0].rate)).baseline(format!("skipped: {why}")))
        }
    }
}

async fn cold(
    context: &Context,
    server: &Server,
    function: &crate::load::target::Target,
    warm: Duration,
) -> Result<Row, String> {
    let mut api = server.api().await?;
    let mut taken = Vec::new();
    for _ in 0..context.first_calls {
        server.scale_to_zero(&mut api, "guest").await?;
        let mut connection = Connection::new(function, Duration::from_secs(30));
        connection.connect_now().await?;
        let started = Instant::now();
        let answer = connection.call().await?;
        if answer.status != 200 {
            return Err(format!("a cold call answered {}", answer.status));
        }
        taken.push(started.elapsed());
    }
    let cold = median(taken).unwrap_or_default();
    let over = cold.saturating_sub(warm);
    Ok(Row::new("cold start, wasm (compiled, no instance): p50 over the warm round trip")
        .measured(format!("{} (whole {})", micros(over), micros(cold)))
        .baseline(format!("warm: {}", micros(warm)))
        .bar("≤ 1 ms", over <= COLD_BAR))
}

/// `wasmtime serve`, where it is installed.
struct Peer {
    child: Child,
    url: String,
}

impl Peer {
    async fn start(component: &Path) -> Result<Self, String> {
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let child = Command::new("wasmtime")
            .args(["serve", "-Scli", "--addr", &address])
            .arg(component)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| "wasmtime is not installed")?;
        let peer = Self { child, url: format!("http://{address}/") };
        await_port(port).await?;
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
