//! What a deployment would change.

use serde_json::Value;
use std::collections::BTreeMap;

/// The fields that a deployment decides on; all others are the server's, or mean nothing to it.
const FIELDS: &[&str] = &[
    "image",
    "envProcess",
    "envVars",
    "constraints",
    "secrets",
    "labels",
    "annotations",
    "limits",
    "requests",
    "readOnlyRootFilesystem",
    "source",
];

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which, e.g. `envVars.LEVEL`.
    pub field: String,
    /// What it is; `None`: it is not there.
    pub before: Option<String>,
    /// What it would be.
    pub after: Option<String>,
}

/// What differs between a function as the API shows it and a deployment, by field. Nothing, an empty text, an empty
/// list and `false` are all the same; so is the order of secrets.
pub fn differences(current: &Value, wanted: &Value) -> Vec<Difference> {
    let (before, after) = (flat(current), flat(wanted));
    let mut fields: Vec<&String> = before.keys().chain(after.keys()).collect();
    fields.sort_unstable();
    fields.dedup();
    let differing = fields.into_iter().filter(|field| before.get(*field) != after.get(*field));
    differing
        .map(|field| Difference {
            field: field.clone(),
            before: before.get(field).cloned(),
            after: after.get(field).cloned(),
        })
        .collect()
}

fn flat(document: &Value) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for field in FIELDS {
        if let Some(value) = document.get(field) {
            flatten(field, value, &mut out);
        }
    }
    out
}

fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    let text = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&format!("{path}.{name}"), value, out);
            }
            return;
        }
        Value::Array(items) => {
            let mut texts: Vec<String> = items.iter().map(plain).collect();
            if path == "secrets" {
                texts.sort_unstable();
                texts.dedup();
            }
            texts.join(", ")
        }
        Value::Null | Value::Bool(false) => return,
        other => plain(other),
    };
    // A variable that is set to nothing is set; every other field is as good as not there.
    if !text.is_empty() || path.starts_with("envVars.") {
        out.insert(path.to_owned(), text);
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_server_s_own_fields_and_empty_ones_do_not_count() {
        let current = json!({
            "name": "a", "image": "x", "replicas": 1, "createdAt": "t", "labels": {}, "annotations": null,
            "envProcess": "", "secrets": ["b", "a"], "network": "n", "readOnlyRootFilesystem": false,
        });
        let wanted = json!({"service": "a", "image": "x", "secrets": ["a", "b"]});
        assert_eq!(differences(&current, &wanted), []);
    }

    #[test]
    fn what_differs_is_named() {
        let current = json!({"image": "x:1", "envVars": {"A": "1", "B": "2"}, "labels": {"l": "1"}});
        let wanted =
            json!({"image": "x:2", "envVars": {"A": "1", "C": ""}, "source": {"code": {"bytes": 3}}});
        let found = differences(&current, &wanted);
        let shown: Vec<_> =
            found.iter().map(|d| (d.field.as_str(), d.before.as_deref(), d.after.as_deref())).collect();
        assert_eq!(
            shown,
            [
                ("envVars.B", Some("2"), None),
                ("envVars.C", None, Some("")),
                ("image", Some("x:1"), Some("x:2")),
                ("labels.l", Some("1"), None),
                ("source.code.bytes", None, Some("3")),
            ]
        );
    }
}
