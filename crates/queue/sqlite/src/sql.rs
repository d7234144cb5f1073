//! Every statement that is run while the queue is in use, in one place, so that a test can look at their plans.

/// Defines the statements, and [`ALL`] of them.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

statements! {
    FIND_LANE = "SELECT lane FROM lanes WHERE tenant = ?1 AND queue = ?2 AND target = ?3";
    ADD_LANE = "INSERT INTO lanes (tenant, queue, target) VALUES (?1, ?2, ?3)";
    FORGET_LANE = "DELETE FROM lanes WHERE lane = ?1
        AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.lane = ?1)
        AND NOT EXISTS (SELECT 1 FROM idempotency WHERE idempotency.lane = ?1)";

    ADD_MESSAGE = "INSERT INTO messages (lane, seq, id, phase, held, priority, due, bytes, key, blob)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING";
    ADD_CONTENT = "INSERT INTO contents (seq, head, body) VALUES (?1, ?2, ?3)";
    KNOWS_ID = "SELECT 1 FROM messages WHERE id = ?1";
    KNOWS_KEY = "SELECT id FROM idempotency WHERE lane = ?1 AND key = ?2 AND until > ?3";
    ADD_KEY = "INSERT INTO idempotency (lane, key, id, until) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (lane, key) DO UPDATE SET id = ?3, until = ?4";
    OLD_KEYS = "SELECT lane, key FROM idempotency WHERE until <= ?1 ORDER BY until LIMIT ?2";
    REMOVE_KEY = "DELETE FROM idempotency WHERE lane = ?1 AND key = ?2";

    IN_TURN = "SELECT m.seq, m.id, m.bytes, m.failures, m.refusals, m.interruptions, m.key, c.head, c.body
        FROM messages m CROSS JOIN contents c ON c.seq = m.seq
        WHERE m.lane = ?1 AND m.held = 0 AND m.phase = 1 ORDER BY m.priority DESC, m.due, m.seq LIMIT ?2";
    BEGIN = "UPDATE messages SET phase = 2 WHERE lane = ?1 AND seq = ?2";
    REMOVE_MESSAGE = "DELETE FROM messages WHERE lane = ?1 AND seq = ?2";
    REMOVE_CONTENT = "DELETE FROM contents WHERE seq = ?1";
    AGAIN = "UPDATE messages SET phase = ?3, held = ?4, due = ?5, failures = ?6, refusals = ?7,
        interruptions = ?8, why = ?9 WHERE lane = ?1 AND seq = ?2";
    STOP = "UPDATE messages SET phase = 1, held = ?3, interruptions = interruptions + ?4
        WHERE lane = ?1 AND seq = ?2";
    DIE = "UPDATE messages SET phase = 3, held = 0, cancelled = 0, since = ?3, death = ?4, failures = ?5,
        refusals = ?6, interruptions = ?7, why = ?8 WHERE lane = ?1 AND seq = ?2";
    MARK = "UPDATE messages SET cancelled = 1 WHERE lane = ?1 AND seq = ?2";
    REVIVE = "UPDATE messages SET phase = ?3, held = ?4, due = ?5, bytes = ?6, failures = 0, refusals = 0,
        interruptions = 0, why = NULL, death = NULL, since = NULL WHERE lane = ?1 AND seq = ?2";
    REWRITE = "UPDATE contents SET head = ?2 WHERE seq = ?1";

    TURNED_DUE = "SELECT seq, held FROM messages WHERE lane = ?1 AND phase = 0 AND due <= ?2
        ORDER BY due LIMIT ?3";
    BECOME_DUE = "UPDATE messages SET phase = 1 WHERE lane = ?1 AND seq = ?2";
    NEXT_DUE = "SELECT due FROM messages WHERE lane = ?1 AND phase = 0 ORDER BY due LIMIT 1";

    /// The one of a key that runs or may run.
    FRONT = "SELECT seq, phase FROM messages INDEXED BY messages_of_key WHERE lane = ?1 AND key = ?2 AND held = 0 AND phase < 3 LIMIT 1";
    /// The first that waits behind it.
    BEHIND = "SELECT seq, phase FROM messages INDEXED BY messages_of_key WHERE lane = ?1 AND key = ?2 AND held = 1 AND phase < 3
        ORDER BY seq LIMIT 1";
    HOLD = "UPDATE messages SET held = ?3 WHERE lane = ?1 AND seq = ?2";

    OLD_DEAD = "SELECT lane, seq, bytes FROM messages WHERE phase = 3 AND since <= ?1 ORDER BY since LIMIT ?2";

    ADD_PAUSE = "INSERT INTO pauses (place) VALUES (?1) ON CONFLICT DO NOTHING";
    REMOVE_PAUSE = "DELETE FROM pauses WHERE place = ?1";

    ENTRY_BY_ID = "SELECT m.lane, m.seq, m.phase, m.held, m.due, m.bytes, m.failures, m.refusals,
        m.interruptions, m.cancelled, m.key, m.why, m.death, m.since, c.head, c.body
        FROM messages m CROSS JOIN contents c ON c.seq = m.seq WHERE m.id = ?1";
    ENTRY_AT = "SELECT m.lane, m.seq, m.phase, m.held, m.due, m.bytes, m.failures, m.refusals,
        m.interruptions, m.cancelled, m.key, m.why, m.death, m.since, c.head, c.body
        FROM messages m CROSS JOIN contents c ON c.seq = m.seq WHERE m.lane = ?1 AND m.seq = ?2";
    LANES_OF_TENANT = "SELECT lane, tenant, queue, target FROM lanes WHERE tenant = ?1";
    NEXT_OF_ALL = "SELECT seq FROM messages WHERE lane = ?1 AND seq > ?2 ORDER BY seq LIMIT 1";
    NEXT_WAITING = "SELECT seq FROM messages WHERE lane = ?1 AND seq > ?2 AND phase < 2 ORDER BY seq LIMIT 1";
    NEXT_DEAD = "SELECT seq FROM messages WHERE lane = ?1 AND seq > ?2 AND phase = 3 ORDER BY seq LIMIT 1";
    FIRST_DUE = "SELECT due FROM messages WHERE lane = ?1 AND held = ?2 AND priority = ?3 AND phase = 1
        ORDER BY due LIMIT 1";
    BLOBS = "SELECT DISTINCT blob FROM messages WHERE blob IS NOT NULL ORDER BY blob";
}

/// All lanes: a scan, of a table that has a row per lane.
pub(crate) const LANES: &str = "SELECT lane, tenant, queue, target FROM lanes";

/// Run once, at open.
pub(crate) const COUNT_ALL: &str =
    "SELECT lane, phase, held, count(*), sum(bytes), min(due) FROM messages GROUP BY lane, phase, held";
/// Run once, at open, for lanes that had something running.
pub(crate) const RUNNING: &str =
    "SELECT seq, id, bytes, key, cancelled FROM messages WHERE lane = ?1 AND phase = 2";
/// Run once, at open.
pub(crate) const LAST_SEQ: &str = "SELECT max(seq) FROM contents";
/// Run once, at open.
pub(crate) const PAUSES: &str = "SELECT place FROM pauses";
