//! Watching a container until it has ended, also past a restart of the engine.

use crate::{
    engine::{self, Engine},
    output,
};
use bollard::{
    Docker,
    errors::Error as DockerError,
    query_parameters::{InspectContainerOptions, WaitContainerOptionsBuilder},
};
use futures_util::StreamExt as _;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use xebec_core::ports::instance::{Exit, Lines};

/// How long what was printed may take to be read after the end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How long between two tries while the engine is away.
const PAUSE: Duration = Duration::from_millis(300);

/// How an instance ends that ends with everything else.
pub(crate) const KILLED: Exit = Exit { code: None, signal: Some(9), out_of_memory: false };

/// What is known of a container's end.
#[derive(Debug)]
pub(crate) struct Fate {
    exit: watch::Sender<Option<Exit>>,
    /// The engine went away: whether it still runs is unknown.
    lost: AtomicBool,
}

impl Fate {
    pub(crate) fn open() -> Arc<Self> {
        Arc::new(Self { exit: watch::Sender::new(None), lost: AtomicBool::new(false) })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Whether it is unknown if it still runs.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// It has ended. The first one who says so is believed.
    pub(crate) fn end(&self, exit: Exit) {
        self.exit.send_if_modified(|known| {
            let is_new = known.is_none();
            known.get_or_insert(exit);
            is_new
        });
    }

    /// Completes when it has ended.
    pub(crate) async fn exited(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        // We hold the sender, so waiting cannot fail.
        exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit).unwrap_or(KILLED)
    }
}

/// A started container to watch.
pub(crate) struct Watched {
    pub(crate) docker: Docker,
    pub(crate) engine: Arc<Engine>,
    pub(crate) container: String,
    pub(crate) lines: Lines,
    /// Reads what it prints.
    pub(crate) output: JoinHandle<()>,
    pub(crate) fate: Arc<Fate>,
}

impl Watched {
    /// Watches it until it has ended and all that it printed was read.
    pub(crate) async fn watch(mut self) {
        let code = loop {
            match wait(&self.docker, &self.container).await {
                Waited::Ended(code) => break Some(code),
                Waited::Gone => break None,
                Waited::Still => {}
                Waited::Away => {
                    self.engine.went_away();
                    self.fate.lost.store(true, Ordering::Relaxed);
                    // It was destroyed meanwhile: nobody asks any more.
                    if self.fate.ended().is_some() {
                        return;
                    }
                    sleep(PAUSE).await;
                    self.follow_again().await;
                }
            }
        };
        self.engine.came_back();
        let found = self.docker.inspect_container(&self.container, None::<InspectContainerOptions>).await;
        let state = found.ok().and_then(|found| found.state);
        let out_of_memory = state.and_then(|state| state.oom_killed).unwrap_or(false);
        // Whoever hears of the end wants to know what it said last.
        let _ = timeout(LAST_LINES, self.output).await;
        self.fate.end(code.map_or(KILLED, |code| exit(code, out_of_memory)));
    }

    /// An engine that comes back has forgotten who reads what its containers print.
    async fn follow_again(&mut self) {
        if let Ok(output) = output::attach(&self.docker, &self.container).await {
            self.engine.came_back();
            self.fate.lost.store(false, Ordering::Relaxed);
            self.output.abort();
            self.output = tokio::spawn(output::follow(output, self.lines.clone()));
        }
    }
}

enum Waited {
    Ended(i64),
    /// It was removed.
    Gone,
    /// Nothing has happened for long.
    Still,
    /// The engine does not answer.
    Away,
}

async fn wait(docker: &Docker, container: &str) -> Waited {
    let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
    let mut waiting = std::pin::pin!(docker.wait_container(container, Some(options)));
    match waiting.next().await {
        Some(Ok(ended)) => Waited::Ended(ended.status_code),
        Some(Err(DockerError::DockerContainerWaitError { code, .. })) => Waited::Ended(code),
        Some(Err(DockerError::RequestTimeoutError)) => Waited::Still,
        Some(Err(error)) if engine::status(&error) == Some(404) => Waited::Gone,
        Some(Err(_)) | None => Waited::Away,
    }
}

/// Docker adds 128 to the signal that ended a process, as shells do.
fn exit(code: i64, out_of_memory: bool) -> Exit {
    let code = i32::try_from(code).unwrap_or(-1);
    match code {
        129..=192 => Exit { code: None, signal: Some(code - 128), out_of_memory },
        code => Exit { code: Some(code), signal: None, out_of_memory },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_signals() {
        assert_eq!(exit(3, false), Exit { code: Some(3), signal: None, out_of_memory: false });
        assert_eq!(exit(137, true), Exit { code: None, signal: Some(9), out_of_memory: true });
        assert_eq!(exit(255, false).code, Some(255));
    }

    #[tokio::test]
    async fn the_first_end_counts() {
        let fate = Fate::open();
        fate.end(exit(3, false));
        fate.end(KILLED);
        assert_eq!(fate.exited().await.code, Some(3));
    }
}
