//! What a request asks for behind the question mark.

use crate::errors::Rejection;
use axum::extract::Query as Parameters;
use http::Uri;

/// How many things a list has where nobody says.
const DEFAULT_LIMIT: usize = 30;
/// How many things a list has at most; so many, too, where someone says 0.
pub(crate) const MAX_LIMIT: usize = 200;

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) skip: usize,
    pub(crate) limit: usize,
    /// Not the things, but how many there are.
    pub(crate) count: bool,
}

impl Query {
    /// # Errors
    /// 400 where it cannot be read.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Rejection> {
        let Parameters(pairs) = Parameters::try_from_uri(uri)
            .map_err(|error| Rejection::bad_request(format!("The query cannot be read: {error}")))?;
        Ok(Self(pairs))
    }

    /// A parameter; the first one counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that says yes or no; no where it is missing.
    ///
    /// # Errors
    /// 400 for anything else.
    pub(crate) fn flag(&self, name: &str, otherwise: bool) -> Result<bool, Rejection> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(otherwise),
            Some("true" | "yes" | "on" | "1") => Ok(true),
            Some("false" | "no" | "off" | "0" | "") => Ok(false),
            Some(other) => Err(Rejection::bad_request(format!(
                "The query parameter '{name}' was malformed:\n'{other}' is not a valid Boolean value"
            ))),
        }
    }

    /// Which part of the list of a collection is asked for.
    ///
    /// # Errors
    /// 400 past the bounds.
    pub(crate) fn slice(&self, collection: &str) -> Result<Slice, Rejection> {
        let malformed = |name: &str, fault: String| {
            Rejection::bad_request(format!("The query parameter '{name}' was malformed:\n{fault}"))
        };
        let number = |name: &str| -> Result<Option<i32>, Rejection> {
            let Some(text) = self.get(name) else { return Ok(None) };
            let fault = || format!("The value '{text}' is not an integer for {collection}.");
            text.parse().map(Some).map_err(|_| malformed(name, fault()))
        };
        let skip = match number("skip")? {
            None => 0,
            Some(skip) => usize::try_from(skip).map_err(|_| {
                let fault = format!("The value '{skip}' is not greater than or equal to 0 for {collection}.");
                malformed("skip", fault)
            })?,
        };
        let limit = match number("limit")? {
            None => DEFAULT_LIMIT,
            Some(0) => MAX_LIMIT,
            Some(limit) => {
                usize::try_from(limit).ok().filter(|limit| *limit <= MAX_LIMIT).ok_or_else(|| {
                    let fault = format!(
                        "The value '{limit}' is not in the range of 0 to {MAX_LIMIT} for {collection}."
                    );
                    malformed("limit", fault)
                })?
            }
        };
        Ok(Slice { skip, limit, count: self.flag("count", false)? })
    }
}
