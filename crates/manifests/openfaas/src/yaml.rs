//! YAML → a tree that knows its lines. What a plain scalar means is for whoever reads the field: `1.0` is text
//! where text is wanted.

use crate::fault::Fault;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// How deep lists and mappings may lie within each other. A stack file needs four.
const MAX_DEPTH: usize = 32;

/// How many values there may be, each alias counting as all that it stands for.
const MAX_VALUES: usize = 200_000;

/// A value, and the line in which it begins.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
    /// The values that it consists of, itself included.
    weight: usize,
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Text { text: String, plain: bool },
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) node: Rc<Node>,
}

/// Reads a file that has one document. An empty one is null.
pub(crate) fn read(text: &str) -> Result<Rc<Node>, Fault> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|error| Fault::new(error.marker().line(), format!("not YAML: {}", error.info())))?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or_else(|| Rc::new(Node { line: 1, value: Value::Null, weight: 1 })))
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Rc<Node>>,
    values: usize,
    root: Option<Rc<Node>>,
}

/// A list or a mapping whose end has not come yet.
struct Open {
    line: usize,
    anchor: usize,
    weight: usize,
    holds: Holds,
}

enum Holds {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<Entry>, keys: BTreeSet<String>, merged: Vec<Rc<Node>>, key: Option<(String, usize)> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line();
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Fault::new(line, "a second document begins here; put it into a file of its own"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    let values = node.weight;
                    self.put(node, line, values)
                }
                None => Err(Fault::new(line, "an alias stands for what it is a part of")),
            },
            Event::Scalar(text, style, anchor, tag) => {
                let string = check_tag(tag.as_ref(), line)?;
                let plain = style == ScalarStyle::Plain && !string;
                let value = if plain && is_null(&text) {
                    Value::Null
                } else {
                    Value::Text { text: text.into_owned(), plain }
                };
                self.finish(Node { line, value, weight: 1 }, anchor, line)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_ref(), line)?;
                self.open(line, anchor, Holds::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_ref(), line)?;
                let (entries, keys, merged) = (Vec::new(), BTreeSet::new(), Vec::new());
                self.open(line, anchor, Holds::Map { entries, keys, merged, key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn open(&mut self, line: usize, anchor: usize, holds: Holds) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(line, format!("lists and mappings lie more than {MAX_DEPTH} deep")));
        }
        self.open.push(Open { line, anchor, weight: 1, holds });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        // The parser closes only what it has opened.
        let Some(Open { line, anchor, mut weight, holds }) = self.open.pop() else { return Ok(()) };
        let value = match holds {
            Holds::List(nodes) => Value::List(nodes),
            Holds::Map { mut entries, mut keys, merged, .. } => {
                for node in &merged {
                    for entry in merged_entries(node)? {
                        if keys.insert(entry.key.clone()) {
                            weight += entry.node.weight;
                            entries.push(entry.clone());
                        }
                    }
                }
                Value::Map(entries)
            }
        };
        self.finish(Node { line, value, weight }, anchor, line)
    }

    /// A value that is whole.
    fn finish(&mut self, node: Node, anchor: usize, line: usize) -> Result<(), Fault> {
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        // What it consists of has been counted.
        self.put(node, line, 1)
    }

    /// A value in its place, and how many values that adds. `line` is where it stands, which for an alias is not
    /// where it was written.
    fn put(&mut self, node: Rc<Node>, line: usize, values: usize) -> Result<(), Fault> {
        self.values += values;
        if self.values > MAX_VALUES {
            let message = format!("more than {MAX_VALUES} values, with all that aliases stand for");
            return Err(Fault::new(line, message));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.weight += node.weight;
        match &mut open.holds {
            Holds::List(nodes) => nodes.push(node),
            Holds::Map { entries, keys, merged, key } => match key.take() {
                None => *key = Some((key_text(&node, line)?, line)),
                Some((name, _)) if name == "<<" => merged.push(node),
                Some((name, line)) => {
                    if !keys.insert(name.clone()) {
                        return Err(Fault::new(line, format!("{name:?} is there twice")));
                    }
                    entries.push(Entry { key: name, line, node });
                }
            },
        }
        Ok(())
    }
}

