//! First calls of new functions in Python and Node: with a blank of the language at hand, and without.

use super::{
    Context,
    api::Api,
    row::{Row, median, micros},
    server::{PATIENCE, Server},
};
use crate::load::connection::Connection;
use bytes::Bytes;
use http::Method;
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

struct Language {
    name: &'static str,
    environment: &'static str,
    /// The same environment without blanks, as configuration.
    without_blanks: &'static str,
    file: &'static str,
    code: &'static str,
    /// The interpreter doing nothing.
    bare: &'static [&'static str],
    /// What a first call may take when a blank is at hand.
    bar: Duration,
}

const LANGUAGES: [Language; 2] = [
    Language {
        name: "Python",
        environment: "python",
        without_blanks: r#"
            [[environments]]
            name = "no-blanks"
            driver = "process"
            contract = { name = "http", options = { socket = "/run/xebec/http.sock" } }
            command = [
                "python3", "-I", "-S", "-c",
                "import sys; sys.path.insert(0, sys.argv[1]); from xebec_worker import main; del sys.path[0]; main()",
                "$XEBEC_RUNTIMES/python",
            ]
        "#,
        file: "handler.py",
        code: "def handle(event, context):\n    return \"hello\"\n",
        bare: &["python3", "-c", "pass"],
        bar: Duration::from_millis(15),
    },
    Language {
        name: "Node",
        environment: "node",
        without_blanks: r#"
            [[environments]]
            name = "no-blanks"
            driver = "process"
            contract = { name = "http", options = { socket = "/run/xebec/http.sock" } }
            command = ["node", "$XEBEC_RUNTIMES/node/worker.js"]
        "#,
        file: "handler.js",
        code: "module.exports = async () => \"hello\";\n",
        bare: &["node", "-e", "0"],
        bar: Duration::from_millis(20),
    },
];

/// A start without a blank may take so many times the bare interpreter's.
const BARE_BAR: f64 = 1.5;

pub(super) async fn measure(context: &Context) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for language in &LANGUAGES {
        if let Err(why) = bare(language) {
            rows.push(Row::skipped(language.name, &why));
            continue;
        }
        rows.push(with_blank(context, language).await?);
        rows.push(without_blank(context, language).await?);
    }
    Ok(rows)
}

async fn with_blank(context: &Context, language: &Language) -> Result<Row, String> {
    let server = Server::start(&context.xebec, "")?;
    let mut api = server.api().await?;
    let mut taken = Vec::new();
    // The language's first deploy is what blanks are kept from; its own first call does not count.
    for call in 0..=context.first_calls {
        let name = deploy(&server, language, language.environment, call)?;
        server.await_blanks(&mut api, language.environment, 1).await?;
        let first = first_call(&server, &name).await?;
        if call > 0 {
            taken.push(first);
        }
        remove(&mut api, &name).await?;
    }
    let p50 = median(taken).unwrap_or_default();
    Ok(Row::new(format!("first call of a new {} function, a blank being there: p50", language.name))
        .measured(micros(p50))
        .baseline(format!("bare interpreter: {}", micros(bare(language)?)))
        .bar(format!("≤ {}", micros(language.bar)), p50 <= language.bar))
}

async fn without_blank(context: &Context, language: &Language) -> Result<Row, String> {
    let server = Server::start(&context.xebec, language.without_blanks)?;
    let mut api = server.api().await?;
    let (mut taken, mut bare_taken) = (Vec::new(), Vec::new());
    for call in 0..context.first_calls {
        let name = deploy(&server, language, "no-blanks", call)?;
        taken.push(first_call(&server, &name).await?);
        bare_taken.push(bare(language)?);
        remove(&mut api, &name).await?;
    }
    let (p50, bare) = (median(taken).unwrap_or_default(), median(bare_taken).unwrap_or_default());
    let ratio = p50.as_secs_f64() / bare.as_secs_f64();
    Ok(Row::new(format!("the same, no blank of {} there: p50", language.name))
        .measured(micros(p50))
        .baseline(format!("bare interpreter: {}", micros(bare)))
        .bar(format!("≤ {BARE_BAR} × bare; it is {ratio:.2} ×"), ratio <= BARE_BAR))
}

fn deploy(server: &Server, language: &Language, environment: &str, call: usize) -> Result<String, String> {
    let name = format!("first-{call}");
    let manifest = format!("name = \"{name}\"\nenvironment = \"{environment}\"\n");
    server.deploy(&manifest, &[(language.file, language.code.into(), false)])?;
    Ok(name)
}

/// The whole round trip, on a connection that is there.
async fn first_call(server: &Server, name: &str) -> Result<Duration, String> {
    let target = server.target(name).await?;
    let mut connection = Connection::new(&target, PATIENCE);
    connection.connect_now().await?;
    let started = Instant::now();
    let answer = connection.call().await?;
    let taken = started.elapsed();
    if answer.status == 200 { Ok(taken) } else { Err(format!("{name} answered {}", answer.status)) }
}

async fn remove(api: &mut Api, name: &str) -> Result<(), String> {
    api.call(Method::DELETE, &format!("/xebec/v1/functions/{name}"), Bytes::new()).await.map(|_| ())
}

/// One start of the bare interpreter, to its end.
fn bare(language: &Language) -> Result<Duration, String> {
    let started = Instant::now();
    let status = Command::new(language.bare[0])
        .args(&language.bare[1..])
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("no {} here: {error}", language.bare[0]))?;
    if status.success() {
        Ok(started.elapsed())
    } else {
        Err(format!("{} failed: {status}", language.bare[0]))
    }
}
