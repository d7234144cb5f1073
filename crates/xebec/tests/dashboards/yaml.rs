//! A YAML file as JSON; scalars stay text.
#![allow(unreachable_pub, reason = "a module of one test")]

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};

/// Reads one document.
pub fn read(text: &str) -> Value {
    let events = Parser::new_from_str(text).map(|event| event.unwrap_or_else(|fault| panic!("{fault}")).0);
    let mut events = events
        .filter(|event| !matches!(event, Event::StreamStart | Event::DocumentStart(_) | Event::Nothing));
    let first = events.next().unwrap();
    value(first, &mut events)
}

fn value<'t>(event: Event<'t>, rest: &mut impl Iterator<Item = Event<'t>>) -> Value {
    match event {
        Event::Scalar(text, ..) => text.into_owned().into(),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            loop {
                match rest.next().unwrap() {
                    Event::SequenceEnd => return list.into(),
                    event => list.push(value(event, rest)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut map = Map::new();
            loop {
                match rest.next().unwrap() {
                    Event::MappingEnd => return map.into(),
                    Event::Scalar(key, ..) => {
                        let event = rest.next().unwrap();
                        let entry = value(event, rest);
                        assert!(map.insert(key.to_string(), entry).is_none(), "{key} is there twice");
                    }
                    event => panic!("{event:?} is no key"),
                }
            }
        }
        event => panic!("{event:?} is not for these files"),
    }
}
