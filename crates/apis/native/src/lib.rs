//! The `native` front door: Xebec's own JSON API under `/xebec/v1/`, used by its command line.
//!
//! | room | what is in it |
//! |---|---|
//! | [`wire`] | what is sent and received |
//! | [`translate`] | manifest → deployment |
//! | `routes` | the handlers |
//! | [`describe`] | its description in OpenAPI |
//! | [`errors`] | outcome and error → status and body |

pub mod describe;
pub mod errors;
mod routes;
pub mod translate;
pub mod wire;

pub use routes::{BackUp, Native, NativeParts};

/// The door's name.
pub const DOOR: &str = "native";
