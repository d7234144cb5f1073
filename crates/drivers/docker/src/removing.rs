//! Removing containers: those of ended instances, again and again where the engine is away, and those that an
//! earlier run left behind.

use crate::{driver::Inner, engine, shape::INSTALLATION};
use bollard::{
    Docker,
    errors::Error as DockerError,
    query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder},
};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// How many containers are removed at a time.
const AT_A_TIME: usize = 8;

/// How long between two tries, while the engine is away or busy.
const PAUSE: Duration = Duration::from_secs(2);

/// How long removing everything may take at the end.
const AT_THE_END: Duration = Duration::from_secs(15);

/// Containers that could not be removed yet.
#[derive(Default)]
pub(crate) struct Leftovers(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<String>,
    /// A task works through them.
    at_work: bool,
}

/// Removes a container with what it wrote, running or not. True: it is gone.
pub(crate) async fn remove(docker: &Docker, container: &str) -> Result<(), DockerError> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match docker.remove_container(container, Some(options)).await {
        Err(error) if engine::status(&error) == Some(404) => Ok(()),
        // Somebody else removes it at this moment.
        Err(error) if engine::said(&error).contains("is already in progress") => Ok(()),
        removed => removed,
    }
}

impl Inner {
    /// Removes a container, however long the engine is away.
    pub(crate) fn remove_later(self: &Arc<Self>, container: String) {
        self.leftovers.0.lock().waiting.push(container);
        self.remove_leftovers();
    }

    /// Has a task work through what could not be removed yet, where there is anything and none does already.
    pub(crate) fn remove_leftovers(self: &Arc<Self>) {
        // Without a runtime all is about to end; the next start finds them by their label.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut state = self.leftovers.0.lock();
        if !state.waiting.is_empty() && !std::mem::replace(&mut state.at_work, true) {
            drop(runtime.spawn(work_off(self.clone())));
        }
    }

    /// Notes what an earlier run left behind. Nothing of this run is there yet.
    pub(crate) async fn sweep(self: &Arc<Self>, docker: Docker) {
        match self.containers(&docker).await {
            Ok(left) if left.is_empty() => {}
            Ok(left) => {
                tracing::info!(
                    containers = left.len(),
                    "removing containers that an earlier run left behind"
                );
                self.leftovers.0.lock().waiting.extend(left);
            }
            Err(error) => {
                tracing::warn!(error = %engine::said(&error), "what an earlier run left behind is unknown");
            }
        }
    }

    /// Removes everything of this installation.
    pub(crate) async fn remove_all(self: &Arc<Self>) {
        let Some(connected) = self.engine.known() else { return };
        let docker = &connected.docker;
        let all = async {
            let left = self.containers(docker).await?;
            let removals = left.into_iter().map(|container| async move { remove(docker, &container).await });
            let removed: Vec<_> = stream::iter(removals).buffer_unordered(AT_A_TIME).collect().await;
            removed.into_iter().collect::<Result<Vec<()>, _>>()?;
            self.network.remove(docker).await;
            Ok::<_, DockerError>(())
        };
        let error = match timeout(AT_THE_END, all).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => engine::said(&error),
            Err(_) => "it took too long".to_owned(),
        };
        tracing::warn!(error, "containers were left behind; the next start removes them");
    }

    async fn containers(&self, docker: &Docker) -> Result<Vec<String>, DockerError> {
        let ours = format!("{INSTALLATION}={}", self.installation);
        let filters = HashMap::from([("label".to_owned(), vec![ours])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = docker.list_containers(Some(options)).await?;
        Ok(found.into_iter().filter_map(|container| container.id).collect())
    }
}

/// Works through the leftovers until there are none.
async fn work_off(inner: Arc<Inner>) {
    loop {
        let batch = {
            let mut state = inner.leftovers.0.lock();
            if state.waiting.is_empty() {
                state.at_work = false;
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        // Whoever created a container has talked to the engine.
        let Some(connected) = inner.engine.known() else {
            inner.leftovers.0.lock().at_work = false;
            return;
        };
        let removals = batch.into_iter().map(|container| async {
            match remove(&connected.docker, &container).await {
                Ok(()) => None,
                Err(error) => {
                    tracing::debug!(container, error = %engine::said(&error), "not removed yet");
                    Some(container)
                }
            }
        });
        let left: Vec<_> = stream::iter(removals)
            .buffer_unordered(AT_A_TIME)
            .filter_map(|left| async { left })
            .collect()
            .await;
        if !left.is_empty() {
            inner.leftovers.0.lock().waiting.extend(left);
            sleep(PAUSE).await;
        }
    }
}
