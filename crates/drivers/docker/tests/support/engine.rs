//! The engines that the tests run on, and their clients.

use bollard::{API_DEFAULT_VERSION, Docker};
use std::ops::Deref;
use tokio::sync::OnceCell;
use xebec_conformance::container_engine::ContainerEngine;

/// A running engine.
pub(crate) struct TestEngine(ContainerEngine);

impl Deref for TestEngine {
    type Target = ContainerEngine;

    fn deref(&self) -> &ContainerEngine {
        &self.0
    }
}

impl TestEngine {
    /// The engine that all tests of this run share; `None`, with a sentence, where there can be none.
    pub(crate) async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Result<TestEngine, String>> = OnceCell::const_new();
        match SHARED.get_or_init(|| Self::launch(0)).await {
            Ok(engine) => Some(engine),
            Err(why) => {
                xebec_skipped::skipped!("{why}");
                None
            }
        }
    }

    /// An engine of a test's own, to be stopped and started.
    pub(crate) async fn own() -> Option<Self> {
        Self::or_skipped(Self::launch(1).await)
    }

    /// An engine of a test's own with room for so little.
    pub(crate) async fn on_small_disk(mebibytes: u32) -> Option<Self> {
        Self::or_skipped(ContainerEngine::launch_on_small_disk(2, mebibytes).await.map(Self))
    }

    fn or_skipped(launched: Result<Self, String>) -> Option<Self> {
        launched.map_err(|why| xebec_skipped::skipped!("{why}")).ok()
    }

    async fn launch(number: u32) -> Result<Self, String> {
        ContainerEngine::launch(number).await.map(Self)
    }

    /// Its client, for what the tests look at themselves.
    pub(crate) fn client(&self) -> Docker {
        Docker::connect_with_unix(&self.socket.to_string_lossy(), 60, API_DEFAULT_VERSION).unwrap()
    }

    /// Its client, speaking its version.
    pub(crate) async fn docker(&self) -> Docker {
        self.client().negotiate_version().await.unwrap()
    }
}
