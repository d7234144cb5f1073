//! Sizes and lengths of time, as people write them.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type},
};

/// A number of bytes, written with a unit: `64KiB`, `128MiB`, `1GiB`, `500MB`; bare digits are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let factor: u64 = match unit.trim() {
            "" | "B" => 1,
            "k" | "K" | "kB" | "KB" => 1_000,
            "M" | "MB" => 1_000_000,
            "G" | "GB" => 1_000_000_000,
            "Ki" | "KiB" => 1 << 10,
            "Mi" | "MiB" => 1 << 20,
            "Gi" | "GiB" => 1 << 30,
            other => return Err(format!("{other:?} is not a unit of bytes; use KiB, MiB or GiB")),
        };
        let number: f64 =
            number.parse().map_err(|_| format!("{text:?} is not a number of bytes such as 128MiB"))?;
        let bytes = number * factor as f64;
        if !(bytes.is_finite() && bytes < 9e15) {
            return Err(format!("{text:?} is too large"));
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n % (1 << 30) == 0 => write!(f, "{}GiB", n >> 30),
            n if n > 0 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n > 0 && n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}"),
        }
    }
}

/// A length of time, written with units: `500ms`, `30s`, `5m`, `1h30m`, `7d`; bare digits are seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seconds) = text.trim().parse::<u32>() {
            return Ok(Self(Duration::from_secs(seconds.into())));
        }
        // A day is 24 hours here: what is measured is time that passes, not dates.
        let span = text.trim().parse::<jiff::Span>();
        let span = span.and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()));
        let span = span.map_err(|_| format!("{text:?} is not a length of time such as 30s or 5m"))?;
        let span = Duration::try_from(span).map_err(|_| format!("{text:?} is negative"))?;
        Ok(Self(span))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            n if n % 1000 == 0 => write!(f, "{}s", n / 1000),
            n => write!(f, "{n}ms"),
        }
    }
}

/// Both are written as text; numbers are taken as well.
macro_rules! as_text {
    ($name:ident, $described:literal, $example:literal) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new().schema_type(Type::String).examples([$example]);
                let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
                OneOfBuilder::new().description(Some($described)).item(text).item(number).into()
            }
        }

        impl ToSchema for $name {}

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Form {
                    Number(u64),
                    Text(String),
                }
                let text = match Form::deserialize(from)? {
                    Form::Number(number) => number.to_string(),
                    Form::Text(text) => text,
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(Bytes, "A number of bytes: with a unit (`64KiB`, `128MiB`, `1GiB`, `500MB`) or bare", "128MiB");
as_text!(Span, "A length of time: with units (`500ms`, `30s`, `5m`, `1h30m`, `7d`) or bare seconds", "30s");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_spans_read_what_people_write() {
        assert_eq!("128MiB".parse(), Ok(Bytes(128 << 20)));
        assert_eq!("1.5 GiB".parse(), Ok(Bytes(3 << 29)));
        assert_eq!("500".parse(), Ok(Bytes(500)));
        assert!("12 parsecs".parse::<Bytes>().is_err());
        assert!("MiB".parse::<Bytes>().is_err());
        assert_eq!("30s".parse(), Ok(Span(Duration::from_secs(30))));
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("1h30m".parse(), Ok(Span(Duration::from_secs(5400))));
        assert_eq!("45".parse(), Ok(Span(Duration::from_secs(45))));
        assert_eq!("7d".parse(), Ok(Span(Duration::from_secs(7 * 86_400))));
        assert_eq!("1d12h".parse(), Ok(Span(Duration::from_secs(36 * 3600))));
        assert!("d".parse::<Span>().is_err());
        assert!("1 month".parse::<Span>().is_err());
        assert!("-3s".parse::<Span>().is_err());
        assert!("soon".parse::<Span>().is_err());
    }

    #[test]
    fn bytes_and_spans_come_back_as_written() {
        for text in ["128MiB", "1GiB", "3KiB", "500"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        for text in ["30s", "1500ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
