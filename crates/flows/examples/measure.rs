//! Measures what a chain of five steps costs over calling the five functions one after the other: functions that
//! answer at once, journal and records in SQLite on a real disk.
//!
//!     cargo run --release -p xebec-flows --example measure [directory]

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use xebec_core::{
    Answer, Body, Digest, FunctionKey, Invocation, InvocationId, InvokeError, Outcome, Tenant,
    auth::Principal,
    invocation::{Called, Timing},
    ports::{builtin::Builtin, instance::InstanceId, invoker::Invoker, records::Records},
    record::{InvocationRecord, Note},
};
use xebec_flows::{
    Bounds, Done, Ended, Flows, Journal, JournalOptions, Nested, Ports, Refused, Run, Step, Steps, Trouble,
    Wanted, Words,
};
use xebec_store_sqlite::{DataDirectory, Options, SqliteStore};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const STEPS: usize = 5;
const ROUNDS: usize = 2000;

fn main() -> Result<()> {
    let named = std::env::args().nth(1).map(PathBuf::from);
    let directory = match named {
        Some(path) => tempfile::tempdir_in(path)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(directory.path()))
}

async fn measure(directory: &Path) -> Result<()> {
    let store = Arc::new(SqliteStore::open(&DataDirectory::open(directory)?, Options::default())?);
    let (records, _logs) = xebec_records::open(directory)?;
    let records: Arc<dyn Records> = Arc::new(records);
    let engine = Arc::new(Echo);
    for journalled in [false, true] {
        let journal = if journalled {
            Journal::new(store.clone(), records.clone(), JournalOptions::default())
        } else {
            Journal::new(Arc::new(nowhere::Nowhere), records.clone(), JournalOptions::default())
        };
        let ports = Ports { invoker: engine.clone(), journal: journal.clone() };
        let chain = Flows::new(ports, Arc::new(Plain), Bounds::default()).chain();
        println!("journal {}", if journalled { "on disk" } else { "nowhere" });
        for at_a_time in [1, 16, 64] {
            let each = ROUNDS / at_a_time;
            let began = Instant::now();
            let mut tasks = Vec::new();
            for _ in 0..at_a_time {
                let (chain, records) = (chain.clone(), records.clone());
                tasks.push(tokio::spawn(async move {
                    let mut took = Vec::with_capacity(each);
                    for _ in 0..each {
                        took.push(one(&*chain, &*records).await?);
                    }
                    Result::Ok(took)
                }));
            }
            let mut took = Vec::new();
            for task in tasks {
                took.extend(task.await??);
            }
            report(at_a_time, began.elapsed(), &mut took);
            let closing = Instant::now();
            while journal.runs() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            println!("    the journal was empty {:.0?} later", closing.elapsed());
        }
    }
    let began = Instant::now();
    for _ in 0..ROUNDS {
        for _ in 0..STEPS {
            let answer = engine.invoke(Invocation::new(key(), Principal::Local, request())).await;
            let answer = answer.map_err(|error| error.to_string())?;
            answer.response.into_body().collect(1 << 20).await?;
        }
    }
    println!("five calls without a chain: {:.1?}", began.elapsed() / ROUNDS as u32);
    Ok(())
}

fn report(at_a_time: usize, all: Duration, took: &mut [Duration]) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "  {at_a_time:>3} at a time: {:>6.0} chains/s, p50 {:.0?}, p99 {:.0?}",
        took.len() as f64 / all.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
}

/// One chain and, as the engine does it, its record.
async fn one(chain: &dyn Builtin, records: &dyn Records) -> Result<Duration> {
    let note = Arc::new(Note { details: json!({ "kind": "sequence" }), ..Note::default() });
    let called =
        Called { id: InvocationId::new(), function: key(), principal: Principal::Local, note: Some(note) };
    let (id, settings) = (called.id, json!({ "steps": vec!["step"; STEPS] }));
    let began = Instant::now();
    let answer = chain.call(called, &settings, request()).await.map_err(|error| error.to_string())?;
    answer.into_body().collect(1 << 20).await?;
    let took = began.elapsed();
    records.append(vec![record(id)]).await.map_err(|error| error.to_string())?;
    Ok(took)
}

fn request() -> Request<Body> {
    Request::new(Body::full(r#"{"name":"Ada","numbers":[1,2,3]}"#))
}

fn key() -> FunctionKey {
    FunctionKey::new(&Tenant::default(), "toy", "step")
}

fn record(id: InvocationId) -> InvocationRecord {
    InvocationRecord {
        id,
        function: key(),
        revision: None,
        instance: None,
        received: jiff::Timestamp::now(),
        timing: Timing::default(),
        outcome: Outcome::Success,
        status: Some(200),
        message: None,
        request_bytes: 0,
        response_bytes: 0,
        attempt: 0,
        noted: None,
    }
}

/// Answers with what it was sent.
struct Echo;

#[async_trait]
impl Invoker for Echo {
    async fn invoke(&self, invocation: Invocation) -> std::result::Result<Answer, Box<InvokeError>> {
        Ok(Answer {
            response: Response::new(invocation.request.into_body()),
            revision: Digest::of("step"),
            instance: InstanceId("step".into()),
            timing: Timing::default(),
        })
    }
}

struct Plain;

#[async_trait]
impl Steps for Plain {
    async fn step(&self, run: &Run<'_>, _: Wanted<'_>, input: Bytes) -> std::result::Result<Step, Refused> {
        Ok(Step {
            function: key(),
            revision: None,
            principal: run.called.principal.clone(),
            request: Request::new(Body::full(input)),
            note: Note { details: json!({ "kind": "step" }), ..Note::default() },
            timeout: None,
            memory_bytes: 0,
            nested: Nested::No,
        })
    }

    fn read(&self, _: &Run<'_>, _: Wanted<'_>, done: Done<'_>) -> Ended {
        match done {
            Done::Answered { body, .. } => {
                let error =
                    serde_json::from_slice(body).is_ok_and(|value: Value| value.get("error").is_some());
                Ended { body: body.clone(), error, outcome: Outcome::Success }
            }
            Done::Failed(error) => Ended { body: Bytes::new(), error: true, outcome: error.outcome },
        }
    }

    fn words(&self) -> Words {
        Words { next: "next", input: "with", state: "state", boxed: "value", error: "error" }
    }

    fn sentence(&self, trouble: Trouble) -> String {
        format!("{trouble:?}")
    }
}

/// A store that keeps nothing.
mod nowhere {
    use async_trait::async_trait;
    use futures_util::stream::{self, BoxStream, StreamExt as _};
    use xebec_core::{
        Error,
        document::{Document, DocumentKey, List, ListQuery, WatchEvent, Write},
        ports::store::Store,
    };

    pub(crate) struct Nowhere;

    #[async_trait]
    impl Store for Nowhere {
        async fn get(&self, _: &DocumentKey) -> Result<Option<Document>, Error> {
            Ok(None)
        }

        async fn list(&self, _: &ListQuery) -> Result<List, Error> {
            Ok(List::default())
        }

        async fn write(&self, writes: Vec<Write>) -> Result<Vec<Option<Document>>, Error> {
            let stored = |write| match write {
                Write::Put(document, _) => Some(document),
                Write::Delete(..) => None,
            };
            Ok(writes.into_iter().map(stored).collect())
        }

        async fn watch(
            &self,
            _: Option<String>,
            _: u64,
        ) -> Result<BoxStream<'static, Result<WatchEvent, Error>>, Error> {
            Ok(stream::empty().boxed())
        }

        async fn backup(&self, _: &std::path::Path) -> Result<(), Error> {
            Ok(())
        }
    }
}
