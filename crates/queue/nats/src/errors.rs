//! What JetStream says, in our words.

use xebec_core::{Error, ErrorKind};

/// Why a write was not made.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something was not as expected: read it again.
    Conflict,
    /// Too many writes at once: try again in a moment.
    Busy,
    /// It failed.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    /// What to tell a caller where trying again did not help.
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Conflict | Self::Busy => {
                let message = "the queue's server is busy with other changes of the same messages";
                Error::new(ErrorKind::Unavailable, "XB4005", message).with_hint("try again")
            }
        }
    }
}

/// The queue's server is away.
pub(crate) fn away(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, "XB4023", format!("the queue's server is away: {why}"))
        .with_hint("start the NATS server, or correct its URL; Xebec connects by itself once it is there")
}

/// The server did not answer in time.
pub(crate) fn unanswered(waited: std::time::Duration) -> Error {
    let message = format!("the queue's server did not answer within {waited:?}");
    Error::new(ErrorKind::Unavailable, "XB4023", message)
        .with_hint("whether it stored what was sent is unknown; sending it again with the same id is safe")
}

/// The connection was lost while an answer was awaited.
pub(crate) fn cut_off() -> Error {
    let message = "the connection to the queue's server was lost before it answered";
    Error::new(ErrorKind::Unavailable, "XB4023", message)
        .with_hint("whether it stored what was sent is unknown; sending it again with the same id is safe")
}

/// The code of the JetStream API and its description, for a write.
pub(crate) fn write(code: u64, description: &str) -> Failure {
    match code {
        // Wrong last sequence (of a subject), in its two spellings; not yet known to the leader.
        10071 | 10164 | 10163 => Failure::Conflict,
        // Too many requests, or batches, at once.
        10167 | 10210 | 10176 => Failure::Busy,
        _ => Failure::Error(api(code, description)),
    }
}

/// The same, for anything else.
pub(crate) fn api(code: u64, description: &str) -> Error {
    let text = description.to_lowercase();
    let said = format!("the queue's server said: {description} (JetStream error {code})");
    match code {
        _ if text.contains("maximum messages") || text.contains("maximum bytes") => Error::new(
            ErrorKind::Unavailable,
            "XB4020",
            "the queue is full",
        )
        .with_hint(
            "wait until messages are done, discard dead letters, or raise the limits of the queue's stream",
        ),
        _ if text.contains("no space") || text.contains("quota exceeded") => full(said),
        // Account or server resources, memory, storage.
        10002 | 10023 | 10028 | 10047 | 10122 => full(said),
        10054 | 10097 => Error::new(ErrorKind::TooLarge, "XB4024", said)
            .with_hint("raise max_payload of the NATS server, or send less"),
        10077 => Error::new(ErrorKind::Unavailable, "XB4003", said),
        10039 | 10076 => Error::new(ErrorKind::Unavailable, "XB4023", said)
            .with_hint("enable JetStream: `jetstream { store_dir: …, sync_interval: always }`"),
        // No leader, no stream (it is being restored), cluster not available.
        10008 | 10009 | 10059 | 10118 => away(said),
        10074 => Error::new(ErrorKind::Refused, "XB6042", said)
            .with_hint("the cluster has fewer servers than the queue asks copies: lower `replicas`"),
        _ => Error::new(ErrorKind::Unavailable, "XB4003", said),
    }
}

fn full(said: String) -> Error {
    Error::new(ErrorKind::Unavailable, "XB4002", said)
        .with_hint("free space on the disk of the NATS server, or raise jetstream's max_file_store")
}
