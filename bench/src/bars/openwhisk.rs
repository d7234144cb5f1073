//! A warm blocking invocation of a Node action, beside the same function through OpenFaaS' door.

use super::{
    Context,
    row::{Row, micros},
    server::Server,
    turns,
};
use crate::load::{connection::Connection, target::Target};
use serde_json::json;
use std::time::Duration;

/// An invocation may take so many times what the function does.
const BAR: f64 = 1.2;

/// A UUID and 64 characters, all of them zero: any key will do, since the server has none.
const AUTHORIZATION: &str = concat!(
    "authorization: Basic ",
    "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwOjAwMDAwMDAwMDAwMDAw",
    "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
);

/// Nobody is to be refused here.
const LIMITS: &str = "[openwhisk]\ninvocations-per-minute = 4000000000\nconcurrent-invocations = 100000\n";

const FUNCTION: &str = "module.exports = async (event) => ({ greeting: `Hello ${event.body.name}` });\n";
const ACTION: &str = "function main (params) { return { greeting: `Hello ${params.name}` } }";
const BODY: &str = r#"{"name":"Ada"}"#;

pub(super) async fn measure(context: &Context) -> Result<Vec<Row>, String> {
    let server = Server::start(&context.xebec, LIMITS)?;
    server.deploy("name = \"hello\"\nenvironment = \"node\"\n", &[("handler.js", FUNCTION.into(), false)])?;
    let api = format!("http://{}/api/v1/namespaces/_/actions/hello", server.address);
    let put = json!({"exec": {"kind": "nodejs:default", "code": ACTION}, "limits": {"concurrency": 16}})
        .to_string();
    once(&target(&api, "PUT", &put).await?).await?;
    let function = target(&server.url("hello"), "POST", BODY).await?;
    let action = target(&format!("{api}?blocking=true&result=true"), "POST", BODY).await?;
    for called in [&function, &action] {
        once(called).await?;
    }
    let targets = [&function, &action];
    let one = turns::closed(&targets, 1, context.measure).await?;
    let [base, invoked] = [&one[0], &one[1]].map(|turn| turn.tally.latencies.at(50.0));
    let ratio = invoked.as_secs_f64() / base.as_secs_f64();
    let many = turns::closed(&targets, 16, context.measure).await?;
    Ok(vec![
        Row::new("warm blocking invocation of a Node action, 1 connection: p50")
            .measured(format!("{} (p99 {})", micros(invoked), micros(one[1].tally.latencies.at(99.0))))
            .baseline(format!("the same function through OpenFaaS' door: {}", micros(base)))
            .bar(format!("≤ {BAR} × the function; it is {ratio:.2} ×"), ratio <= BAR),
        Row::new("the same, 16 connections: rate")
            .measured(format!("{:.0}/s", many[1].rate))
            .baseline(format!("the same function through OpenFaaS' door: {:.0}/s", many[0].rate)),
    ])
}

async fn target(url: &str, method: &str, body: &str) -> Result<Target, String> {
    let headers = [AUTHORIZATION.to_owned(), "content-type: application/json".to_owned()];
    Target::new(url, method, &headers, Some(body))?.resolve(false).await
}

/// One call, which must succeed.
async fn once(target: &Target) -> Result<(), String> {
    let mut connection = Connection::new(target, Duration::from_secs(60));
    let answer = connection.call().await?;
    match answer.status {
        200 => Ok(()),
        status => Err(format!("{} answered {status}", target.url)),
    }
}
