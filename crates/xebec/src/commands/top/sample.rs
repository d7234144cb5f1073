//! What the server says at one moment.

use super::latency::{self, Histograms};
use crate::{client::Client, failure::Failure};
use std::time::Instant;
use xebec_api_native::wire::FunctionAnswer;
use xebec_core::{Tenant, function::Live, ports::queue::LaneStats};

/// What the server says at one moment.
pub(super) struct Sample {
    pub(super) taken: Instant,
    /// Sorted by name.
    pub(super) functions: Vec<Function>,
    pub(super) lanes: Vec<LaneStats>,
    /// Empty for those who may not see metrics.
    pub(super) durations: Histograms,
}

/// A function at one moment.
pub(super) struct Function {
    pub(super) name: String,
    pub(super) door: String,
    pub(super) live: Live,
}

impl Sample {
    pub(super) async fn take(client: &Client) -> Result<Self, Failure> {
        let functions = client.get::<Vec<FunctionAnswer>>("functions");
        // A server without queues is watched for its functions.
        let lanes = async { Ok(client.get::<Vec<LaneStats>>("queues").await.unwrap_or_default()) };
        let (functions, lanes, metrics) = tokio::try_join!(functions, lanes, client.metrics())?;
        let tenant =
            functions.first().map_or_else(|| Tenant::default().to_string(), |one| one.tenant.clone());
        let durations = metrics.map(|text| latency::read(&text, &tenant)).unwrap_or_default();
        let mut functions: Vec<Function> = functions
            .into_iter()
            .map(|answer| Function { name: answer.name, door: answer.door, live: answer.view.live })
            .collect();
        functions.sort_by(|a, b| (&a.name, &a.door).cmp(&(&b.name, &b.door)));
        Ok(Self { taken: Instant::now(), functions, lanes, durations })
    }

    /// The same function at this moment.
    pub(super) fn function(&self, name: &str, door: &str) -> Option<&Function> {
        let at = self.functions.binary_search_by(|one| (&*one.name, &*one.door).cmp(&(name, door)));
        at.ok().map(|at| &self.functions[at])
    }
}
