//! Which kinds of actions there are, and what runs them.

use serde_json::{Value, json};
use xebec_core::ports::control::Control;

/// The kinds, by family, as `GET /` tells them.
pub(crate) fn manifest(_control: &dyn Control) -> Value {
    json!({})
}
