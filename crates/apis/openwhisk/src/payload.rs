//! What an action is called with: the caller's JSON laid over what was set for it.
//!
//! Nothing is parsed further than needed: values travel as the text that they came as.

use bytes::Bytes;
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, fmt};

/// What is sent where the caller sent nothing.
const EMPTY: &[u8] = b"{}";

/// Why a payload cannot be used: the sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// Parameters that were set for an action, ready to be laid under a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    set: Vec<Set>,
    /// Payloads must not name what has a value here.
    locked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    name: String,
    /// `"name":value`; `None`: it is told otherwise, and is no argument.
    member: Option<String>,
    /// Its value is not null.
    defined: bool,
}

/// Why a payload is not laid over the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unmerged {
    /// It is not what can be.
    Malformed(Malformed),
    /// It names a parameter that may not be overridden.
    Locked,
}

impl From<Malformed> for Unmerged {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Defaults {
    /// Of parameters, each with whether it is an argument, in the order of their precedence, the strongest last.
    /// `locked`: what has a value must not be overridden.
    pub(crate) fn of<'a>(
        parameters: impl IntoIterator<Item = (&'a str, &'a Value, bool)>,
        locked: bool,
    ) -> Self {
        let mut set: Vec<Set> = Vec::new();
        for (name, value, is_argument) in parameters {
            let member = is_argument.then(|| format!("{}:{value}", Value::from(name)));
            let one = Set { name: name.to_owned(), member, defined: !value.is_null() };
            match set.iter_mut().find(|known| known.name == name) {
                Some(known) => *known = one,
                None => set.push(one),
            }
        }
        Self { set, locked }
    }

    /// Whether a payload may not name this.
    pub(crate) fn locks(&self, name: &str) -> bool {
        self.locked && self.set.iter().any(|set| set.defined && set.name == name)
    }

    /// The payload laid over them, as [`Defaults::merged`] does, where it names nothing that is locked.
    ///
    /// # Errors
    /// [`Unmerged`].
    pub(crate) fn under(&self, payload: &Bytes) -> Result<Bytes, Unmerged> {
        self.laid_under(payload, |name| self.locks(name))
    }

    /// The payload laid over them. Without any, the payload's own bytes; an array always as it is. No bytes at
    /// all are an empty object.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn merged(&self, payload: &Bytes) -> Result<Bytes, Malformed> {
        self.laid_under(payload, |_| false).map_err(|unmerged| match unmerged {
            Unmerged::Malformed(malformed) => malformed,
            Unmerged::Locked => Malformed("it names what is locked".to_owned()),
        })
    }

    fn laid_under(&self, payload: &Bytes, is_locked: impl Fn(&str) -> bool) -> Result<Bytes, Unmerged> {
        match shape(payload)? {
            Shape::Array => Ok(payload.clone()),
            Shape::Empty if self.set.is_empty() => Ok(Bytes::from_static(EMPTY)),
            Shape::Object if self.set.is_empty() => Ok(payload.clone()),
            Shape::Empty => Ok(self.joined(&[], "").into()),
            Shape::Object => {
                let fields = fields(payload)?;
                if fields.iter().any(|(name, _)| is_locked(name)) {
                    return Err(Unmerged::Locked);
                }
                // It was parsed, so it is text and has its braces.
                let text = String::from_utf8_lossy(payload);
                let text = text.trim();
                let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default().trim();
                Ok(self.joined(&fields, inner).into())
            }
        }
    }

    fn joined(&self, over: &[Field<'_>], inner: &str) -> String {
        let mut text = String::with_capacity(inner.len() + 64 * self.set.len() + 2);
        text.push('{');
        for set in &self.set {
            if let Some(member) = &set.member
                && over.iter().all(|(name, _)| *name != set.name)
            {
                if text.len() > 1 {
                    text.push(',');
                }
                text.push_str(member);
            }
        }
        if !inner.is_empty() {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(inner);
        }
        text.push('}');
        text
    }
}

/// What a payload is, its JSON checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No bytes.
    Empty,
    /// A JSON object.
    Object,
    /// A JSON array.
    Array,
}

/// Looks at a payload.
///
/// # Errors
/// Where it is not JSON, or neither object nor array.
pub(crate) fn shape(payload: &[u8]) -> Result<Shape, Malformed> {
    let first = payload.iter().find(|byte| !byte.is_ascii_whitespace());
    let Some(first) = first else { return Ok(Shape::Empty) };
    serde_json::from_slice::<IgnoredAny>(payload).map_err(|error| Malformed(error.to_string()))?;
    // Whoever skips values does not look at the bytes of their text.
    std::str::from_utf8(payload).map_err(|error| Malformed(error.to_string()))?;
    match first {
        b'{' => Ok(Shape::Object),
        b'[' => Ok(Shape::Array),
        _ => Err(Malformed("JSON object expected".to_owned())),
    }
}

