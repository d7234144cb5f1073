//! Pages of records, and how many there are.

use crate::{
    codes,
    filter::{Filter, Selection},
    origins::Names,
    rows::{self, signed, unsigned},
};
use xebec_core::{Error, record::RecordPage};
use xebec_sqlite::{
    Fault,
    rusqlite::{Connection, params_from_iter, types::Value},
};

/// A page ends where its answers have more bytes than this, however many were asked for.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Where a page ended: records are sorted by time, then by number.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    received: i64,
    seq: i64,
}

impl Place {
    fn text(self) -> String {
        format!("{:016x}{:016x}", self.received, self.seq)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let part = |range| {
            let digits: &str = text.get(range)?;
            u64::from_str_radix(digits, 16).ok().map(u64::cast_signed)
        };
        match (text.len(), part(0..16), part(16..32)) {
            (32, Some(received), Some(seq)) => Ok(Self { received, seq }),
            _ => Err(Error::invalid("XB4014", format!("{text:?} is not a cursor"))
                .with_hint("pass the cursor of the page before, unchanged, or none")),
        }
    }
}

/// What a page begins after, and where it ends.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) after: Option<Place>,
    pub(crate) skip: u64,
    pub(crate) limit: usize,
}

/// A page of records.
pub(crate) fn page(connection: &Connection, filter: &Filter, extent: Extent) -> Result<RecordPage, Fault> {
    let limit = extent.limit;
    let Some((sql, values)) = page_statement(connection, filter, extent)? else {
        return Ok(RecordPage::default());
    };
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut names = Names::default();
    let mut records = Vec::with_capacity(limit);
    let mut end = None;
    let mut answers = 0;
    while let Some(row) = rows.next()? {
        if records.len() == limit || answers > MAX_ANSWER_BYTES {
            return Ok(RecordPage { records, cursor: end.map(Place::text) });
        }
        end = Some(Place { received: row.get(3)?, seq: row.get(0)? });
        let record = rows::record(connection, row, &mut names)?;
        answers += record.noted.as_ref().map_or(0, |noted| noted.answer.len());
        records.push(record);
    }
    Ok(RecordPage { records, cursor: None })
}

fn page_statement(
    connection: &Connection,
    filter: &Filter,
    Extent { after, skip, limit }: Extent,
) -> Result<Option<(String, Vec<Value>)>, Fault> {
    let Some(mut selection) = filter.select(connection)? else { return Ok(None) };
    let skip = match after {
        Some(Place { received, seq }) => {
            selection.before(received, seq);
            0
        }
        None => signed(skip),
    };
    // One more than asked for tells whether there is another page.
    selection.values.extend([Value::from(limit as i64 + 1), Value::from(skip)]);
    let last = selection.values.len();
    let sql = format!(
        "SELECT {} FROM {} ORDER BY received DESC, seq DESC LIMIT ?{} OFFSET ?{last}",
        rows::columns(filter.with_answers()),
        selection.source(),
        last - 1
    );
    Ok(Some((sql, selection.values)))
}

/// Successes are counted as all but the failures, which indexes answer without reading a record.
pub(crate) fn count(connection: &Connection, mut filter: Filter) -> Result<u64, Fault> {
    let only_successes = filter.outcome == Some(codes::SUCCESS);
    if only_successes {
        filter.outcome = None;
    }
    let Some(selection) = filter.select(connection)? else { return Ok(0) };
    let count = |selection: &Selection| -> Result<u64, Fault> {
        let sql = format!("SELECT count(*) FROM {}", selection.source());
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(unsigned(statement.query_row(params_from_iter(&selection.values), |row| row.get(0))?))
    };
    let found = count(&selection)?;
    let failures = if only_successes { count(&selection.failures())? } else { 0 };
    Ok(found.saturating_sub(failures))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origins::Origins;
    use xebec_core::{
        FunctionKey, InvocationId, Tenant,
        record::{Filed, RecordQuery},
    };

    #[test]
    fn every_question_has_an_index() {
        let connection = Connection::open_in_memory().unwrap();
        crate::schema::MIGRATIONS.iter().for_each(|step| connection.execute_batch(step).unwrap());
        let (tenant, now) = (Tenant::new("t"), jiff::Timestamp::now());
        let function = FunctionKey::new(&tenant, "native", "f");
        let filed = Filed { tenant: tenant.clone(), name: "pkg/f".into() };
        let mut origins = Origins::default();
        origins.function(&connection, &function).unwrap();
        origins.list(&connection, &filed).unwrap();
        let base = RecordQuery::default();
        let filed_for = RecordQuery { filed_for: Some(tenant.clone()), ..base.clone() };
        let filed_as = RecordQuery { filed_as: Some(filed.name.clone()), ..filed_for.clone() };
        for (query, index) in [
            (base.clone(), "records_by_time"),
            (RecordQuery { function: Some(function.clone()), ..base.clone() }, "records_by_function"),
            (RecordQuery { tenant: Some(tenant.clone()), ..base.clone() }, "records_by_tenant"),
            (filed_as.clone(), "filed"),
            (filed_for, "filed_for"),
            (RecordQuery { cause: Some(InvocationId::new()), ..filed_as }, "parts"),
        ] {
            for (outcome, index) in [
                (None, index),
                (Some("success"), index),
                (
                    Some("crash"),
                    &*index.replace("records_by_time", "failures").replace("records", "failures"),
                ),
            ] {
                for time in [None, Some(now)] {
                    for after in [None, Some(Place { received: 1, seq: 1 })] {
                        let outcome = outcome.map(str::to_owned);
                        let query = RecordQuery { outcome, since: time, until: time, ..query.clone() };
                        let plan = plan(&connection, &query, after);
                        assert!(
                            plan.contains(&format!("INDEX {index} ")) || plan.ends_with(index),
                            "{query:?}: {plan}"
                        );
                        assert!(!plan.contains("TEMP B-TREE"), "{query:?}: {plan}");
                    }
                }
            }
        }
    }

    /// How SQLite would find what a query asks for.
    fn plan(connection: &Connection, query: &RecordQuery, after: Option<Place>) -> String {
        let filter = Filter::of(query).unwrap();
        let (sql, values) =
            page_statement(connection, &filter, Extent { after, skip: 3, limit: 10 }).unwrap().unwrap();
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
    }
}
