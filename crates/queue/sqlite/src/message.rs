//! Messages on their way into storage, made ready by whoever brings them.

use jiff::Timestamp;
use std::time::Duration;
use xebec_core::{
    Error, ErrorKind,
    message::{Lane, MAX_PRIORITY, Message, Payload},
    ports::queue::Place,
};
use xebec_sqlite::time::to_nanoseconds;

/// The longest reason that is kept, in bytes.
pub(crate) const MAX_WHY: usize = 1000;

/// A message as it is stored: the writing thread shall not have to make JSON.
pub(crate) struct Prepared {
    pub(crate) message: Message,
    pub(crate) head: Vec<u8>,
    /// Of the lane's target.
    pub(crate) target: String,
    /// What counts towards bounds.
    pub(crate) bytes: i64,
    pub(crate) due: i64,
    pub(crate) priority: i64,
}

impl Prepared {
    /// Prepares all, or says which one is too large.
    pub(crate) fn all(messages: Vec<Message>, most: usize) -> Result<Vec<Self>, Error> {
        messages.into_iter().map(|message| Self::one(message, most)).collect()
    }

    fn one(message: Message, most: usize) -> Result<Self, Error> {
        let head = message
            .head()
            .map_err(|error| Error::internal("XB4003", format!("a message is not JSON: {error}")))?;
        let size = head.len() + message.inline().len();
        if size > most {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "XB4024",
                format!("a message of {size} bytes is larger than the queue takes: {most}"),
            )
            .with_hint("send a large body as a blob, and fewer or shorter headers"));
        }
        Ok(Self {
            target: target_text(&message.lane)?,
            bytes: bytes_of(&message, &head),
            due: to_nanoseconds(message.due),
            priority: i64::from(message.priority.min(MAX_PRIORITY)),
            head,
            message,
        })
    }

    /// The blob that it names.
    pub(crate) fn blob(&self) -> Option<&[u8]> {
        match &self.message.call.body {
            Payload::Blob { digest, .. } => Some(digest.as_bytes().as_slice()),
            Payload::Inline(_) => None,
        }
    }

    /// Until when its idempotency key is remembered.
    pub(crate) fn window_end(&self) -> Option<i64> {
        let idempotency = self.message.idempotency.as_ref()?;
        let window = Duration::from_millis(idempotency.window_ms);
        Some(to_nanoseconds(self.message.accepted.checked_add(window).unwrap_or(Timestamp::MAX)))
    }
}

/// What a message counts towards the bound on bytes; blobs lie on the same disk.
pub(crate) fn bytes_of(message: &Message, head: &[u8]) -> i64 {
    let bytes = message.call.body.len().saturating_add(head.len() as u64);
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn target_text(lane: &Lane) -> Result<String, Error> {
    serde_json::to_string(&lane.target)
        .map_err(|error| Error::internal("XB4003", format!("a lane's target is not JSON: {error}")))
}

/// A paused place as it is stored.
pub(crate) fn place_text(place: &Place) -> Result<String, Error> {
    serde_json::to_string(place)
        .map_err(|error| Error::internal("XB4003", format!("a place is not JSON: {error}")))
}

/// A reason within its limit, cut between characters.
pub(crate) fn shortened(mut why: String) -> String {
    if why.len() > MAX_WHY {
        let end = (0..=MAX_WHY).rev().find(|end| why.is_char_boundary(*end)).unwrap_or(0);
        why.truncate(end);
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_between_characters() {
        assert_eq!(shortened("short".into()), "short");
        let cut = shortened(format!("x{}", "é".repeat(MAX_WHY)));
        assert!(cut.len() <= MAX_WHY && cut.ends_with('é'));
    }
}
