//! Whose a line is: the call's that is in flight, where only one is.

use std::time::Duration;
use xebec_core::InvocationId;

/// Pipes are read a moment after what went through them was answered: so long a line still belongs to the
/// call that just ended.
const LINGER: Duration = Duration::from_millis(100);

/// Whose a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This call's.
    Call(InvocationId),
    /// The call's that is yet to come, the first.
    FirstCall,
    /// The instance's.
    Instance,
}

/// The calls that an instance's lines may belong to.
#[derive(Default)]
pub(super) struct Owners {
    calls: Vec<InvocationId>,
    /// The one that ended last, and was alone.
    ended: Option<(InvocationId, Duration)>,
    /// Each call's lines end with a mark: what is printed between two calls is the last of the one before.
    pub(super) marked: bool,
}

impl Owners {
    /// A call began.
    pub(super) fn began(&mut self, id: InvocationId) {
        self.calls.push(id);
    }

    /// A call ended.
    pub(super) fn ended(&mut self, id: InvocationId, now: Duration) {
        let alone = self.calls.len() == 1;
        if let Some(at) = self.calls.iter().position(|call| *call == id) {
            self.calls.swap_remove(at);
            self.ended = alone.then_some((id, now));
        }
    }

    /// Whose a line is that is printed now.
    pub(super) fn of(&self, now: Duration) -> Owner {
        match (self.calls.as_slice(), self.ended) {
            ([only], _) => Owner::Call(*only),
            ([], Some((id, at))) if self.marked || now.saturating_sub(at) <= LINGER => Owner::Call(id),
            ([], None) if self.marked => Owner::FirstCall,
            _ => Owner::Instance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(5);

    #[test]
    fn lines_linger_for_a_moment_or_until_the_next_call() {
        for marked in [false, true] {
            let mut owners = Owners { marked, ..Owners::default() };
            let (first, second) = (InvocationId::new(), InvocationId::new());
            let nobody = if marked { Owner::FirstCall } else { Owner::Instance };
            assert_eq!(owners.of(Duration::ZERO), nobody);
            owners.began(first);
            assert_eq!(owners.of(Duration::ZERO), Owner::Call(first));
            owners.ended(first, Duration::ZERO);
            assert_eq!(owners.of(LINGER), Owner::Call(first));
            let late = if marked { Owner::Call(first) } else { Owner::Instance };
            assert_eq!(owners.of(LATER), late);
            owners.began(second);
            assert_eq!(owners.of(LATER), Owner::Call(second));
        }
    }

    #[test]
    fn nobody_knows_whose_a_line_of_several_calls_is() {
        let mut owners = Owners { marked: true, ..Owners::default() };
        let (first, second) = (InvocationId::new(), InvocationId::new());
        owners.began(first);
        owners.began(second);
        assert_eq!(owners.of(LATER), Owner::Instance);
        owners.ended(first, LATER);
        assert_eq!(owners.of(LATER), Owner::Call(second));
        owners.ended(second, LATER);
        assert_eq!(owners.of(LATER), Owner::Call(second));
        owners.ended(second, LATER);
        assert_eq!(owners.of(LATER), Owner::Call(second), "it ends once");
    }
}
