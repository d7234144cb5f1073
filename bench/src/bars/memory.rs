//! Resident memory: idle, and with very many functions deployed.

use super::{Context, api::Api, row::Row, server::Server};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Method;
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

const IDLE_BAR: u64 = 40 << 20;
const MANY_BAR: u64 = 500 << 20;
/// Connections that deploy: enough for the store to write several functions at a time.
const DEPLOYERS: usize = 32;
/// How long the server may come to rest before it is looked at.
const REST: Duration = Duration::from_secs(2);

pub(super) async fn measure(context: &Context) -> Result<Vec<Row>, String> {
    let server = Server::start(&context.xebec, "")?;
    tokio::time::sleep(REST).await;
    let (idle, idle_peak) = (resident(server.pid())?, peak(server.pid())?);
    let started = Instant::now();
    deploy_many(&server, context.functions).await?;
    let taken = started.elapsed();
    tokio::time::sleep(REST).await;
    let (many, many_peak) = (resident(server.pid())?, peak(server.pid())?);
    let listed = server.api().await?.get("/xebec/v1/info").await?["functions"].as_u64().unwrap_or(0);
    if listed < context.functions as u64 {
        return Err(format!("only {listed} of {} functions are there", context.functions));
    }
    let rate = context.functions as f64 / taken.as_secs_f64();
    Ok(vec![
        Row::new("idle server: resident, with all its processes")
            .measured(format!("{} (the server itself at most {})", mebibytes(idle), mebibytes(idle_peak)))
            .bar("≤ 40 MiB", idle <= IDLE_BAR),
        Row::new(format!("{} functions deployed: resident", context.functions))
            .measured(format!(
                "{} (the server itself at most {}; {rate:.0} deploys/s, each on disk)",
                mebibytes(many),
                mebibytes(many_peak)
            ))
            .baseline(format!("idle: {}", mebibytes(idle)))
            .bar("≤ 500 MiB", many <= MANY_BAR),
    ])
}

/// Deploys so many functions of one small program.
async fn deploy_many(server: &Server, functions: usize) -> Result<(), String> {
    server.deploy(
        "name = \"many\"\nenvironment = \"exec\"\ncommand = [\"cat\"]\n",
        &[("readme", b"a function of many".to_vec(), false)],
    )?;
    let first = server.api().await?.get("/xebec/v1/functions/many").await?;
    let manifest = &first["manifest"];
    if manifest["code"].is_null() {
        return Err(format!("the function reads back without its code: {first}"));
    }
    let next = AtomicUsize::new(1);
    let deployers = (0..DEPLOYERS).map(|_| async {
        let mut api = server.api().await?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= functions {
                return Ok::<_, String>(());
            }
            deploy_one(&mut api, manifest, number).await?;
        }
    });
    try_join_all(deployers).await.map(|_| ())
}

async fn deploy_one(api: &mut Api, manifest: &Value, number: usize) -> Result<Bytes, String> {
    let name = format!("many-{number}");
    let mut manifest = manifest.clone();
    manifest["name"] = json!(name);
    manifest["env"] = json!({"NUMBER": number.to_string()});
    api.send(Method::PUT, &format!("/xebec/v1/functions/{name}"), &manifest).await
}

/// Bytes in memory of a process and everything below it, pages that they share counted once.
fn resident(pid: u32) -> Result<u64, String> {
    let bytes = kibibytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")? * 1024;
    // Each thread lists the processes that it has started.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
    let below: u64 = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| {
            children.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>()
        })
        .filter_map(|child| resident(child).ok())
        .sum();
    Ok(bytes + below)
}

/// The most that a process itself ever had in memory: what was paged out since still counts.
fn peak(pid: u32) -> Result<u64, String> {
    Ok(kibibytes(&format!("/proc/{pid}/status"), "VmHWM:")? * 1024)
}

/// The number in a file's line of that name.
fn kibibytes(file: &str, name: &str) -> Result<u64, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok())
        .ok_or_else(|| format!("{file} has no {name}"))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_can_be_told() {
        assert!(resident(std::process::id()).unwrap() > 1 << 20);
    }
}
