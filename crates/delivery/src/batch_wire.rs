//! Batches as functions see them.

use crate::results::{BodyText, header_texts};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use xebec_core::{InvocationId, message::Message};

/// The content type of a batch.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.xebec.batch+json";

/// What is around the messages.
const BEFORE: &[u8] = br#"{"messages":["#;
const AFTER: &[u8] = b"]}";

#[derive(Serialize)]
struct Item<'a> {
    id: InvocationId,
    attempt: u32,
    method: &'a str,
    uri: &'a str,
    headers: BTreeMap<&'a str, String>,
    #[serde(flatten)]
    body: BodyText<'a>,
    accepted: jiff::Timestamp,
}

/// One message.
pub(crate) fn item(message: &Message, attempt: u32, body: &[u8]) -> Vec<u8> {
    let call = &message.call;
    let item = Item {
        id: message.id,
        attempt,
        method: &call.method,
        uri: &call.uri,
        headers: header_texts(&call.headers),
        body: BodyText::of(body),
        accepted: message.accepted,
    };
    // Texts and numbers only: nothing that JSON cannot say.
    serde_json::to_vec(&item).unwrap_or_default()
}

/// The bytes that a batch of items of this many bytes has.
pub(crate) fn size(items: usize, bytes: usize) -> usize {
    BEFORE.len() + AFTER.len() + bytes + items.saturating_sub(1)
}

/// A batch.
pub(crate) fn batch<'a>(items: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let (count, bytes) = items.clone().fold((0, 0), |(count, bytes), item| (count + 1, bytes + item.len()));
    let mut out = Vec::with_capacity(size(count, bytes));
    out.extend_from_slice(BEFORE);
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.extend_from_slice(AFTER);
    out
}

/// What a function says of its batch; in our words, or in Lambda's.
#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    failed: Vec<String>,
    #[serde(default, rename = "batchItemFailures")]
    failures: Vec<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "itemIdentifier")]
    id: String,
}

/// Which messages a successful answer reports as failed. An answer that is no report says that none did.
///
/// # Errors
/// Why a report makes no sense: then all count as failed, since nobody knows which did not.
pub(crate) fn failed(answer: &[u8], sent: &BTreeSet<InvocationId>) -> Result<BTreeSet<InvocationId>, String> {
    let Ok(serde_json::Value::Object(said)) = serde_json::from_slice(answer) else {
        return Ok(BTreeSet::new());
    };
    if !said.contains_key("failed") && !said.contains_key("batchItemFailures") {
        return Ok(BTreeSet::new());
    }
    let report: Report = serde_json::from_value(said.into())
        .map_err(|error| format!("the function's report on its batch makes no sense: {error}"))?;
    let names = report.failed.into_iter().chain(report.failures.into_iter().map(|failure| failure.id));
    names
        .map(|name| {
            let id = name.parse().ok().filter(|id| sent.contains(id));
            id.ok_or_else(|| format!("the function reported {name:?} as failed, which it was not sent"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<InvocationId> {
        (0..count).map(|_| InvocationId::new()).collect()
    }

    #[test]
    fn knows_its_size() {
        for items in [vec![], vec!["{}"], vec!["{}", "{\"a\":1}"]] {
            let bytes = batch(items.iter().map(|item| item.as_bytes()));
            assert_eq!(bytes.len(), size(items.len(), items.iter().map(|item| item.len()).sum()));
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(value["messages"].as_array().unwrap().len(), items.len());
        }
    }

    #[test]
    fn reads_both_ways_to_report() {
        let sent = ids(3);
        let set: BTreeSet<_> = sent.iter().copied().collect();
        let ours = format!(r#"{{"failed":["{}"],"note":1}}"#, sent[0]);
        assert_eq!(failed(ours.as_bytes(), &set).unwrap(), BTreeSet::from([sent[0]]));
        let lambdas = format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"{}"}}]}}"#, sent[2]);
        assert_eq!(failed(lambdas.as_bytes(), &set).unwrap(), BTreeSet::from([sent[2]]));
    }

    #[test]
    fn takes_what_is_no_report_for_success() {
        let set = ids(1).into_iter().collect();
        for answer in ["", "done", "[]", "{}", r#"{"ok":true}"#, r#"{"failed":[]}"#, "\u{0}"] {
            assert!(failed(answer.as_bytes(), &set).unwrap().is_empty(), "{answer}");
        }
    }

    #[test]
    fn refuses_reports_that_make_no_sense() {
        let set = ids(1).into_iter().collect();
        let stranger = format!(r#"{{"failed":["{}"]}}"#, InvocationId::new());
        for answer in
            [&*stranger, r#"{"failed":["x"]}"#, r#"{"failed":true}"#, r#"{"batchItemFailures":[{}]}"#]
        {
            assert!(failed(answer.as_bytes(), &set).is_err(), "{answer}");
        }
    }
}
