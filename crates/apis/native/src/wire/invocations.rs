//! What is sent about invocations.

use serde::{Deserialize, Serialize};
use xebec_core::{InvocationId, log::LogLine, record::InvocationRecord};

/// One invocation, with what its function printed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct InvocationAnswer {
    /// What is kept of it.
    #[serde(flatten)]
    pub record: InvocationRecord,
    /// Its request is kept: it can be made again.
    pub replayable: bool,
    /// What its function printed meanwhile, oldest first, as far as it is certain that it was this call.
    pub logs: Vec<LogLine>,
}

/// What `POST /xebec/v1/invocations/{id}/replay` answers: the call is made again as one that outlives its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(examples(json!({
    "id": "01970000-0000-7000-8000-000000000002", "replay_of": "01970000-0000-7000-8000-000000000001",
})))]
pub struct ReplayAnswer {
    /// The id of the new call.
    pub id: InvocationId,
    /// The call that is made again.
    pub replay_of: InvocationId,
}
