//! The engine: the way of a call from a door to an instance and back, and all that is managed about
//! functions. It knows ports only; the binary names their implementations.
//!
//! * managing: `deploy`, `control`, `functions`, `secrets`, `tenant_documents`, `garbage`, `resume`
//! * calling: `invoke` → `admit` → `pool` → `send` → `flight` (recorded once, whatever happens)
//! * behind the calls: `keeper` (scaling, keep-alive), `usage`, `blanks`, `recorder`, `log_hub`, `metrics`

mod active;
mod admit;
mod answer;
mod backup;
mod batch;
mod blanks;
mod control;
mod deploy;
mod documents;
mod engine;
mod events;
mod flight;
mod functions;
mod garbage;
mod invoke;
mod keep;
mod keeper;
mod lines;
mod log_hub;
mod memory;
mod metrics;
mod note;
mod options;
mod pool;
mod recorder;
mod records_port;
mod request;
mod resume;
mod secrets;
mod send;
mod shared;
mod shutdown;
mod tenant_documents;
mod tenants;
mod trace;
mod usage;

pub use engine::{Contracts, Engine};
pub use options::{EngineOptions, EngineParts};
