//! Everything that is done with the server at once, each at a steady pace.

use crate::{
    bars::server::Server,
    load::{connection::Connection, target::Target},
};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use http::Method;
use serde_json::json;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// From the repository's root.
const EXAMPLE: &str = "examples/wasm-hello/hello.wat";
const TIMEOUT: Duration = Duration::from_secs(60);
/// Prints a line, answers what it was sent, fails where that is `fail`.
const ECHO: &str =
    "#!/bin/sh\nbody=$(cat)\necho \"got $body\" >&2\n[ \"$body\" = fail ] && exit 3\nprintf %s \"$body\"\n";

/// How often each thing was done.
#[derive(Default)]
pub(super) struct Done {
    sync: AtomicU64,
    processes: AtomicU64,
    failed: AtomicU64,
    queued: AtomicU64,
    dead: AtomicU64,
    cold: AtomicU64,
    deployed: AtomicU64,
    followed: AtomicU64,
    scraped: AtomicU64,
    unexpected: Mutex<Option<String>>,
}

impl Done {
    pub(super) fn counts(&self) -> [(&'static str, &AtomicU64); 9] {
        [
            ("calls of a component", &self.sync),
            ("calls that are a process each", &self.processes),
            ("calls that fail", &self.failed),
            ("calls accepted for later", &self.queued),
            ("dead letters discarded", &self.dead),
            ("cold starts", &self.cold),
            ("functions deployed, called and removed", &self.deployed),
            ("logs followed and let go", &self.followed),
            ("metrics and lists read", &self.scraped),
        ]
    }

    /// Functions that came and went.
    pub(super) fn deployed(&self) -> u64 {
        self.deployed.load(Ordering::Relaxed)
    }

    /// The first answer that was not as it should be.
    pub(super) fn unexpected(&self) -> Option<String> {
        self.unexpected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, fault: String) {
        self.unexpected.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
    }
}

/// The functions that are there all the time.
pub(super) fn deploy(server: &Server) -> Result<(), String> {
    let code = std::fs::read(EXAMPLE).map_err(|error| format!("{EXAMPLE}: {error}"))?;
    for name in ["component", "cold"] {
        let manifest = format!("name = \"{name}\"\nenvironment = \"wasm\"\nartifact = \"guest.wat\"\n");
        server.deploy(&manifest, &[("guest.wat", code.clone(), false)])?;
    }
    let manifest = "name = \"echo\"\nenvironment = \"exec\"\ncommand = [\"/app/echo.sh\"]\n\
                    contract = { combine_output = false }\nscale = { max = 4 }\n\
                    async = { retry = { attempts = 2, min-wait = \"100ms\" } }\n";
    server.deploy(manifest, &[("echo.sh", ECHO.into(), true)])
}

/// Does everything until then.
pub(super) async fn all(server: &Server, done: &Done, until: Instant) -> Result<(), String> {
    let component = Target::new(&server.url("component"), "GET", &[], None)?.resolve(false).await?;
    let echo = post(server, "echo", &[], "hello").await?;
    let fail = post(server, "echo", &[], "fail").await?;
    let later = post(server, "echo", &["x-xebec-async: true"], "hello").await?;
    let never = post(server, "echo", &["x-xebec-async: true"], "fail").await?;
    let (fast, slow) = (Duration::from_millis(4), Duration::from_millis(100));
    let steady = [
        Steady { target: &component, between: fast, wanted: 200, count: &done.sync },
        Steady { target: &component, between: fast, wanted: 200, count: &done.sync },
        Steady { target: &echo, between: slow, wanted: 200, count: &done.processes },
        Steady { target: &fail, between: slow * 2, wanted: 502, count: &done.failed },
        Steady { target: &later, between: slow, wanted: 202, count: &done.queued },
        Steady { target: &never, between: slow * 10, wanted: 202, count: &done.queued },
    ];
    let steady = join_all(steady.into_iter().map(|one| one.run(done, until)));
    let others = try_join_all([
        Box::pin(cold(server, done, until)) as futures_util::future::LocalBoxFuture<'_, Result<(), String>>,
        Box::pin(deploys(server, done, until)),
        Box::pin(follows(server, done, until)),
        Box::pin(upkeep(server, done, until)),
    ]);
    let (_, others) = tokio::join!(steady, others);
    others.map(|_| ())
}

async fn post(server: &Server, function: &str, headers: &[&str], body: &str) -> Result<Target, String> {
    let headers: Vec<String> = headers.iter().map(|&header| header.to_owned()).collect();
    let url = format!("http://{}/xebec/v1/functions/{function}/invoke", server.address);
    Target::new(&url, "POST", &headers, Some(body))?.resolve(false).await
}

/// One call after the other.
struct Steady<'a> {
    target: &'a Target,
    between: Duration,
    wanted: u16,
    count: &'a AtomicU64,
}

