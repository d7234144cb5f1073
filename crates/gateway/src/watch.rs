//! The rule that says when a client has been silent for too long.
//!
//! A connection looks at its own counters on a slow tick, rather than arming and disarming a timer for each
//! request: so the clocks cost a request nothing.

use crate::options::Limits;
use std::time::{Duration, Instant};

/// A connection's counters as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// HTTP/2.
    pub(crate) multiplexed: bool,
    /// Bytes that came in.
    pub(crate) read: u64,
    /// How many of them had come when the last request was over.
    pub(crate) read_at_rest: u64,
    /// Requests begun, ever.
    pub(crate) begun: u64,
    /// Requests under way.
    pub(crate) active: u32,
    /// Answers that gave a piece to the client and were not asked for the next one.
    pub(crate) untaken: u32,
    /// Pieces of answers given, ever.
    pub(crate) pieces: u64,
    /// Bytes wait that the socket does not take.
    pub(crate) blocked: bool,
    /// Bytes that the socket took.
    pub(crate) written: u64,
}

/// What to do with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Keep,
    /// Close it as the protocol provides.
    Close,
    /// Answer that the head came too slowly, then close.
    HeadTooSlow,
    /// Drop it.
    Cut,
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was asked yet; holds nothing.
    Fresh,
    /// Waits for the next request, after so many.
    Idle(u64),
    /// In the middle of a head.
    Head(u64),
    /// A request is being served.
    Busy,
    /// All answers wait for the client to take what it was given; holds how much that is. On HTTP/2 the
    /// socket may be free while the client opens no window.
    Untaken(u64),
    /// Was asked to close.
    Closing,
}

/// Watches one connection.
#[derive(Debug)]
pub(crate) struct Watch {
    phase: Phase,
    since: Instant,
}

impl Watch {
    pub(crate) fn new(now: Instant) -> Self {
        Self { phase: Phase::Fresh, since: now }
    }

    pub(crate) fn look(&mut self, seen: Seen, limits: &Limits, now: Instant) -> Verdict {
        let phase = match self.phase {
            Phase::Closing => Phase::Closing,
            _ => phase_of(seen),
        };
        if phase != self.phase {
            self.phase = phase;
            self.since = now;
            return Verdict::Keep;
        }
        let (limit, verdict) = match phase {
            Phase::Fresh => (limits.head_time, Verdict::Cut),
            Phase::Idle(_) => (limits.idle_time, Verdict::Close),
            Phase::Head(_) => (limits.head_time, Verdict::HeadTooSlow),
            Phase::Busy => return Verdict::Keep,
            Phase::Untaken(_) => (limits.answer_time, Verdict::Cut),
            Phase::Closing => (limits.head_time.min(Duration::from_secs(5)), Verdict::Cut),
        };
        if now.duration_since(self.since) < limit {
            return Verdict::Keep;
        }
        if verdict == Verdict::Close {
            self.phase = Phase::Closing;
            self.since = now;
        }
        verdict
    }
}

fn phase_of(seen: Seen) -> Phase {
    if seen.blocked {
        // Also after the last request: the end of its answer may still be on its way.
        Phase::Untaken(seen.written)
    } else if seen.active > 0 {
        if seen.untaken >= seen.active { Phase::Untaken(seen.pieces) } else { Phase::Busy }
    } else if seen.multiplexed {
        // What comes in besides requests (pings, settings) says nothing of a head.
        Phase::Idle(seen.begun)
    } else if seen.read > seen.read_at_rest {
        Phase::Head(seen.begun)
    } else if seen.begun == 0 {
        Phase::Fresh
    } else {
        Phase::Idle(seen.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits() -> Limits {
        Limits {
            head_time: Duration::from_secs(10),
            answer_time: Duration::from_secs(20),
            idle_time: Duration::from_secs(30),
            ..Limits::default()
        }
    }

    /// Looks once a second at the same counters; says when and how it ended.
    fn run(seen: Seen, watch: &mut Watch, from: Instant, seconds: u64) -> Option<(u64, Verdict)> {
        (0..seconds).find_map(|second| {
            let verdict = watch.look(seen, &limits(), from + Duration::from_secs(second));
            (verdict != Verdict::Keep).then_some((second, verdict))
        })
    }

    fn ends(seen: Seen) -> Option<(u64, Verdict)> {
        let start = Instant::now();
        run(seen, &mut Watch::new(start), start, 1000)
    }

    #[test]
    fn each_silence_has_its_own_limit() {
        let used = Seen { begun: 3, read: 100, read_at_rest: 100, ..Seen::default() };
        assert_eq!(ends(Seen::default()), Some((10, Verdict::Cut)));
        assert_eq!(ends(used), Some((30, Verdict::Close)));
        assert_eq!(ends(Seen { read: 7, ..Seen::default() }), Some((10, Verdict::HeadTooSlow)));
        assert_eq!(ends(Seen { read: 107, ..used }), Some((10, Verdict::HeadTooSlow)));
        assert_eq!(ends(Seen { active: 1, ..used }), None);
        assert_eq!(ends(Seen { active: 2, untaken: 1, ..used }), None);
        assert_eq!(ends(Seen { active: 1, untaken: 1, ..used }), Some((20, Verdict::Cut)));
        assert_eq!(ends(Seen { blocked: true, ..used }), Some((20, Verdict::Cut)));
    }

    #[test]
    fn a_slow_reader_who_reads_on_is_kept() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        for second in 0..500 {
            let seen = Seen { begun: 1, blocked: true, written: second / 15, ..Seen::default() };
            assert_eq!(watch.look(seen, &limits(), start + Duration::from_secs(second)), Verdict::Keep);
        }
    }

    #[test]
    fn many_small_bytes_are_one_slow_head() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let ended = (0..100).find(|second| {
            let seen = Seen { read: second + 1, ..Seen::default() };
            watch.look(seen, &limits(), start + Duration::from_secs(*second)) == Verdict::HeadTooSlow
        });
        assert_eq!(ended, Some(10));
    }

    #[test]
    fn pings_are_no_head_and_keep_nothing_open() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let ended = (0..100).find(|second| {
            let seen = Seen { multiplexed: true, begun: 1, read: 50 + second * 17, ..Seen::default() };
            watch.look(seen, &limits(), start + Duration::from_secs(*second)) != Verdict::Keep
        });
        assert_eq!(ended, Some(30));
    }

    #[test]
    fn who_does_not_close_when_asked_is_cut() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let seen = Seen { begun: 1, ..Seen::default() };
        assert_eq!(run(seen, &mut watch, start, 1000), Some((30, Verdict::Close)));
        let later = start + Duration::from_secs(30);
        assert_eq!(run(seen, &mut watch, later, 1000), Some((5, Verdict::Cut)));
    }

    proptest! {
        #[test]
        fn whoever_moves_on_is_kept(steps in proptest::collection::vec((1u64..9, 0u32..3), 1..60)) {
            let start = Instant::now();
            let mut watch = Watch::new(start);
            let (mut now, mut seen) = (start, Seen::default());
            for (seconds, active) in steps {
                now += Duration::from_secs(seconds);
                seen.begun += 1;
                seen.pieces += 1;
                seen.active = active;
                seen.untaken = active;
                prop_assert_eq!(watch.look(seen, &limits(), now), Verdict::Keep);
            }
        }
    }
}
