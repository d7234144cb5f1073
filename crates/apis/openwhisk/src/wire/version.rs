//! Versions of entities.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// `major.minor.patch`, not all of them 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SemVer(u32, u32, u32);

impl SemVer {
    /// What an update makes of it that names no version.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0, self.1, self.2.saturating_add(1))
    }
}

impl Default for SemVer {
    fn default() -> Self {
        Self(0, 0, 1)
    }
}

impl FromStr for SemVer {
    type Err = ();

    /// Parts at the end may be missing, and what follows the third is not looked at.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.').map(|part| match part.parse::<u32>() {
            Ok(number) if number <= i32::MAX as u32 => Ok(number),
            _ => Err(()),
        });
        let mut part = || parts.next().unwrap_or(Ok(0));
        match (part()?, part()?, part()?) {
            (0, 0, 0) => Err(()),
            (major, minor, patch) => Ok(Self(major, minor, patch)),
        }
    }
}

impl fmt::Display for SemVer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Serialize for SemVer {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SemVer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from).map_err(|_| malformed::<D::Error>())?;
        text.parse().map_err(|()| malformed())
    }
}

fn malformed<E: serde::de::Error>() -> E {
    E::custom("semantic version malformed")
}
