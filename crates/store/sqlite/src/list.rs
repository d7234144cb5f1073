//! Listing documents.

use crate::rows::{self, columns};
use std::cmp::Ordering;
use xebec_core::document::{List, ListQuery};
use xebec_sqlite::{
    Fault,
    rusqlite::{Connection, params_from_iter, types::Value},
};

/// Lists in the snapshot that `connection` reads from.
pub(crate) fn list(connection: &Connection, query: &ListQuery) -> Result<List, Fault> {
    let version = rows::last_version(connection)?;
    let (sql, values) = statement(query);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query(params_from_iter(values))?;
    let mut documents = Vec::with_capacity(query.limit.min(1000));
    while let Some(row) = found.next()? {
        if query.limit > 0 && documents.len() == query.limit {
            return Ok(List { documents, version, more: true });
        }
        documents.push(rows::document(row)?);
    }
    Ok(List { documents, version, more: false })
}

/// The statement and its values. Where labels are asked for, the first leads (hence `CROSS JOIN`, which
/// fixes the order): a selection costs what it finds, not what there is.
fn statement(query: &ListQuery) -> (String, Vec<Value>) {
    let mut values = Vec::new();
    let mut value = |text: &str| {
        values.push(Value::from(text.to_owned()));
        format!("?{}", values.len())
    };
    let mut labels = query.labels.iter();
    let mut sql = concat!("SELECT ", columns!("d."), " FROM ").to_owned();
    match labels.next() {
        None => sql += &format!("documents d WHERE d.kind = {}", value(&query.kind)),
        Some((key, wanted)) => {
            sql += &format!(
                "labels l CROSS JOIN documents d ON d.id = l.document
                 WHERE l.key = {} AND l.value = {} AND d.kind = {}",
                value(key),
                value(wanted),
                value(&query.kind)
            );
        }
    }
    for (key, wanted) in labels {
        sql += &format!(
            " AND EXISTS (SELECT 1 FROM labels WHERE key = {} AND value = {} AND document = d.id)",
            value(key),
            value(wanted)
        );
    }
    if let Some(namespace) = &query.namespace {
        sql += &format!(" AND d.namespace = {}", value(namespace));
    }
    sql += &match (&query.namespace, &query.after) {
        (_, None) => String::new(),
        // Within one namespace the name alone tells, and only so the index gives the order, too.
        (Some(within), Some((namespace, name))) => match namespace.cmp(within) {
            Ordering::Less => String::new(),
            Ordering::Equal => format!(" AND d.name > {}", value(name)),
            Ordering::Greater => " AND FALSE".to_owned(),
        },
        (None, Some((namespace, name))) => {
            format!(" AND (d.namespace, d.name) > ({}, {})", value(namespace), value(name))
        }
    };
    // One more than asked for tells whether there is more; a negative limit is none.
    let limit = if query.limit == 0 { -1 } else { rows::signed(query.limit as u64).saturating_add(1) };
    values.push(Value::from(limit));
    sql += &format!(" ORDER BY d.namespace, d.name LIMIT ?{}", values.len());
    (sql, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How SQLite would find what a query asks for.
    fn plan(query: &ListQuery) -> String {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(crate::schema::MIGRATIONS[0]).unwrap();
        let (sql, values) = statement(query);
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
    }

    #[test]
    fn a_page_costs_what_it_holds() {
        let after = |namespace: &str| Some((namespace.to_owned(), "x".to_owned()));
        for namespace in [None, Some("n".to_owned())] {
            for after in [None, after("a"), after("n"), after("z")] {
                let query =
                    ListQuery { namespace: namespace.clone(), after, limit: 10, ..ListQuery::default() };
                let plan = plan(&query);
                assert!(plan.starts_with("SEARCH d USING INDEX"), "{query:?}: {plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{query:?}: {plan}");
            }
        }
    }

    #[test]
    fn a_selection_costs_what_it_finds() {
        let labels = [("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())].into();
        let plan = plan(&ListQuery { labels, ..ListQuery::default() });
        assert!(plan.starts_with("SEARCH l USING PRIMARY KEY (key=? AND value=?)"), "{plan}");
        assert!(!plan.contains("SCAN"), "{plan}");
    }
}
