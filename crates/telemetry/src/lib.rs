//! Sends spans and metrics to an OpenTelemetry collector, by OTLP over HTTP. Nobody else in Xebec knows OTLP:
//! spans come through [`xebec_core::ports::tracer`], metrics are what `/metrics` shows.
//!
//! | file | what is in it |
//! |---|---|
//! | `options`, `environment` | what is exported where, as the standard variables say it |
//! | `sampler`, `queue` | which spans are recorded; where they wait |
//! | `spans`, `exposition`, `points`, `conventions` | spans and metrics as OTLP has them |
//! | `sender` | one message to the collector, tried again as OTLP says |
//! | `exporting`, `telemetry` | the two tasks; putting it together, flushing at the end |
//! | `counts` | what was exported and what was dropped |

mod conventions;
mod counts;
mod environment;
mod exporting;
mod exposition;
mod options;
mod points;
mod queue;
mod sampler;
mod sender;
mod spans;
mod telemetry;

pub use environment::{Said, decide};
pub use options::{MetricOptions, SpanOptions, Target, TelemetryOptions};
pub use sampler::Sampler;
pub use telemetry::{Exposition, Telemetry};
