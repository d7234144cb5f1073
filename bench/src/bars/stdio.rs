//! A process per call: a small static program as a function, beside the same program started in a plain loop
//! in the same kind of sandbox.

use super::{
    Context,
    row::{Row, median, micros},
    server::Server,
    turns,
};
use crate::load::connection::Connection;
use std::{process::Command, time::Duration};

/// Copies its input to its output: as small as a program gets that does something.
const PROGRAM: &str = "\
#include <unistd.h>
int main(void) {
    char buffer[4096];
    ssize_t n;
    while ((n = read(0, buffer, sizeof buffer)) > 0)
        if (write(1, buffer, n) != n) return 1;
    return 0;
}
";

const BAR: f64 = 1.2;
const ROUNDS: usize = 5;

pub(super) async fn measure(context: &Context) -> Result<Vec<Row>, String> {
    let program = compile()?;
    let server = Server::start(&context.xebec, "")?;
    server.deploy(
        "name = \"copy\"\nenvironment = \"exec\"\ncommand = [\"./copy\"]\n",
        &[("copy", program.clone(), true)],
    )?;
    let own = std::fs::read(&context.own).map_err(|error| error.to_string())?;
    server.deploy(
        "name = \"forks\"\nenvironment = \"http\"\ncommand = [\"./serve\", \"serve\"]\n",
        &[("serve", own, true), ("copy", program, true)],
    )?;
    let function = turns::post(&server.url("copy"), "hello\n").await?;
    let mut api = server.api().await?;
    let (mut calls, mut whole, mut forks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let turn = turns::closed(&[&function], 1, context.measure / (ROUNDS as u32)).await?;
        whole.push(turn[0].tally.latencies.at(50.0));
        calls.push(inside(&function).await?);
        let measured = api
            .call(http::Method::GET, "/function/forks/forks?program=./copy&times=300", bytes::Bytes::new())
            .await?;
        let micros: f64 = String::from_utf8_lossy(&measured)
            .parse()
            .map_err(|_| format!("the fork loop said {measured:?}"))?;
        forks.push(Duration::from_secs_f64(micros / 1e6));
    }
    let [whole, inside, forks] = [whole, calls, forks].map(|durations| median(durations).unwrap_or_default());
    let ratio = inside.as_secs_f64() / forks.as_secs_f64();
    Ok(vec![
        Row::new("stdio call of a small static binary: p50 in the contract")
            .measured(format!("{} (whole round trip {})", micros(inside), micros(whole)))
            .baseline(format!("fork loop in the same sandbox: {}", micros(forks)))
            .bar(format!("≤ {BAR} × the loop; it is {ratio:.2} ×"), ratio <= BAR),
    ])
}

/// The median of what the answers say of themselves: from sending to the answer, without the way there.
async fn inside(function: &crate::load::target::Target) -> Result<Duration, String> {
    let mut connection = Connection::new(function, Duration::from_secs(30));
    let mut taken = Vec::new();
    for _ in 0..300 {
        let seconds = connection.call().await?.seconds.ok_or("the answer does not say how long it took")?;
        taken.push(Duration::from_secs_f64(seconds));
    }
    median(taken).ok_or_else(|| "no calls".into())
}

fn compile() -> Result<Vec<u8>, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (source, program) = (directory.path().join("copy.c"), directory.path().join("copy"));
    std::fs::write(&source, PROGRAM).map_err(|error| error.to_string())?;
    let output = Command::new("cc")
        .args(["-static", "-O2", "-o"])
        .args([&program, &source])
        .output()
        .map_err(|error| format!("no C compiler: {error}"))?;
    if !output.status.success() {
        return Err(format!("cc failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    std::fs::read(&program).map_err(|error| error.to_string())
}