type Field<'a> = (Cow<'a, str>, &'a RawValue);

/// The fields of a JSON object, values as their text, in order.
///
/// # Errors
/// Where it is none.
pub(crate) fn fields(object: &[u8]) -> Result<Vec<Field<'_>>, Malformed> {
    serde_json::from_slice::<Fields<'_>>(object)
        .map(|fields| fields.0)
        .map_err(|error| Malformed(error.to_string()))
}

struct Fields<'a>(Vec<Field<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(InOrder)
    }
}

/// A name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn defaults(parameters: &Value, locked: bool) -> Defaults {
        let object = parameters.as_object().unwrap();
        Defaults::of(object.iter().map(|(name, value)| (name.as_str(), value, true)), locked)
    }

    fn merged(parameters: &Value, payload: &'static str) -> Value {
        let bytes = defaults(parameters, false).under(&Bytes::from_static(payload.as_bytes())).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn payloads_lie_over_what_was_set() {
        assert_eq!(merged(&json!({}), ""), json!({}));
        assert_eq!(merged(&json!({"a": 1}), " "), json!({"a": 1}));
        assert_eq!(merged(&json!({"a": 1}), "{}"), json!({"a": 1}));
        assert_eq!(
            merged(&json!({"a": 1, "b": 2}), r#" {"b": 3, "c": 4} "#),
            json!({"a": 1, "b": 3, "c": 4})
        );
        assert_eq!(
            merged(&json!({"b": 2}), "{\"\\u0062\": 3}"),
            json!({"b": 3}),
            "names are compared unescaped"
        );
        assert_eq!(merged(&json!({"q\"": null}), "{}"), json!({"q\"": null}));
        assert_eq!(merged(&json!({"a": 1}), "[1, 2]"), json!([1, 2]));
    }

    #[test]
    fn bytes_go_through_as_they_are_where_nothing_was_set() {
        let payload = Bytes::from_static(b" {\"n\": 1.0, \"big\": 123456789012345678901234567890} ");
        let passed = Defaults::default().under(&payload).unwrap();
        assert_eq!((passed.as_ptr(), passed.len()), (payload.as_ptr(), payload.len()));
    }

    #[test]
    fn numbers_keep_their_digits() {
        let payload = Bytes::from_static(b"{\"big\": 123456789012345678901234567890}");
        let bytes = defaults(&json!({"a": 1}), false).under(&payload).unwrap();
        assert_eq!(bytes, "{\"a\":1,\"big\": 123456789012345678901234567890}");
    }

    #[test]
    fn what_is_locked_may_not_be_named() {
        let locked = defaults(&json!({"a": 1, "free": null}), true);
        let under = |payload: &'static str| locked.under(&Bytes::from_static(payload.as_bytes()));
        assert_eq!(under(r#"{"a": 1}"#), Err(Unmerged::Locked));
        assert!(under(r#"{"free": 1}"#).is_ok(), "it was declared, not set");
        assert!(under(r#"{"b": 1}"#).is_ok());
        assert!(locked.locks("a") && !locked.locks("free") && !defaults(&json!({"a": 1}), false).locks("a"));
    }

    #[test]
    fn the_strongest_comes_last() {
        let (one, two) = (json!(1), json!(2));
        let set = Defaults::of([("a", &one, true), ("b", &one, true), ("a", &two, true)], false);
        assert_eq!(set.under(&Bytes::new()).unwrap(), r#"{"a":2,"b":1}"#);
        let told_otherwise = Defaults::of([("a", &one, false), ("b", &two, true)], true);
        assert_eq!(told_otherwise.under(&Bytes::new()).unwrap(), r#"{"b":2}"#);
        assert!(told_otherwise.locks("a"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["1", "\"x\"", "{", "{\"a\":}", "null", "{} x", "\u{feff}{}"] {
            assert!(shape(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(shape(b"{\"a\": \"\xff\"}").is_err());
        assert_eq!(shape(b"1"), Err(Malformed("JSON object expected".to_owned())));
    }

    proptest! {
        #[test]
        fn merging_is_what_it_is_for_maps(
            set in prop::collection::btree_map(".{0,4}", 0_i64..9, 0..5),
            over in prop::collection::btree_map(".{0,4}", 0_i64..9, 0..5),
        ) {
            let payload = Bytes::from(serde_json::to_vec(&over).unwrap());
            let bytes = defaults(&json!(set), false).under(&payload).unwrap();
            let mut wanted = set;
            wanted.extend(over);
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), json!(wanted));
        }
    }
}
