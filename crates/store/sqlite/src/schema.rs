//! The tables.

use xebec_sqlite::Migrations;

/// `documents` holds the last state, `changes` the last writes for watchers that were away, `counter` the
/// version of the last write and how many bytes of changes are kept. Times are nanoseconds since 1970.
pub(crate) const MIGRATIONS: Migrations = &["
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL,
    kept_bytes INTEGER NOT NULL
) STRICT;
INSERT INTO counter VALUES (1, 0, 0);

CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    labels TEXT NOT NULL,
    status TEXT NOT NULL,
    spec TEXT NOT NULL,
    UNIQUE (kind, namespace, name)
) STRICT;

CREATE TABLE labels (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    PRIMARY KEY (key, value, document)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_of_document ON labels (document);

CREATE TABLE changes (
    version INTEGER PRIMARY KEY,
    deleted INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    labels TEXT NOT NULL,
    status TEXT NOT NULL,
    spec TEXT NOT NULL
) STRICT;
"];
