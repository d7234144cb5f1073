//! Which records a query means, and by which index they are found.

use crate::{codes, origins};
use xebec_core::{Error, record::RecordQuery};
use xebec_sqlite::{
    Fault,
    rusqlite::{Connection, types::Value},
    time::to_nanoseconds,
};

/// A query whose outcome is known to be one.
pub(crate) struct Filter {
    query: RecordQuery,
    pub(crate) outcome: Option<i64>,
}

/// A filter as SQL: what [`Selection::source`] says, with these values.
pub(crate) struct Selection {
    scope: Scope,
    terms: Vec<String>,
    pub(crate) values: Vec<Value>,
    failures: bool,
    retried: bool,
}

/// Whose records.
#[derive(Clone, Copy)]
enum Scope {
    All,
    Tenant,
    Function,
    /// In any list of a tenant.
    FiledFor,
    /// In one list.
    Filed,
    /// Parts of a call.
    Parts,
}

impl Filter {
    pub(crate) fn of(query: &RecordQuery) -> Result<Self, Error> {
        let number = |name: &String| {
            codes::of_name(name).ok_or_else(|| {
                Error::invalid("XB4015", format!("{name:?} is not an outcome"))
                    .with_hint(format!("one of {}", codes::names()))
            })
        };
        if query.filed_as.is_some() && query.filed_for.is_none() {
            let why = "under which name records are filed says nothing without for whom";
            return Err(Error::invalid("XB1009", why));
        }
        Ok(Self { outcome: query.outcome.as_ref().map(number).transpose()?, query: query.clone() })
    }

    /// Whether what was kept of answers is asked for.
    pub(crate) fn with_answers(&self) -> bool {
        self.query.answers
    }

    /// The selection; `None` where nothing can match, as nothing was ever recorded of that function or tenant.
    pub(crate) fn select(&self, connection: &Connection) -> Result<Option<Selection>, Fault> {
        let query = &self.query;
        let failures = self.outcome.is_some_and(|outcome| outcome != codes::SUCCESS);
        let mut selection = Selection {
            scope: Scope::All,
            terms: Vec::new(),
            values: Vec::new(),
            failures,
            retried: query.attempt.is_some_and(|attempt| attempt > 1),
        };
        if let Some(key) = &query.function {
            if query.tenant.as_ref().is_some_and(|tenant| *tenant != key.tenant) {
                return Ok(None);
            }
            let Some(function) = origins::function(connection, key)? else { return Ok(None) };
            selection.scope = Scope::Function;
            selection.term("function =", function);
        } else if let Some(tenant) = &query.tenant {
            let Some(tenant) = origins::tenant(connection, tenant)? else { return Ok(None) };
            selection.scope = Scope::Tenant;
            selection.term("tenant =", tenant);
        }
        if let Some(tenant) = &query.filed_for {
            let Some(tenant) = origins::tenant(connection, tenant)? else { return Ok(None) };
            if let Some(name) = &query.filed_as {
                let Some(list) = origins::list(connection, tenant, name)? else { return Ok(None) };
                selection.scope = Scope::Filed;
                selection.term("filed =", list);
            } else {
                selection.scope = Scope::FiledFor;
                selection.term("filed_for =", tenant);
            }
        }
        if let Some(cause) = query.cause {
            selection.scope = Scope::Parts;
            selection.term("cause =", cause.0.as_bytes().to_vec());
        }
        if let Some(since) = query.since {
            selection.term("received >=", to_nanoseconds(since));
        }
        if let Some(until) = query.until {
            selection.term("received <", to_nanoseconds(until));
        }
        if let Some(outcome) = self.outcome {
            selection.term("outcome =", outcome);
        }
        if let Some(attempt) = query.attempt {
            selection.term("attempt >=", i64::from(attempt));
        }
        Ok(Some(selection))
    }
}

impl Selection {
    fn term(&mut self, term: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.terms.push(format!("{term} ?{}", self.values.len()));
    }

    /// Narrows it to what comes after a place, in the order of time and number, newest first.
    pub(crate) fn before(&mut self, received: i64, seq: i64) {
        self.values.extend([Value::from(received), Value::from(seq)]);
        let last = self.values.len();
        self.terms.push(format!("(received, seq) < (?{}, ?{last})", last - 1));
    }

    /// Narrows it to failures.
    pub(crate) fn failures(mut self) -> Self {
        self.failures = true;
        self
    }

    /// `records INDEXED BY … WHERE …`. The index is named, since SQLite, which does not know how few
    /// failures there are, would sometimes take another.
    pub(crate) fn source(&self) -> String {
        let index = match (self.scope, self.failures) {
            (Scope::Parts, _) => "parts",
            (Scope::Filed, _) => "filed",
            (Scope::FiledFor, _) => "filed_for",
            // They are fewest of all.
            _ if self.retried => "retried",
            (Scope::All, false) => "records_by_time",
            (Scope::Tenant, false) => "records_by_tenant",
            (Scope::Function, false) => "records_by_function",
            (Scope::All, true) => "failures",
            (Scope::Tenant, true) => "failures_by_tenant",
            (Scope::Function, true) => "failures_by_function",
        };
        let mut condition = self.terms.join(" AND ");
        // What the indexes of some hold.
        for (some, term) in [(self.failures, "outcome <> 0"), (self.retried, "attempt > 1")] {
            if some {
                condition += if condition.is_empty() { "" } else { " AND " };
                condition += term;
            }
        }
        if condition.is_empty() {
            condition.push_str("TRUE");
        }
        format!("records INDEXED BY {index} WHERE {condition}")
    }
}
