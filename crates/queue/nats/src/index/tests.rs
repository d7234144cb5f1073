use super::*;
use crate::wire::{Holder, Run, Write};
use xebec_core::{
    FunctionKey,
    message::{Call, Message},
};

const LEASE: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Now {
    let time = Timestamp::from_second(i64::try_from(seconds).unwrap() + 1_000_000).unwrap();
    Now { time, steady: Duration::from_secs(seconds) }
}

fn index() -> Index {
    let mut index = Index::new("me".into(), 1 << 20);
    index.begin_anew(1, 0);
    index.read_up_to(0, true, at(0));
    index
}

fn message(key: Option<&str>) -> Message {
    let due = Timestamp::UNIX_EPOCH;
    Message {
        key: key.map(Into::into),
        ..Message::new(
            Lane::function("default", &FunctionKey::new(&Tenant::default(), "native", "f")),
            Call {
                method: "POST".into(),
                uri: "/".to_owned(),
                headers: http::HeaderMap::new(),
                body: Payload::Inline(Bytes::from_static(b"body")),
            },
            due,
        )
    }
}

fn accepted(message: &Message, sequence: u64) -> Record {
    Write::accept(message, 0).unwrap().stored(sequence, "w")
}

fn running(index: &Index, message: &Message, worker: &str, claim: u64, sequence: u64) -> Record {
    let holder = Holder { worker: worker.into(), claim };
    let until = Timestamp::UNIX_EPOCH;
    let run = Run { holder, term: 1, lease_ms: 10_000, until, cancelled: false };
    let known = &index.entries[&message.id];
    let standing = known.becomes(Phase::Running(run));
    Write::change(message.id, 0, standing, known.payload.clone().unwrap()).stored(sequence, "w")
}

fn gone(index: &Index, message: &Message, sequence: u64) -> Record {
    Write::gone(message.id, 0, &index.entries[&message.id].standing).stored(sequence, "w")
}

fn picked(index: &mut Index, now: Now) -> Vec<InvocationId> {
    index.tick(now);
    index.pick(100, LEASE, now).into_iter().flat_map(|pick| pick.members).collect()
}

#[test]
fn what_the_stream_tells_late_changes_nothing() {
    let mut index = index();
    let sent = message(None);
    index.apply(accepted(&sent, 1), at(0));
    let late = running(&index, &sent, "other", 1, 2);
    // It was settled and that is known before the stream tells that it ran.
    index.apply(gone(&index, &sent, 3), at(0));
    index.apply(late, at(0));
    assert!(index.entries.is_empty());
    index.read_up_to(3, false, at(0));
    assert!(index.ahead.is_empty() && index.ahead_of.is_empty());
    assert!(index.lanes.is_empty(), "lanes with nothing in them are forgotten");
}

#[test]
fn one_of_a_key_waits_until_all_before_it_are_in_sight() {
    let mut index = index();
    let (first, second) = (message(Some("k")), message(Some("k")));
    // The second was sent by this worker, the first by another a moment before.
    index.apply(accepted(&second, 2), at(0));
    assert_eq!(picked(&mut index, at(0)), []);
    index.apply(accepted(&first, 1), at(0));
    index.read_up_to(1, false, at(0));
    assert_eq!(picked(&mut index, at(0)), [first.id]);
    index.read_up_to(2, false, at(0));
    assert_eq!(picked(&mut index, at(0)), [], "the first is in front");
}

#[test]
fn one_of_a_key_waits_for_the_lock() {
    let mut index = index();
    let (first, second) = (message(Some("k")), message(Some("k")));
    index.apply(accepted(&first, 1), at(0));
    index.apply(accepted(&second, 2), at(0));
    index.read_up_to(2, false, at(0));
    let line = index.entries[&first.id].line.unwrap();
    index.apply(Write::lock(line, 0, first.id).stored(3, "w"), at(0));
    index.apply(gone(&index, &first, 4), at(0));
    assert_eq!(picked(&mut index, at(0)), [], "the lock is still said to be held");
    assert_eq!(index.stray_locks(), [(line, first.id)]);
    index.apply(Write::unlock(line).stored(5, "w"), at(0));
    assert_eq!(picked(&mut index, at(0)), [second.id]);
    assert_eq!(index.lock_of(line), 5);
}

#[test]
fn leases_of_others_count_from_when_they_were_seen_and_anew_when_they_are_renewed() {
    let mut index = index();
    let sent = message(None);
    index.apply(accepted(&sent, 1), at(0));
    index.apply(running(&index, &sent, "other", 1, 2), at(5));
    assert!(!index.any_lapsed(at(14)));
    assert!(index.any_lapsed(at(15)));
    let mut renewed = running(&index, &sent, "other", 1, 3);
    if let Some(Standing { phase: Phase::Running(run), .. }) = &mut renewed.standing {
        run.term = 2;
    }
    index.apply(renewed, at(14));
    assert!(!index.any_lapsed(at(23)));
    // That someone asks to cancel it does not lengthen it.
    let mut cancelled = running(&index, &sent, "other", 1, 4);
    if let Some(Standing { phase: Phase::Running(run), .. }) = &mut cancelled.standing {
        (run.term, run.cancelled) = (2, true);
    }
    index.apply(cancelled, at(20));
    assert_eq!(index.lapsed(at(24)), [(sent.id, true)]);
    assert_eq!(index.lapsed(at(24)), [], "someone sees to it");
}

#[test]
fn claims_of_others_count_towards_limits() {
    let mut index = index();
    let lane = message(None).lane;
    index.configure(&lane, LaneRules { concurrency: 2, batch: None }, at(0));
    let sent = [message(None), message(None), message(None)];
    for (number, message) in (1..).zip(&sent) {
        index.apply(accepted(message, number), at(0));
    }
    index.apply(running(&index, &sent[0], "other", 1, 4), at(0));
    assert_eq!(picked(&mut index, at(0)), [sent[1].id]);
    index.apply(gone(&index, &sent[0], 5), at(0));
    assert_eq!(picked(&mut index, at(0)), [sent[2].id]);
}

#[test]
fn what_this_worker_is_said_to_run_and_does_not_is_found() {
    let mut index = index();
    let sent = message(None);
    index.apply(accepted(&sent, 1), at(0));
    index.apply(running(&index, &sent, "me", 77, 2), at(0));
    assert_eq!(index.lapsed(at(0)), [(sent.id, false)]);
}

#[test]
fn what_was_not_seen_when_all_was_read_is_no_more() {
    let mut index = index();
    let sent = [message(None), message(Some("k")), message(None)];
    for (number, message) in (1..).zip(&sent) {
        index.apply(accepted(message, number), at(0));
    }
    index.read_up_to(3, false, at(0));
    index.begin_anew(1, 3);
    assert_eq!(picked(&mut index, at(0)), [], "first all is read");
    let seen = HashSet::from([Key::Message(sent[1].id)]);
    index.keep_only(&seen, 2, at(0));
    index.read_up_to(3, true, at(0));
    let mut left = picked(&mut index, at(0));
    left.sort_unstable();
    assert_eq!(left, [sent[1].id, sent[2].id], "the third came after reading began");
}
