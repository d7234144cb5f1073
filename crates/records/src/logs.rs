//! Lines that functions printed.

use crate::{
    bounds::{self, Kept, Table},
    codes,
    origins::{self, Names, Origins},
    schema::line_bytes,
};
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;
use xebec_core::{
    Error, FunctionKey, InvocationId,
    log::{LogLine, LogQuery},
    ports::records::{Logs, Retention},
};
use xebec_sqlite::{
    Database, Fault, Job,
    rusqlite::{Connection, Row, params, params_from_iter, types::Value},
    time::{from_nanoseconds, to_nanoseconds},
};

/// The most lines that a query returns: the last ones.
pub const MAX_LINES: u32 = 10_000;

const TABLE: Table = Table { name: "logs", time: "time", delete };

/// Lines in SQLite.
#[derive(Clone)]
pub struct SqliteLogs(pub(crate) Arc<Database>);

#[async_trait]
impl Logs for SqliteLogs {
    async fn append(&self, lines: Vec<LogLine>) -> Result<(), Error> {
        if lines.is_empty() { Ok(()) } else { self.0.write(Append(lines)).await }
    }

    async fn query(&self, query: &LogQuery) -> Result<Vec<LogLine>, Error> {
        let query = query.clone();
        self.0.read(move |connection| lines(connection, &query)).await
    }

    async fn trim(&self, retention: &Retention) -> Result<u64, Error> {
        bounds::trim(&self.0, TABLE, retention).await
    }

    async fn forget(&self, function: &FunctionKey) -> Result<(), Error> {
        let key = function.clone();
        let found = self.0.read(move |connection| origins::function(connection, &key));
        let Some(function) = found.await? else { return Ok(()) };
        bounds::delete_where(&self.0, TABLE, "function = ?1", Value::from(function)).await
    }
}

struct Append(Vec<LogLine>);

impl Job for Append {
    type Output = ();

    fn run(&mut self, connection: &Connection) -> Result<(), Fault> {
        let mut origins = Origins::default();
        let mut insert = connection.prepare_cached(concat!(
            "INSERT INTO logs (time, function, instance, invocation, stream, text)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING ",
            line_bytes!()
        ))?;
        let mut change = Kept::default();
        for line in &self.0 {
            let values = params![
                to_nanoseconds(line.time),
                origins.function(connection, &line.function)?.id,
                origins.instance(connection, &line.instance)?,
                line.invocation.as_ref().map(|id| id.0.as_bytes().as_slice()),
                codes::of_stream(line.stream),
                line.text,
            ];
            change.add(insert.query_row(values, |row| row.get(0))?);
        }
        change.change(connection, TABLE.name)
    }

    fn settle(self) {}
}

fn delete(connection: &Connection, seq: i64) -> Result<i64, Fault> {
    let sql = concat!("DELETE FROM logs WHERE seq = ?1 RETURNING ", line_bytes!());
    Ok(connection.prepare_cached(sql)?.query_row([seq], |row| row.get(0))?)
}

fn lines(connection: &Connection, query: &LogQuery) -> Result<Vec<LogLine>, Fault> {
    let mut terms = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    // The narrowest comes first and picks the index; `+` keeps the others from doing so.
    let mut term = |column: &str, value: Value| {
        let plus = if values.is_empty() { "" } else { "+" };
        values.push(value);
        terms.push(format!("{plus}{column} = ?{}", values.len()));
    };
    if let Some(invocation) = &query.invocation {
        term("invocation", Value::from(invocation.0.as_bytes().to_vec()));
    }
    if let Some(name) = &query.instance {
        let Some(instance) = origins::instance(connection, name)? else { return Ok(Vec::new()) };
        term("instance", Value::from(instance));
    }
    if let Some(key) = &query.function {
        let Some(function) = origins::function(connection, key)? else { return Ok(Vec::new()) };
        term("function", Value::from(function));
    }
    if let Some(since) = query.since {
        values.push(Value::from(to_nanoseconds(since)));
        terms.push(format!("time >= ?{}", values.len()));
    }
    values.push(Value::from(query.tail.unwrap_or(MAX_LINES).min(MAX_LINES)));
    let condition = if terms.is_empty() { "TRUE".to_owned() } else { terms.join(" AND ") };
    let sql = format!(
        "SELECT time, function, instance, invocation, stream, text FROM logs WHERE {condition}
         ORDER BY time DESC, seq DESC LIMIT ?{}",
        values.len()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut names = Names::default();
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(line(connection, row, &mut names)?);
    }
    lines.reverse();
    Ok(lines)
}

fn line(connection: &Connection, row: &Row<'_>, names: &mut Names) -> Result<LogLine, Fault> {
    Ok(LogLine {
        time: from_nanoseconds(row.get(0)?),
        function: names.function(connection, row.get(1)?)?,
        instance: names.instance(connection, row.get(2)?)?,
        invocation: row.get::<_, Option<[u8; 16]>>(3)?.map(|id| InvocationId(Uuid::from_bytes(id))),
        stream: codes::stream(row.get(4)?),
        text: row.get(5)?,
    })
}
