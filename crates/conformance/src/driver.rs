//! What every driver does.

use bytes::Bytes;
use futures_util::FutureExt as _;
use std::{
    any::Any,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use xebec_core::{
    Digest, Error, FunctionKey, Tenant,
    environment::Environment,
    log::LogStream,
    ports::{
        driver::{Driver, Prepare, Silent, Start},
        instance::{Command, Endpoint, InstanceId, InstanceIo, IoError, LineSink, Signal},
    },
    revision::Revision,
    workload::Workload,
};

/// No case waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A driver, and a revision for it whose instances stay until they are ended.
pub struct Ground {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// What it runs.
    pub revision: Arc<Revision>,
    /// How.
    pub environment: Arc<Environment>,
    /// Its code.
    pub code: Option<Bytes>,
    /// Makes what was prepared so far old enough to be collected: it could belong to a deploy under way.
    pub age: Box<dyn Fn() + Send + Sync>,
    /// Whatever must be kept while the test runs.
    pub kept: Box<dyn Any + Send + Sync>,
}

struct Nowhere;

impl LineSink for Nowhere {
    fn line(&self, _: LogStream, _: &str) {}
}

impl Ground {
    async fn prepare(&self) -> Result<(), Error> {
        let prepare = self.driver.prepare(Prepare {
            revision: &self.revision,
            environment: &self.environment,
            code: self.code.clone(),
            progress: &Silent,
        });
        soon(prepare).await
    }

    async fn start(&self) -> Result<Arc<dyn InstanceIo>, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let start = Start {
            instance: InstanceId(format!("suite-{}", NUMBER.fetch_add(1, Ordering::Relaxed)).into()),
            function: FunctionKey::new(&Tenant::default(), "native", "suite"),
            revision: Arc::clone(&self.revision),
            environment: Arc::clone(&self.environment),
            secrets: Vec::new(),
            lines: Arc::new(Nowhere),
        };
        soon(self.driver.start(start)).await
    }

    async fn prepared(&self) -> Arc<dyn InstanceIo> {
        self.prepare().await.unwrap();
        self.start().await.unwrap()
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("this took too long")
}

fn runs(io: &Arc<dyn InstanceIo>) -> bool {
    io.exited().now_or_never().is_none()
}

/// It takes its revision, and refuses a whole pod template, by the name of what it cannot do.
pub async fn says_what_it_takes(ground: &Ground) {
    ground.driver.accepts(&ground.revision, &ground.environment).unwrap();
    let mut spec = ground.revision.spec.clone();
    spec.workload = Workload::Pod { template: serde_json::json!({"spec": {}}) };
    let refused = ground.driver.accepts(&Revision::new(spec), &ground.environment).unwrap_err();
    assert_eq!(refused.code, "XB3001");
    assert!(refused.message.contains("pod"), "{refused}");
}

/// Without preparing, a start says what is missing; preparing twice is as preparing once.
pub async fn starts_what_was_prepared(ground: &Ground) {
    assert_eq!(ground.start().await.err().map(|error| error.code), Some("XB3005"));
    ground.prepare().await.unwrap();
    ground.prepare().await.unwrap();
    let io = ground.start().await.unwrap();
    assert!(runs(&io));
    io.destroy().await;
}

/// Whoever asks, early or late, learns of the end of an instance; the others go on.
pub async fn tells_everyone_of_an_end(ground: &Ground) {
    let first = ground.prepared().await;
    let second = ground.start().await.unwrap();
    assert_ne!(first.id(), second.id());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let io = Arc::clone(&first);
            tokio::spawn(async move { io.exited().await })
        })
        .collect();
    first.destroy().await;
    for waiter in waiting {
        soon(waiter).await.unwrap();
    }
    soon(first.exited()).await;
    assert!(runs(&second));
    second.destroy().await;
    second.destroy().await;
    soon(second.exited()).await;
}

/// A kill is an end.
pub async fn kills(ground: &Ground) {
    let io = ground.prepared().await;
    io.signal(Signal::Kill).await.unwrap();
    let exit = soon(io.exited()).await;
    assert!(!exit.is_success(), "{exit}");
    io.destroy().await;
}

/// What a driver cannot do it says, by its own name; what has ended does nothing any more.
pub async fn says_what_it_cannot_do(ground: &Ground) {
    let io = ground.prepared().await;
    let nowhere = Endpoint::Port(1);
    let said = |error: IoError| {
        if let IoError::Unsupported { driver, .. } = error {
            assert_eq!(driver, ground.driver.name());
        }
    };
    let _ = soon(io.connect(&nowhere)).await.map_err(said);
    let _ = soon(io.listen(&Endpoint::Socket("/tmp/suite.sock".into()))).await.map_err(said);
    let _ = soon(io.write_file(Path::new("/tmp/suite"), Bytes::from_static(b"x"))).await.map_err(said);
    let command = Command { argv: vec!["there-is-no-such-program".to_owned()], ..Command::default() };
    assert!(soon(io.spawn(command.clone())).await.map_err(said).is_err());
    io.destroy().await;
    soon(io.exited()).await;
    assert!(soon(io.connect(&nowhere)).await.is_err());
    assert!(soon(io.spawn(command)).await.is_err());
}

/// What is live stays prepared, what is not goes, instances that run go on either way.
pub async fn collects_what_is_not_live(ground: &Ground) {
    let io = ground.prepared().await;
    let digest = ground.revision.digest;
    let live = |known: &Digest| *known == digest;
    soon(ground.driver.collect(&live)).await.unwrap();
    ground.start().await.unwrap().destroy().await;
    io.destroy().await;
    soon(io.exited()).await;
    // Whoever holds an instance, ended or not, may hold its code.
    drop(io);
    let none = |_: &Digest| false;
    let gone = async {
        // What an instance had in use until just now may go with the next collection only.
        loop {
            (ground.age)();
            soon(ground.driver.collect(&none)).await.unwrap();
            match ground.start().await {
                Err(error) if error.code == "XB3005" => return,
                Err(error) => panic!("{error}"),
                Ok(io) => io.destroy().await,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(gone).await;
    ground.prepare().await.unwrap();
    ground.start().await.unwrap().destroy().await;
}

/// It says who it is; stopping ends every instance.
pub async fn ends_what_it_started(ground: &Ground) {
    let report = ground.driver.report();
    assert!(report.usable);
    assert_eq!(report.driver, ground.driver.name());
    assert!(!report.features.is_empty());
    let first = ground.prepared().await;
    let second = ground.start().await.unwrap();
    soon(ground.driver.shutdown()).await;
    soon(first.exited()).await;
    soon(second.exited()).await;
}
