//! Measures what sandboxes cost: making one, and starting a process in one, beside a plain loop of the same
//! inside. Usage: `measure <spawner-for-tests> [program]`; build both with `--release`.

use std::{path::PathBuf, time::Instant};
use tokio::io::AsyncReadExt;
use xebec_sandbox::{Bind, Exec, Network, SandboxSpec, Spawner, SpawnerOptions, Stream};

const TIMES: usize = 500;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let helper =
        PathBuf::from(arguments.next().ok_or("the path of spawner-for-tests is missing")?).canonicalize()?;
    let program = arguments.next().unwrap_or_else(|| "/bin/true".to_owned());
    let directory = tempfile::tempdir()?;
    let spawner = Spawner::launch(SpawnerOptions {
        executable: Some(helper.clone()),
        run_directory: directory.path().join("run"),
        share_host_network: false,
        spare_networks: 4,
    })
    .await?;
    let mut spec =
        SandboxSpec { id: "measure".to_owned(), network: Network::Outward, ..SandboxSpec::default() };
    spec.binds = vec![Bind { host: helper, inside: "/app/helper".into(), writable: false }];

    let (mut made, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        // As calls come: not all at once, so that a spare is there.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        let began = Instant::now();
        let sandbox = spawner.create(spec.clone()).await?;
        made.push(began.elapsed().as_micros());
        let began = Instant::now();
        sandbox.destroy().await;
        ended.push(began.elapsed().as_micros());
    }
    report("create, a spare being there", &mut made);
    report("destroy", &mut ended);
    made.clear();
    let mut kept = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        kept.push(spawner.create(spec.clone()).await?);
        made.push(began.elapsed().as_micros());
    }
    report("create, one after another", &mut made);
    drop(kept);

    let sandbox = spawner.create(spec).await?;
    let mut taken = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        let exec = Exec {
            argv: vec![program.clone()],
            stdin: Stream::Pipe,
            stdout: Stream::Pipe,
            ..Exec::default()
        };
        let mut process = sandbox.spawn(exec).await?;
        drop(process.stdin.take());
        let mut said = Vec::new();
        process.stdout.take().ok_or("no pipe")?.read_to_end(&mut said).await?;
        process.wait().await;
        taken.push(began.elapsed().as_micros());
    }
    report(&format!("spawn, read and wait for {program}"), &mut taken);

    let argv = ["/app/helper", "loop", "500", &program].map(str::to_owned).to_vec();
    let mut process = sandbox.spawn(Exec { argv, stdout: Stream::Pipe, ..Exec::default() }).await?;
    let mut said = String::new();
    process.stdout.take().ok_or("no pipe")?.read_to_string(&mut said).await?;
    println!("{:40} p50 {:>7} µs", "the plain loop inside", said.trim());
    spawner.shutdown().await;
    Ok(())
}

fn report(what: &str, taken: &mut [u128]) {
    taken.sort_unstable();
    let at = |share: usize| taken[(taken.len() - 1) * share / 100];
    println!("{what:40} p50 {:>7} µs  p90 {:>7} µs  p99 {:>7} µs", at(50), at(90), at(99));
}
