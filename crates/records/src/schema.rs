//! The tables.

use xebec_sqlite::Migrations;

/// Times are nanoseconds since 1970. `seq` tells apart what came at the same time. Failures have indexes
/// of their own: they are few, and looked for among many successes.
pub(crate) const MIGRATIONS: Migrations = &["
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
"];
