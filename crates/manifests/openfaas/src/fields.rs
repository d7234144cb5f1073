//! Reading fields: what is unknown, or of another type than wanted, becomes a fault with its line.

use crate::{
    fault::Fault,
    yaml::{Entry, Node, Value},
};
use std::{collections::BTreeMap, rc::Rc};

/// The faults found so far. After this many, more help nobody.
const MAX_FAULTS: usize = 50;

#[derive(Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, line: usize, message: impl Into<String>) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(Fault::new(line, message));
        }
    }
}

/// The entries of a mapping, by name. Null is an empty one.
pub(crate) fn entries<'a>(node: &'a Node, path: &str, faults: &mut Faults) -> &'a [Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        Value::Null => &[],
        other => {
            let place = if path.is_empty() { "the file" } else { path };
            faults.add(node.line, format!("{place}: a mapping is wanted, this is {}", kind(other)));
            &[]
        }
    }
}

/// The fields of a mapping that may have only these. Keys that begin with `x-` are left aside, as a place for
/// anchors.
pub(crate) fn fields<'a>(
    node: &'a Node,
    path: &str,
    known: &[&'static str],
    faults: &mut Faults,
) -> BTreeMap<&'a str, &'a Entry> {
    let mut found = BTreeMap::new();
    for entry in entries(node, path, faults) {
        if known.contains(&entry.key.as_str()) {
            found.insert(entry.key.as_str(), entry);
        } else if !entry.key.starts_with("x-") {
            faults.add(entry.line, unknown(path, &entry.key, known));
        }
    }
    found
}

fn unknown(path: &str, key: &str, known: &[&str]) -> String {
    let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
    let key = shortened(key);
    match nearest(&key, known) {
        Some(meant) => format!("{place}there is no field {key:?}; did you mean {meant:?}?"),
        None => format!("{place}there is no field {key:?}; there are: {}", known.join(", ")),
    }
}

/// What was probably meant.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let bare = |text: &str| text.to_lowercase().replace(['_', '-', ' '], "");
    let key = bare(key);
    let distance = |known: &str| strsim::damerau_levenshtein(&key, &bare(known));
    let (best, distance) = known.iter().map(|known| (*known, distance(known))).min_by_key(|(_, d)| *d)?;
    // Words that differ in a third of their letters are other words.
    (distance <= (best.len() / 3).max(1)).then_some(best)
}

pub(crate) fn text(node: &Node, path: &str, faults: &mut Faults) -> String {
    match &node.value {
        Value::Text { text, .. } => text.clone(),
        Value::Null => String::new(),
        other => {
            faults.add(node.line, format!("{path}: text is wanted, this is {}", kind(other)));
            String::new()
        }
    }
}

pub(crate) fn boolean(node: &Node, path: &str, faults: &mut Faults) -> bool {
    match &node.value {
        Value::Null => return false,
        Value::Text { text, plain: true } => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => return true,
            "false" | "no" | "off" | "n" => return false,
            _ => faults
                .add(node.line, format!("{path}: true or false is wanted, this is {:?}", shortened(text))),
        },
        Value::Text { text, .. } => faults.add(
            node.line,
            format!(
                "{path}: true or false is wanted, without quotes; this is the text {:?}",
                shortened(text)
            ),
        ),
        other => {
            faults.add(node.line, format!("{path}: true or false is wanted, this is {}", kind(other)));
        }
    }
    false
}

/// A list of texts, each with its line.
pub(crate) fn texts(node: &Node, path: &str, faults: &mut Faults) -> Vec<(usize, String)> {
    let items = list(node, path, faults);
    let read = |(n, item): (usize, &Rc<Node>)| (item.line, text(item, &format!("{path}[{n}]"), faults));
    items.iter().enumerate().map(read).collect()
}

pub(crate) fn list<'a>(node: &'a Node, path: &str, faults: &mut Faults) -> &'a [Rc<Node>] {
    match &node.value {
        Value::List(nodes) => nodes,
        Value::Null => &[],
        other => {
            faults.add(node.line, format!("{path}: a list is wanted (- …), this is {}", kind(other)));
            &[]
        }
    }
}

/// Texts by name.
pub(crate) fn text_map(node: &Node, path: &str, faults: &mut Faults) -> BTreeMap<String, String> {
    let entries = entries(node, path, faults);
    let read = |entry: &Entry| {
        let path = format!("{path}.{}", shortened(&entry.key));
        (entry.key.clone(), text(&entry.node, &path, faults))
    };
    entries.iter().map(read).collect()
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Text { text, .. } => format!("the text {:?}", shortened(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    }
}

/// A text as messages quote it.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
