//! What statements cost: every one finds its rows by an index.

use crate::{schema::MIGRATIONS, sql};
use xebec_sqlite::{
    Options,
    rusqlite::{Connection, params_from_iter, types::Value},
};

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let values = vec![Value::Integer(1); explain.parameter_count()];
    let steps = explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
    steps.collect::<Result<Vec<_>, _>>().unwrap()
}

#[test]
fn every_statement_uses_an_index() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queue.db");
    let (connection, _reading) = xebec_sqlite::split(&file, MIGRATIONS, Options::default()).unwrap();
    for (name, sql) in sql::ALL {
        for step in plan(&connection, sql) {
            // A scan of an index in its order, up to a limit, is as good as a search.
            let by_index = step.starts_with("SEARCH")
                || (step.contains("USING") && step.contains("INDEX") && *name == "BLOBS")
                || step.starts_with("SCALAR SUBQUERY");
            assert!(by_index, "{name}: {step}");
        }
    }
}

#[test]
fn claims_come_in_the_order_of_the_index() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queue.db");
    let (connection, _reading) = xebec_sqlite::split(&file, MIGRATIONS, Options::default()).unwrap();
    for (sql, index) in [
        (sql::IN_TURN, "messages_in_turn (lane=? AND held=?)"),
        (sql::FIRST_DUE, "messages_in_turn (lane=? AND held=? AND priority=?)"),
        (sql::TURNED_DUE, "messages_delayed (lane=? AND due<?)"),
        (sql::NEXT_DUE, "messages_delayed (lane=?)"),
        (sql::FRONT, "messages_of_key (lane=? AND key=? AND held=?)"),
        (sql::BEHIND, "messages_of_key (lane=? AND key=? AND held=?)"),
        (sql::NEXT_DEAD, "messages_dead (lane=? AND seq>?)"),
        (sql::OLD_DEAD, "messages_dead_since (since<?)"),
        (sql::ENTRY_BY_ID, "messages_by_id (id=?)"),
    ] {
        let plan = plan(&connection, sql).join("; ");
        assert!(plan.contains(index), "{sql}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}
