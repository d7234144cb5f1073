//! Lists: newest first, a part of them, or how many there are.

use super::query::Slice;
use crate::errors;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::cmp::Reverse;
use xebec_core::Body;

/// The part of a list that was asked for.
pub(super) fn answer<T>(
    collection: &str,
    mut all: Vec<T>,
    slice: Slice,
    updated: impl Fn(&T) -> i64,
    shown: impl Fn(&T) -> Value,
) -> Response<Body> {
    if slice.count {
        let left = all.len().saturating_sub(slice.skip);
        return errors::json(StatusCode::OK, &json!({ collection: left }));
    }
    // They come by name, which stays the order of those that were changed in the same millisecond.
    all.sort_by_key(|one| Reverse(updated(one)));
    let part: Vec<Value> = all.iter().skip(slice.skip).take(slice.limit).map(shown).collect();
    errors::json(StatusCode::OK, &Value::Array(part))
}