/// What `<<` brings in: the entries of a mapping, or of several, of which the first counts.
fn merged_entries(node: &Node) -> Result<Vec<&Entry>, Fault> {
    let fault = || Err(Fault::new(node.line, "<< takes a mapping, or a list of mappings"));
    match &node.value {
        Value::Map(entries) => Ok(entries.iter().collect()),
        Value::List(nodes) => {
            let mut all = Vec::new();
            for node in nodes {
                let Value::Map(entries) = &node.value else { return fault() };
                all.extend(entries);
            }
            Ok(all)
        }
        _ => fault(),
    }
}

fn key_text(node: &Node, line: usize) -> Result<String, Fault> {
    match &node.value {
        Value::Text { text, .. } => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        _ => Err(Fault::new(line, "a key must be text")),
    }
}

/// Whether a tag says that this is text. Tags of other than YAML's own types mean nothing here.
fn check_tag(tag: Option<&Cow<'_, Tag>>, line: usize) -> Result<bool, Fault> {
    let Some(tag) = tag else { return Ok(false) };
    let known = ["str", "int", "bool", "float", "null", "seq", "map"];
    if tag.handle == "!" && tag.suffix.is_empty() {
        return Ok(true);
    }
    if tag.is_yaml_core_schema() && known.contains(&tag.suffix.as_str()) {
        return Ok(tag.suffix == "str");
    }
    Err(Fault::new(line, format!("the tag {}{} means nothing here", tag.handle, tag.suffix)))
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry<'a>(node: &'a Node, key: &str) -> &'a Entry {
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        entries.iter().find(|entry| entry.key == key).unwrap_or_else(|| panic!("no {key} in {node:?}"))
    }

    fn text<'a>(node: &'a Node, key: &str) -> &'a str {
        match &entry(node, key).node.value {
            Value::Text { text, .. } => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn knows_lines_and_keeps_scalars_as_written() {
        let root = read("a: 1.10\nb:\n  - x\n  - \"true\"\nc: |\n  two\n  lines\nd: ~\n").unwrap();
        assert_eq!(text(&root, "a"), "1.10");
        assert_eq!((entry(&root, "b").line, entry(&root, "c").line), (2, 5));
        assert_eq!(text(&root, "c"), "two\nlines\n");
        assert!(matches!(entry(&root, "d").node.value, Value::Null));
        let Value::List(nodes) = &entry(&root, "b").node.value else { panic!() };
        assert_eq!(nodes[1].line, 4);
        assert!(matches!(nodes[1].value, Value::Text { plain: false, .. }));
    }

    #[test]
    fn merges_what_is_not_there_already() {
        let root =
            read("base: &base {a: 1, b: 2}\nother: &other {b: 3, c: 4}\nx:\n  <<: [*base, *other]\n  a: 0\n")
                .unwrap();
        let x = &entry(&root, "x").node;
        assert_eq!((text(x, "a"), text(x, "b"), text(x, "c")), ("0", "2", "4"));
    }

    #[test]
    fn names_what_is_wrong_with_its_line() {
        for (yaml, line, says) in [
            ("a: 1\nb: [", 2, "not YAML"),
            ("a: 1\nc: 2\na: 3\n", 3, "twice"),
            ("a: &x [*x]\n", 1, "a part of"),
            ("a: 1\n---\nb: 2\n", 2, "second document"),
            ("a: !thing b\n", 1, "tag"),
            ("x: 1\n<<: 3\n", 2, "mapping"),
            ("[a]: 1\n", 1, "key"),
        ] {
            let fault = read(yaml).unwrap_err();
            assert!(fault.line.abs_diff(line) <= 1 && fault.message.contains(says), "{yaml:?}: {fault:?}");
        }
    }

    #[test]
    fn bombs_end_soon() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
        }
        assert!(read(&bomb).unwrap_err().message.contains("aliases"));
        let mut merges = "base: &base {".to_owned();
        merges.extend((0..1000).map(|n| format!("k{n}: 1, ")));
        merges.push_str("}\n");
        merges.extend((0..1000).map(|n| format!("m{n}: {{<<: *base}}\n")));
        assert!(read(&merges).unwrap_err().message.contains("aliases"));
        for opening in ["[", "- ", "{a: ", "? "] {
            assert!(read(&opening.repeat(10_000)).is_err(), "{opening}");
        }
        assert!(read(&"- ".repeat(MAX_DEPTH + 1)).unwrap_err().message.contains("deep"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn nothing_like_yaml_panics(text in "([a-c*&!<>|%@`'\"\\[\\]{}:,#?~ \t\r\n-]|<<: |- |\\*a|&a |---\n|: ){0,80}") {
            let _ = read(&text);
        }
    }
}
