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
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

struct Language {
    name: &'static str,
    environment: &'static str,
    /// The same environment, but none of its blanks are kept, as configuration.
    without_blanks: &'static str,
    file: &'static str,
    code: &'static str,
    /// The interpreter, and how it tells its own path: what is in `PATH` may be a script that looks for it.
    interpreter: [&'static str; 3],
    /// What makes it do nothing.
    nothing: [&'static str; 2],
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
            blanks = { keep = 0, from = "zygote" }
        "#,
        file: "handler.py",
        code: "def handle(event, context):\n    return \"hello\"\n",
        interpreter: ["python3", "-c", "import sys; print(sys.executable)"],
        nothing: ["-c", "pass"],
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
            blanks = { keep = 0, from = "started" }
        "#,
        file: "handler.js",
        code: "module.exports = async () => \"hello\";\n",
        interpreter: ["node", "-p", "process.execPath"],
        nothing: ["-e", "0"],
        bar: Duration::from_millis(20),
    },
];

/// A start without a blank may take so many times the bare interpreter's.
const BARE_BAR: f64 = 1.5;

/// As many as the environments keep: when they are there, none is being started beside the call.
const BLANKS: u64 = 2;

pub(super) async fn measure(context: &Context) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for language in &LANGUAGES {
        match interpreter(language) {
            Ok(interpreter) => {
                rows.push(with_blank(context, language, &interpreter).await?);
                rows.push(without_blank(context, language, &interpreter).await?);
            }
            Err(why) => rows.push(Row::skipped(language.name, &why)),
        }
    }
    Ok(rows)
}

async fn with_blank(context: &Context, language: &Language, interpreter: &Path) -> Result<Row, String> {
    let server = Server::start(&context.xebec, "")?;
    let mut api = server.api().await?;
    let (mut taken, mut bare_taken) = (Vec::new(), Vec::new());
    // The language's first deploy is what blanks are kept from; its own first call does not count.
    for call in 0..=context.first_calls {
        let name = deploy(&server, language, language.environment, call)?;
        server.await_blanks(&mut api, language.environment, BLANKS).await?;
        bare_taken.push(bare(interpreter, language)?);
        let first = first_call(&server, language, &name).await?;
        if call > 0 {
            taken.push(first);
        }
        remove(&mut api, &name).await?;
    }
    let (p50, bare) = (median(taken).unwrap_or_default(), median(bare_taken).unwrap_or_default());
    Ok(Row::new(format!("first call of a new {} function, a blank being there: p50", language.name))
        .measured(micros(p50))
        .baseline(format!("bare interpreter: {}", micros(bare)))
        .bar(format!("≤ {}", micros(language.bar)), p50 <= language.bar))
}

async fn without_blank(context: &Context, language: &Language, interpreter: &Path) -> Result<Row, String> {
    let server = Server::start(&context.xebec, language.without_blanks)?;
    let mut api = server.api().await?;
    let (mut taken, mut bare_taken) = (Vec::new(), Vec::new());
    for call in 0..context.first_calls {
        let name = deploy(&server, language, "no-blanks", call)?;
        bare_taken.push(bare(interpreter, language)?);
        taken.push(first_call(&server, language, &name).await?);
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
async fn first_call(server: &Server, language: &Language, name: &str) -> Result<Duration, String> {
    let target = server.target(name).await?;
    let mut connection = Connection::new(&target, PATIENCE);
    connection.connect_now().await?;
    let started = Instant::now();
    let answer = connection.call().await?;
    let taken = started.elapsed();
    if answer.status == 200 {
        return Ok(taken);
    }
    // Once more, for what it says.
    let path = format!("/function/{name}");
    let again = server.api().await?.call(Method::GET, &path, Bytes::new()).await;
    let said = again.err().unwrap_or_else(|| "it works the second time".into());
    Err(format!("the first call of a {} function answered {}: {said}", language.name, answer.status))
}

async fn remove(api: &mut Api, name: &str) -> Result<(), String> {
    api.call(Method::DELETE, &format!("/xebec/v1/functions/{name}"), Bytes::new()).await.map(|_| ())
}

/// The real path of the interpreter.
fn interpreter(language: &Language) -> Result<PathBuf, String> {
    let [name, flag, tell] = language.interpreter;
    let output =
        Command::new(name).args([flag, tell]).output().map_err(|error| format!("no {name} here: {error}"))?;
    let path = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        Ok(path.trim().into())
    } else {
        Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// One start of the bare interpreter, to its end.
fn bare(interpreter: &Path, language: &Language) -> Result<Duration, String> {
    let started = Instant::now();
    let status = Command::new(interpreter)
        .args(language.nothing)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cannot start {}: {error}", interpreter.display()))?;
    if status.success() {
        Ok(started.elapsed())
    } else {
        Err(format!("{} failed: {status}", interpreter.display()))
    }
}
