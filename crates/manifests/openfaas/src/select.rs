//! Which functions of a file are meant.

use crate::glob;
use regex::{Regex, RegexBuilder};

/// How much memory a pattern may take, in bytes.
const MAX_PATTERN: usize = 1024 * 1024;

/// Which functions are meant, by name.
#[derive(Clone, Debug, Default)]
pub enum Selection {
    /// All.
    #[default]
    All,
    /// Those that a wildcard matches whole.
    Filter(String),
    /// Those in which an expression is found.
    Regex(Regex),
}

impl Selection {
    /// Those in which `expression` is found.
    ///
    /// # Errors
    /// Why it is none.
    pub fn regex(expression: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(expression).size_limit(MAX_PATTERN).build();
        built.map(Self::Regex).map_err(|error| error.to_string())
    }

    /// Whether a function of this name is meant.
    pub fn takes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            // No name has what `?` and `[` could stand for but letters, so they are as good as in a shell.
            Self::Filter(pattern) => {
                glob::matches(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
            }
            Self::Regex(expression) => expression.is_match(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_whole_names_and_expressions_parts() {
        assert!(Selection::All.takes("x"));
        let filter = Selection::Filter("*gif*".to_owned());
        assert!(filter.takes("my-gif") && !filter.takes("jpg"));
        assert!(!Selection::Filter("gif".to_owned()).takes("my-gif"));
        let regex = Selection::regex("fn[0-9]+").unwrap();
        assert!(regex.takes("my-fn12-x") && !regex.takes("fn"));
        assert!(Selection::regex("(").is_err());
    }
}
