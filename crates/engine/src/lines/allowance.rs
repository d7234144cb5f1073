//! What one call may print.

use xebec_core::InvocationId;

/// What one call may still print of so many bytes.
pub(super) struct Allowance {
    most: u64,
    call: Option<InvocationId>,
    left: u64,
    /// It printed more: what comes now is dropped.
    over: bool,
}

/// What is kept of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// All of it.
    All,
    /// So many bytes, and nothing of what comes after it.
    Some(usize),
    /// Nothing.
    None,
}

impl Allowance {
    /// `most` bytes for each call.
    pub(super) fn new(most: u64) -> Self {
        Self { most, call: None, left: most, over: most == 0 }
    }

    /// The bytes that each call has.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// Takes a line of a call's. Lines of a call that is not alone belong to none, so no call comes again after
    /// another's.
    pub(super) fn take(&mut self, call: InvocationId, text: &str) -> Room {
        if self.call != Some(call) {
            *self = Self { call: Some(call), ..Self::new(self.most) };
        }
        let bytes = text.len() as u64;
        if self.over {
            Room::None
        } else if self.left > 0 && bytes <= self.left {
            // Its end counts, too: else empty lines would go on for ever.
            self.left = self.left.saturating_sub(bytes + 1);
            Room::All
        } else {
            self.over = true;
            Room::Some(text.floor_char_boundary(usize::try_from(self.left).unwrap_or(usize::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_crosses_is_cut_between_characters() {
        let (first, second) = (InvocationId::new(), InvocationId::new());
        let mut allowance = Allowance::new(10);
        assert_eq!(allowance.take(first, "12345"), Room::All);
        assert_eq!(allowance.take(first, "aéé"), Room::Some(3));
        assert_eq!(allowance.take(first, ""), Room::None);
        assert_eq!(allowance.take(second, "0123456789"), Room::All, "each call has its own");
        assert_eq!(allowance.take(second, ""), Room::Some(0));
        assert_eq!(allowance.take(second, ""), Room::None);
    }

    #[test]
    fn empty_lines_count() {
        let call = InvocationId::new();
        let mut allowance = Allowance::new(3);
        let rooms = [Room::All, Room::All, Room::All, Room::Some(0), Room::None];
        for room in rooms {
            assert_eq!(allowance.take(call, ""), room);
        }
        assert_eq!(Allowance::new(0).take(call, ""), Room::None);
    }
}
