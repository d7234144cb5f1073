//! The tables.

use xebec_sqlite::Migrations;

/// What is in `messages.phase`. Statements have the numbers in them, since partial indexes are chosen by them.
pub(crate) mod phase {
    /// Waits, and is not yet due.
    pub(crate) const DELAYED: i64 = 0;
    /// Waits, and was due at some time; that holds even if the clock is set back.
    pub(crate) const DUE: i64 = 1;
    /// Someone has claimed it.
    pub(crate) const RUNNING: i64 = 2;
    /// A dead letter.
    pub(crate) const DEAD: i64 = 3;
}

/// `messages` has what changes about a message, lane by lane, `contents` what does not. `held` are those that
/// wait behind another of their key. Times are nanoseconds since 1970.
pub(crate) const MIGRATIONS: Migrations = &["
CREATE TABLE lanes (
    lane INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    queue TEXT NOT NULL,
    target TEXT NOT NULL,
    UNIQUE (tenant, queue, target)
) STRICT;

CREATE TABLE messages (
    lane INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    phase INTEGER NOT NULL,
    held INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    due INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    key TEXT,
    blob BLOB,
    why TEXT,
    death TEXT,
    since INTEGER,
    PRIMARY KEY (lane, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX messages_by_id ON messages (id);
CREATE INDEX messages_in_turn ON messages (lane, held, priority DESC, due, seq) WHERE phase = 1;
CREATE INDEX messages_delayed ON messages (lane, due) WHERE phase = 0;
CREATE INDEX messages_of_key ON messages (lane, key, held, seq) WHERE key IS NOT NULL AND phase < 3;
CREATE INDEX messages_dead ON messages (lane, seq) WHERE phase = 3;
CREATE INDEX messages_dead_since ON messages (since) WHERE phase = 3;
CREATE INDEX messages_with_blob ON messages (blob) WHERE blob IS NOT NULL;

CREATE TABLE contents (
    seq INTEGER PRIMARY KEY,
    head BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE idempotency (
    lane INTEGER NOT NULL,
    key TEXT NOT NULL,
    id BLOB NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (lane, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_until ON idempotency (until);

CREATE TABLE pauses (place TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
"];
