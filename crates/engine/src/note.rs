//! What a call's door wants kept with its record, gathered while the call is on its way.

use serde_json::{Map, Value};
use std::sync::Arc;
use xebec_core::{
    Invocation,
    record::{Note, Noted, Remarks},
};

/// A note on its way: what its call says and answers comes to it.
pub(crate) struct Noting {
    note: Arc<Note>,
    /// What was remarked beside the answer.
    remarked: Map<String, Value>,
    answer: Vec<u8>,
}

impl Noting {
    /// The note of a call, if its door left one.
    pub(crate) fn of(call: &Invocation) -> Option<Box<Self>> {
        let note = call.note.clone()?;
        Some(Box::new(Self { note, remarked: Map::new(), answer: Vec::new() }))
    }

    /// Adds what was remarked beside the answer.
    pub(crate) fn remark(&mut self, remarks: &Remarks) {
        if let Value::Object(details) = &remarks.details {
            self.remarked.extend(details.clone());
        }
    }

    /// Keeps the next piece of the answer, as far as it is to be kept.
    pub(crate) fn keep(&mut self, piece: &[u8]) {
        let most = usize::try_from(self.note.answer_bytes).unwrap_or(usize::MAX);
        let room = most.saturating_sub(self.answer.len());
        self.answer.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// What is kept with the record.
    pub(crate) fn noted(self) -> Box<Noted> {
        let mut noted = Noted::from(Arc::unwrap_or_clone(self.note));
        if !self.remarked.is_empty() {
            match &mut noted.details {
                Value::Object(details) => details.extend(self.remarked),
                // What is no object has no fields to add to.
                other => *other = Value::Object(self.remarked),
            }
        }
        noted.answer = self.answer.into();
        Box::new(noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn noting(note: Note) -> Noting {
        Noting { note: Arc::new(note), remarked: Map::new(), answer: Vec::new() }
    }

    #[test]
    fn remarks_are_added_field_by_field() {
        for (details, wanted) in [
            (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3, "c": 4})),
            (Value::Null, json!({"b": 3, "c": 4})),
        ] {
            let mut noting = noting(Note { details, ..Note::default() });
            noting.remark(&Remarks { outcome: None, details: json!({"b": 3}) });
            noting.remark(&Remarks { outcome: None, details: json!({"c": 4}) });
            noting.remark(&Remarks::default());
            assert_eq!(noting.noted().details, wanted);
        }
    }

    #[test]
    fn so_much_of_the_answer_is_kept() {
        for (most, wanted) in [(0, ""), (4, "hell"), (5, "hello"), (u64::MAX, "hello")] {
            let mut noting = noting(Note { answer_bytes: most, ..Note::default() });
            noting.keep(b"hel");
            noting.keep(b"lo");
            assert_eq!(noting.noted().answer, wanted);
        }
    }
}