impl Steady<'_> {
    async fn run(self, done: &Done, until: Instant) {
        let mut connection = Connection::new(self.target, TIMEOUT);
        while Instant::now() < until {
            match connection.call().await {
                Ok(answer) if answer.status == self.wanted => {
                    self.count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => {
                    done.note(format!("{} answered {}, not {}", self.target.url, answer.status, self.wanted))
                }
                Err(error) => done.note(format!("{}: {error}", self.target.url)),
            }
            tokio::time::sleep(self.between).await;
        }
    }
}

/// Lets a function's instances go, and calls it.
async fn cold(server: &Server, done: &Done, until: Instant) -> Result<(), String> {
    let mut api = server.api().await?;
    while Instant::now() < until {
        server.scale_to_zero(&mut api, "cold").await?;
        api.call(Method::GET, "/function/cold", Bytes::new()).await?;
        done.cold.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Deploys a function that was never there, calls it, and removes it.
async fn deploys(server: &Server, done: &Done, until: Instant) -> Result<(), String> {
    let mut api = server.api().await?;
    let mut manifest = api.get("/xebec/v1/functions/component").await?["manifest"].clone();
    for number in 0u64.. {
        if Instant::now() >= until {
            break;
        }
        let name = format!("brief-{number}");
        manifest["name"] = json!(name);
        manifest["env"] = json!({"NUMBER": number.to_string()});
        api.send(Method::PUT, &format!("/xebec/v1/functions/{name}"), &manifest).await?;
        api.call(Method::GET, &format!("/function/{name}"), Bytes::new()).await?;
        api.call(Method::DELETE, &format!("/xebec/v1/functions/{name}"), Bytes::new()).await?;
        done.deployed.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Follows a function's log for a while, and hangs up in the middle.
async fn follows(server: &Server, done: &Done, until: Instant) -> Result<(), String> {
    while Instant::now() < until {
        let mut api = server.api().await?;
        let following = api.call(Method::GET, "/xebec/v1/functions/echo/logs?follow=true", Bytes::new());
        match tokio::time::timeout(Duration::from_secs(3), following).await {
            Err(_) => done.followed.fetch_add(1, Ordering::Relaxed),
            Ok(ended) => return Err(format!("the log that was followed ended: {ended:?}")),
        };
    }
    Ok(())
}

/// What an operator and a Prometheus do.
async fn upkeep(server: &Server, done: &Done, until: Instant) -> Result<(), String> {
    let mut api = server.api().await?;
    let mut next = Instant::now();
    while Instant::now() < until {
        for path in ["/metrics", "/xebec/v1/functions", "/xebec/v1/invocations?limit=100", "/xebec/v1/queues"]
        {
            api.call(Method::GET, path, Bytes::new()).await?;
        }
        done.scraped.fetch_add(1, Ordering::Relaxed);
        if Instant::now() >= next {
            next = Instant::now() + Duration::from_secs(10);
            let discarded =
                api.send(Method::POST, "/xebec/v1/dead-letters/discard", &json!({"all": true})).await?;
            let count: serde_json::Value =
                serde_json::from_slice(&discarded).map_err(|error| error.to_string())?;
            done.dead.fetch_add(count["count"].as_u64().unwrap_or_default(), Ordering::Relaxed);
            api.call(Method::POST, "/xebec/v1/collect-garbage", Bytes::new()).await?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
