//! The tables.

use xebec_sqlite::Migrations;

/// About how many bytes a record took with its indexes before anything was noted of one.
macro_rules! plain_record_bytes {
    () => {
        "160 + coalesce(octet_length(revision), 0) + coalesce(octet_length(instance), 0)
             + coalesce(octet_length(message), 0)"
    };
}

/// About how many bytes a record takes with its indexes: its numbers, what it has of text, and what was noted.
macro_rules! record_bytes {
    () => {
        concat!(
            $crate::schema::plain_record_bytes!(),
            "+ 64 * (filed IS NOT NULL) + 48 * (cause IS NOT NULL)
             + coalesce(octet_length(details), 0) + coalesce(octet_length(answer), 0)"
        )
    };
}

/// About how many bytes a line takes with its indexes.
macro_rules! line_bytes {
    () => {
        "100 + octet_length(text)"
    };
}

/// About how many bytes a kept request takes.
macro_rules! request_bytes {
    () => {
        "60 + octet_length(head) + octet_length(body)"
    };
}

pub(crate) use {line_bytes, plain_record_bytes, record_bytes, request_bytes};

/// Times are nanoseconds since 1970. `seq` tells apart what came at the same time. Failures have indexes
/// of their own: they are few, and looked for among many successes. So have records of second and later
/// attempts, and those that a door filed in a list of its own or that are parts of another call; the lists have
/// numbers as functions have. An answer is the last column: it is not read where nobody asks for it. `kept` has what its tables hold, in entries and about in bytes; that of `records` counts
/// `requests`, too.
pub(crate) const MIGRATIONS: Migrations = &[
    "
CREATE TABLE tenants (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE functions (
    id INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    door TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (tenant, door, name)
) STRICT;
CREATE TABLE instances (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    tenant INTEGER NOT NULL,
    function INTEGER NOT NULL,
    received INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    clock INTEGER,
    cold INTEGER NOT NULL,
    wait_us INTEGER NOT NULL,
    first_byte_us INTEGER NOT NULL,
    run_us INTEGER NOT NULL,
    status INTEGER,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    revision BLOB,
    instance TEXT,
    message TEXT
) STRICT;
CREATE UNIQUE INDEX records_by_id ON records (id);
CREATE INDEX records_by_time ON records (received);
CREATE INDEX records_by_function ON records (function, received);
CREATE INDEX records_by_tenant ON records (tenant, received);
CREATE INDEX failures ON records (outcome, received) WHERE outcome <> 0;
CREATE INDEX failures_by_function ON records (function, outcome, received) WHERE outcome <> 0;
CREATE INDEX failures_by_tenant ON records (tenant, outcome, received) WHERE outcome <> 0;

CREATE TABLE logs (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    function INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    invocation BLOB,
    stream INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX logs_by_time ON logs (time);
CREATE INDEX logs_by_function ON logs (function, time);
CREATE INDEX logs_by_instance ON logs (instance, time);
CREATE INDEX logs_by_invocation ON logs (invocation, time) WHERE invocation IS NOT NULL;
",
    concat!(
        "
ALTER TABLE records ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
CREATE INDEX retried ON records (received) WHERE attempt > 1;

CREATE TABLE requests (
    id BLOB PRIMARY KEY NOT NULL,
    head BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE kept (
    name TEXT PRIMARY KEY NOT NULL,
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO kept SELECT 'records', count(*), coalesce(sum(",
        plain_record_bytes!(),
        "), 0) FROM records;
INSERT INTO kept SELECT 'logs', count(*), coalesce(sum(",
        line_bytes!(),
        "), 0) FROM logs;
"
    ),
    "
CREATE TABLE lists (
    id INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (tenant, name)
) STRICT;

ALTER TABLE records ADD COLUMN init_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN filed_for INTEGER;
ALTER TABLE records ADD COLUMN filed INTEGER;
ALTER TABLE records ADD COLUMN cause BLOB;
ALTER TABLE records ADD COLUMN details TEXT;
ALTER TABLE records ADD COLUMN answer BLOB;
CREATE INDEX filed ON records (filed, received) WHERE filed IS NOT NULL;
CREATE INDEX filed_for ON records (filed_for, received) WHERE filed_for IS NOT NULL;
CREATE INDEX parts ON records (cause, received) WHERE cause IS NOT NULL;
",
];

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_sqlite::rusqlite::Connection;

    #[test]
    fn what_an_older_version_kept_is_counted() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        let rows = "
            INSERT INTO records (id, tenant, function, received, outcome, cold, wait_us, first_byte_us, run_us,
                                 request_bytes, response_bytes, instance, message)
            VALUES (x'01', 1, 1, 1, 0, 0, 1, 2, 3, 4, 5, 'i', 'é');
            INSERT INTO logs (time, function, instance, stream, text) VALUES (1, 1, 1, 0, 'line');";
        connection.execute_batch(rows).unwrap();
        connection.execute_batch(MIGRATIONS[1]).unwrap();
        let kept = |name: &str| {
            let sql = "SELECT entries, bytes FROM kept WHERE name = ?1";
            connection.query_row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        assert_eq!((kept("records"), kept("logs")), ((1, 163), (1, 104)));
        let attempt: u32 = connection.query_row("SELECT attempt FROM records", [], |row| row.get(0)).unwrap();
        assert_eq!(attempt, 0);
        connection.execute_batch(MIGRATIONS[2]).unwrap();
        let counted = concat!("SELECT ", record_bytes!(), " FROM records");
        let bytes: i64 = connection.query_row(counted, [], |row| row.get(0)).unwrap();
        assert_eq!(bytes, 163, "what goes counts as it did when it came");
    }
}
