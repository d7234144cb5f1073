//! Documents as rows.

use xebec_core::{
    Error,
    document::{Document, DocumentKey},
};
use xebec_sqlite::{
    Fault,
    rusqlite::{Connection, OptionalExtension as _, Row},
    time::from_nanoseconds,
};

/// The columns that [`document`] reads, in its order.
macro_rules! columns {
    ($prefix:literal) => {
        concat!(
            $prefix,
            "kind, ",
            $prefix,
            "namespace, ",
            $prefix,
            "name, ",
            $prefix,
            "version, ",
            $prefix,
            "generation, ",
            $prefix,
            "created, ",
            $prefix,
            "updated, ",
            $prefix,
            "labels, ",
            $prefix,
            "status, ",
            $prefix,
            "spec"
        )
    };
}
pub(crate) use columns;

/// A document of a row of [`columns`].
pub(crate) fn document(row: &Row<'_>) -> Result<Document, Fault> {
    let (kind, namespace, name) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let damaged = |error: serde_json::Error| {
        Error::internal("XB4003", format!("the document {kind} {namespace}/{name} is damaged: {error}"))
    };
    Ok(Document {
        version: unsigned(row.get(3)?),
        generation: unsigned(row.get(4)?),
        created: from_nanoseconds(row.get(5)?),
        updated: from_nanoseconds(row.get(6)?),
        labels: serde_json::from_str(text(row, 7)?).map_err(damaged)?,
        status: serde_json::from_str(text(row, 8)?).map_err(damaged)?,
        spec: serde_json::from_str(text(row, 9)?).map_err(damaged)?,
        kind,
        namespace,
        name,
    })
}

/// A column's text, without a copy.
fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<&'row str, Fault> {
    Ok(row.get_ref(column)?.as_str().map_err(xebec_sqlite::rusqlite::Error::from)?)
}

/// The document of that key.
pub(crate) fn find(connection: &Connection, key: &DocumentKey) -> Result<Option<Document>, Fault> {
    let sql =
        concat!("SELECT ", columns!(""), " FROM documents WHERE kind = ?1 AND namespace = ?2 AND name = ?3");
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((&key.kind, &key.namespace, &key.name))?;
    rows.next()?.map(document).transpose()
}

/// The version of the last write.
pub(crate) fn last_version(connection: &Connection) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached("SELECT version FROM counter")?;
    Ok(unsigned(statement.query_row([], |row| row.get(0))?))
}

/// The oldest version that a watch can start from, `last` being the last one.
pub(crate) fn oldest_version(connection: &Connection, last: u64) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached("SELECT version FROM changes ORDER BY version LIMIT 1")?;
    let first: Option<i64> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(first.map_or(last, |first| unsigned(first).saturating_sub(1)))
}

/// Versions and generations count from 0 in an `i64` that no store will ever fill.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The way back of [`unsigned`]; what is larger than any version there can be stays so.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
