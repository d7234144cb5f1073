//! The queue in SQLite.
