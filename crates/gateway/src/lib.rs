//! The gateway: listeners, TLS, limits, authentication and telemetry around the front doors.
//!
//! A request's way through it is short on purpose: parse → [`table`](RESERVED) → principal → door.
//!
//! | file | what is in it |
//! |---|---|
//! | `gateway`, `bound` | putting it together; listening, draining, ending |
//! | `connection`, `io`, `state`, `watch` | one connection: its bytes, its counters, its clocks |
//! | `service`, `own` | one request: matched, admitted, answered by a door or by the gateway itself |
//! | `table` | who owns which path |
//! | `keys`, `token`, `pair`, `guard` | who may do what; keeping web pages from managing |
//! | `body`, `refusal` | bodies and their limits; what the gateway says when it refuses |
//! | `account`, `access_log`, `durations`, `counters`, `trace` | telemetry |

mod access_log;
mod account;
mod body;
mod bound;
mod connection;
mod counters;
mod durations;
mod gateway;
mod guard;
mod io;
mod keys;
mod options;
mod own;
mod pair;
mod refusal;
mod rounds;
mod service;
mod state;
mod table;
mod tls;
mod token;
mod trace;
mod watch;

pub use bound::{Bound, Handle, Served};
pub use gateway::{Gateway, GatewayParts, Metrics};
pub use keys::{KIND as KEY_KIND, KeyRing};
pub use options::{GatewayOptions, Limits, Tls};
pub use own::Readiness;
pub use table::{OWN, RESERVED};
pub use token::{INSTALLATION, TOKEN_FILE, installation_token};
