//! Reading a contract's settings: each by its name, with what it may be said when it is something else.

use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use xebec_core::{Error, revision::ContractSpec};

/// The settings of one contract, read one by one. What nobody asked for is refused at the end.
pub(crate) struct Settings<'a> {
    contract: &'a str,
    options: &'a BTreeMap<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Settings<'a> {
    pub(crate) fn of(spec: &'a ContractSpec) -> Self {
        Self { contract: &spec.name, options: &spec.options, known: Vec::new() }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Error> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// A whole number in `range`.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let must_be = format!("a whole number from {} to {}", range.start(), range.end());
        self.read(name, &must_be, |value| value.as_u64().filter(|number| range.contains(number)))
    }

    /// A duration: `"1m30s"`, or a number of seconds. 0 is `None`: no limit.
    pub(crate) fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, Error> {
        let read = self.read(name, "a duration such as \"30s\" or \"1m30s\", or seconds", duration)?;
        Ok(read.filter(|duration| !duration.is_zero()))
    }

    /// One of a few words; the first is the default.
    pub(crate) fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Result<T, Error> {
        let quoted: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let read = self.read(name, &quoted.join(" or "), |value| {
            let text = value.as_str()?;
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
        })?;
        Ok(read.unwrap_or(words[0].1))
    }

    /// Anything that `parse` takes.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        must_be: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.known.push(name);
        match self.options.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match parse(value) {
                Some(parsed) => Ok(Some(parsed)),
                None => Err(self.refuse(name, must_be, value)),
            },
        }
    }

    /// Two settings that exclude each other.
    pub(crate) fn both(&self, one: &str, other: &str) -> Error {
        let contract = self.contract;
        Error::invalid(
            "XB1003",
            format!("the contract {contract:?} can have the setting {one:?} or {other:?}, not both"),
        )
    }

    /// Refuses what no one asked for.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.options.keys().find(|name| !self.known.contains(&name.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(Error::invalid(
                "XB1003",
                format!("the contract {:?} has no setting {unknown:?}", self.contract),
            )
            .with_hint(match self.known.as_slice() {
                [] => "it has none".to_owned(),
                known => format!("it has: {}", known.join(", ")),
            })),
        }
    }

    fn refuse(&self, name: &str, must_be: &str, value: &Value) -> Error {
        Error::invalid(
            "XB1003",
            format!(
                "the setting {name:?} of the contract {:?} must be {must_be}, not {value}",
                self.contract
            ),
        )
    }
}

/// `"1h2m3.5s"` and kin, or seconds, as a number or a text.
fn duration(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(seconds) => Duration::try_from_secs_f64(seconds.as_f64()?).ok(),
        Value::String(text) => match text.parse() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Err(_) => crate::duration::parse(text),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn spec(options: Value) -> ContractSpec {
        serde_json::from_value(json!({"name": "toy", "options": options})).unwrap()
    }

    #[test]
    fn says_which_setting_what_it_may_be_and_what_it_was() {
        let spec = spec(json!({"port": "eighty"}));
        let error = Settings::of(&spec).number("port", 1..=65535).unwrap_err();
        assert_eq!(error.code, "XB1003");
        assert_eq!(
            error.message,
            r#"the setting "port" of the contract "toy" must be a whole number from 1 to 65535, not "eighty""#
        );
    }

    #[test]
    fn refuses_what_it_does_not_know_and_lists_what_it_does() {
        let spec = spec(json!({"prot": 80}));
        let mut settings = Settings::of(&spec);
        settings.number("port", 1..=65535).unwrap();
        let error = settings.finish().unwrap_err();
        assert_eq!(error.code, "XB1003");
        assert_eq!(error.to_string(), r#"the contract "toy" has no setting "prot" (it has: port)"#);
    }

    #[test]
    fn durations() {
        for (given, expected) in [
            (json!("1m30s"), Some(90.0)),
            (json!("1.5h"), Some(5400.0)),
            (json!("250ms"), Some(0.25)),
            (json!("10"), Some(10.0)),
            (json!(2.5), Some(2.5)),
            (json!("5 minutes"), None),
            (json!("s"), None),
            (json!("-1s"), None),
            (json!(-1), None),
            (json!([]), None),
        ] {
            assert_eq!(duration(&given).map(|d| d.as_secs_f64()), expected, "{given}");
        }
        let spec = spec(json!({"t": "0s"}));
        assert_eq!(Settings::of(&spec).duration("t").unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_durations_panic(text in "[0-9a-zµ. -]{0,24}") {
            let _ = duration(&json!(text));
        }
    }
}
