mod naive;

use super::*;
use crate::{
    message::{Call, Payload},
    names::FunctionKey,
    ports::queue::{BatchRules, Claim, EntryQuery, Held, Selection, Settled, Settlement, Verdict},
};
use bytes::Bytes;
use http::HeaderMap;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(10);

fn at(ms: u64) -> Moment {
    Moment {
        now: later(Timestamp::UNIX_EPOCH, Duration::from_millis(1_000_000 + ms)),
        steady: Duration::from_millis(ms),
    }
}

fn id(number: u64) -> InvocationId {
    InvocationId(Uuid::from_u128(u128::from(number)))
}

fn lane(tenant: u8, name: u8) -> Lane {
    let tenant = Tenant::new(format!("t{tenant}"));
    Lane::function("default", &FunctionKey::new(&tenant, "native", &format!("f{name}")))
}

fn message(number: u64, lane: &Lane, at: Moment) -> Message {
    let call = Call {
        method: "POST".into(),
        uri: "/".to_owned(),
        headers: HeaderMap::new(),
        body: Payload::Inline(Bytes::from_static(b"x")),
    };
    Message { id: id(number), ..Message::new(lane.clone(), call, at.now) }
}

fn keyed(number: u64, key: &str, at: Moment) -> Message {
    Message { key: Some(key.into()), ..message(number, &lane(0, 0), at) }
}

fn put(ledger: &mut Ledger, messages: Vec<Message>, at: Moment) {
    let receipts = ledger.enqueue(messages, at).unwrap();
    assert!(receipts.iter().all(|receipt| !receipt.duplicate));
}

fn ids(claims: &[Claim]) -> Vec<u128> {
    claims.iter().flat_map(|claim| &claim.messages).map(|claimed| claimed.message.id.0.as_u128()).collect()
}

fn end(ledger: &mut Ledger, claim: &Claim, verdict: Verdict, at: Moment) -> Settled {
    let id = claim.messages[0].message.id;
    ledger.settle(claim.id, Settlement { id, verdict, then: Vec::new() }, at).unwrap()
}

fn dead() -> Verdict {
    Verdict::Dead { death: Death::Failed, history: History::default(), why: "it broke".to_owned() }
}

#[test]
fn the_highest_priority_goes_first_then_what_was_due_then_what_was_accepted() {
    let mut ledger = Ledger::default();
    let of = |number, priority, due: u64| Message {
        priority,
        due: at(due).now,
        ..message(number, &lane(0, 0), at(0))
    };
    let messages = vec![of(1, 5, 2), of(2, 5, 1), of(3, 5, 1), of(4, 9, 3), of(5, 0, 0)];
    put(&mut ledger, messages, at(5));
    assert_eq!(ids(&ledger.claim(10, LEASE, at(5))), [4, 2, 3, 1, 5]);
}

#[test]
fn what_was_due_stays_due_when_the_clock_is_set_back() {
    let mut ledger = Ledger::default();
    put(&mut ledger, vec![message(1, &lane(0, 0), at(3_600_000))], at(3_600_000));
    let early = Moment { now: at(0).now, steady: at(3_600_001).steady };
    let claims = ledger.claim(1, LEASE, early);
    assert_eq!(ids(&claims), [1]);
    let over = Moment { now: at(0).now, steady: claims_over(early) };
    assert_eq!(ids(&ledger.claim(1, LEASE, over)), [1], "nor does it wait again after its lease ran out");
}

fn claims_over(at: Moment) -> Duration {
    at.steady + LEASE
}

#[test]
fn messages_of_a_key_run_one_at_a_time_in_order() {
    let mut ledger = Ledger::default();
    put(&mut ledger, vec![keyed(1, "a", at(0)), keyed(2, "a", at(0)), keyed(3, "b", at(0))], at(0));
    let claims = ledger.claim(10, LEASE, at(0));
    assert_eq!(ids(&claims), [1, 3]);
    let again = Verdict::Again { due: at(50).now, history: History::default(), why: String::new() };
    end(&mut ledger, &claims[0], again, at(1));
    assert!(ledger.claim(10, LEASE, at(2)).is_empty(), "a failed one holds up those behind it");
    let claims = ledger.claim(10, LEASE, at(50));
    assert_eq!(ids(&claims), [1]);
    end(&mut ledger, &claims[0], dead(), at(51));
    let claims = ledger.claim(10, LEASE, at(52));
    assert_eq!(ids(&claims), [2], "a dead one does not");
    assert_eq!(ledger.redrive(&Selection::default(), None, at(53)), 1);
    assert!(ledger.claim(10, LEASE, at(54)).is_empty(), "one at a time");
    put(&mut ledger, vec![keyed(4, "a", at(54))], at(54));
    end(&mut ledger, &claims[0], Verdict::Over, at(55));
    assert_eq!(ids(&ledger.claim(10, LEASE, at(56))), [1], "it was accepted before the fourth");
}

#[test]
fn an_idempotency_key_is_remembered_for_its_window_even_when_its_message_is_over() {
    let mut ledger = Ledger::default();
    let with_key = |number, lane: &Lane, window_ms, at| Message {
        idempotency: Some(Idempotency { key: "k".into(), window_ms }),
        ..message(number, lane, at)
    };
    let (one, other) = (lane(0, 0), lane(0, 1));
    let receipts = ledger
        .enqueue(
            vec![
                with_key(1, &one, 1000, at(0)),
                with_key(2, &one, 9000, at(0)),
                with_key(3, &other, 0, at(0)),
                with_key(4, &other, 0, at(0)),
            ],
            at(0),
        )
        .unwrap();
    let first = |receipt: &Receipt| (receipt.id.0.as_u128(), receipt.duplicate);
    assert_eq!(
        receipts.iter().map(first).collect::<Vec<_>>(),
        [(1, false), (1, true), (3, false), (4, false)]
    );
    let claim = ledger.claim_of(&one, LEASE, at(1)).unwrap();
    end(&mut ledger, &claim, Verdict::Over, at(2));
    let later = ledger.enqueue(vec![with_key(5, &one, 1000, at(999))], at(999)).unwrap();
    assert_eq!(later, [Receipt { id: id(1), duplicate: true }]);
    let after = ledger.enqueue(vec![with_key(6, &one, 1000, at(1000))], at(1000)).unwrap();
    assert_eq!(after, [Receipt { id: id(6), duplicate: false }]);
}

#[test]
fn accepts_all_or_none_and_not_past_its_bounds() {
    let mut ledger = Ledger::new(Bounds { messages: 2, message_bytes: 3 });
    let three = (1..=3).map(|number| message(number, &lane(0, 0), at(0))).collect();
    assert_eq!(ledger.enqueue(three, at(0)).unwrap_err().code, "XB4020");
    assert!(ledger.is_empty());
    let mut large = message(1, &lane(0, 0), at(0));
    large.call.body = Payload::Inline(Bytes::from_static(b"four"));
    assert_eq!(ledger.enqueue(vec![large.clone()], at(0)).unwrap_err().code, "XB4024");
    put(&mut ledger, vec![message(1, &lane(0, 0), at(0)), message(2, &lane(0, 0), at(0))], at(0));
    assert!(
        ledger.enqueue(vec![message(2, &lane(0, 0), at(0))], at(0)).unwrap()[0].duplicate,
        "needs no room"
    );
    let claims = ledger.claim(2, LEASE, at(0));
    let settle = |id, then| Settlement { id, verdict: Verdict::Over, then };
    let refused = ledger.settle(claims[0].id, settle(id(1), vec![large]), at(0));
    assert_eq!(refused.unwrap_err().code, "XB4024");
    let then = (3..=5).map(|number| message(number, &lane(0, 1), at(0))).collect();
    assert_eq!(ledger.settle(claims[0].id, settle(id(1), then), at(0)).unwrap(), Settled::Yes);
    assert_eq!(ledger.len(), 4, "results are accepted past the bound");
}

#[test]
fn a_lease_that_runs_out_is_an_interruption_and_comes_too_late_to_settle() {
    let mut ledger = Ledger::default();
    put(&mut ledger, vec![message(1, &lane(0, 0), at(0))], at(0));
    let first = ledger.claim(1, LEASE, at(0)).remove(0);
    assert_eq!(ledger.next_change(at(0)), Some(LEASE));
    assert_eq!(ledger.extend(first.id, LEASE, at(9_999)), Held::Yes(vec![]));
    assert!(ledger.claim(1, LEASE, at(19_998)).is_empty());
    let second = ledger.claim(1, LEASE, at(19_999)).remove(0);
    assert_eq!(second.messages[0].history, History { interruptions: 1, ..History::default() });
    assert_eq!(ledger.extend(first.id, LEASE, at(20_000)), Held::No);
    let then = vec![message(2, &lane(0, 0), at(0))];
    let late = Settlement { id: id(1), verdict: Verdict::Over, then };
    assert_eq!(ledger.settle(first.id, late.clone(), at(20_000)).unwrap(), Settled::Late);
    assert_eq!(ledger.len(), 1);
    assert_eq!(ledger.settle(second.id, late.clone(), at(20_000)).unwrap(), Settled::Yes);
    assert_eq!(ledger.settle(second.id, late, at(20_000)).unwrap(), Settled::Late, "its part is over");
    assert_eq!(ledger.get(&id(2), at(20_000)).unwrap().state.name(), "waiting");
}

#[test]
fn a_cancelled_one_never_waits_again() {
    for way in ["lease", "again", "restart"] {
        let mut ledger = Ledger::default();
        put(&mut ledger, vec![message(1, &lane(0, 0), at(0))], at(0));
        let claim = ledger.claim(1, LEASE, at(0)).remove(0);
        assert_eq!(ledger.cancel(&id(1), at(1)).unwrap().state.name(), "running");
        assert_eq!(ledger.extend(claim.id, LEASE, at(2)), Held::Yes(vec![id(1)]));
        let again = Verdict::Again { due: at(2).now, history: History::default(), why: String::new() };
        match way {
            "lease" => ledger.advance(at(60_000)),
            "again" => assert_eq!(end(&mut ledger, &claim, again, at(3)), Settled::Yes),
            _ => ledger.restart(at(3)),
        }
        assert!(ledger.is_empty(), "{way}");
    }
}

#[test]
fn a_batch_waits_until_it_is_full_or_its_first_has_waited_long_enough() {
    let mut ledger = Ledger::default();
    let batch = Some(BatchRules { size: 3, wait: Duration::from_millis(100) });
    ledger.configure(&lane(0, 0), LaneRules { concurrency: 16, batch }, at(0));
    put(&mut ledger, vec![message(1, &lane(0, 0), at(0)), keyed(2, "a", at(0)), keyed(3, "a", at(0))], at(0));
    assert!(ledger.claim(10, LEASE, at(99)).is_empty(), "the third waits for the second");
    assert_eq!(ledger.next_change(at(99)), Some(Duration::from_millis(1)));
    let claims = ledger.claim(10, LEASE, at(100));
    assert_eq!((claims.len(), ids(&claims)), (1, vec![1, 2]));
    put(&mut ledger, (4..=8).map(|n| message(n, &lane(0, 0), at(100))).collect(), at(100));
    let claims = ledger.claim(10, LEASE, at(101));
    assert_eq!((claims.len(), ids(&claims)), (1, vec![4, 5, 6]));
}

#[test]
fn closed_lanes_paused_places_and_limits_hold() {
    let mut ledger = Ledger::default();
    let consumer = Lane { tenant: Tenant::new("t0"), queue: "jobs".into(), target: Target::Consumer };
    put(&mut ledger, (1..=3).map(|n| message(n, &consumer, at(0))).collect(), at(0));
    assert!(ledger.claim(10, LEASE, at(0)).is_empty(), "until someone takes from it");
    ledger.configure(&consumer, LaneRules { concurrency: 2, batch: None }, at(0));
    let place = Place::Queue { tenant: Tenant::new("t0"), name: "jobs".to_owned() };
    ledger.pause(&place, at(0));
    assert!(ledger.claim(10, LEASE, at(0)).is_empty());
    assert!(ledger.stats(None, at(0))[0].paused);
    ledger.restart(at(1));
    assert_eq!(ledger.paused(), std::slice::from_ref(&place));
    ledger.resume(&place, at(1));
    assert!(ledger.claim(10, LEASE, at(1)).is_empty(), "a restart forgets how lanes are served");
    ledger.configure(&consumer, LaneRules { concurrency: 2, batch: None }, at(1));
    let claims = ledger.claim(10, LEASE, at(1));
    assert_eq!(ids(&claims), [1, 2]);
    ledger.limit(&consumer.tenant, Some(1));
    end(&mut ledger, &claims[0], Verdict::Over, at(2));
    assert!(ledger.claim(10, LEASE, at(2)).is_empty());
    end(&mut ledger, &claims[1], Verdict::Over, at(2));
    assert_eq!(ids(&ledger.claim(10, LEASE, at(2))), [3]);
}

#[test]
fn a_redriven_one_is_as_if_it_were_new_and_they_come_spaced() {
    let mut ledger = Ledger::default();
    let expiring = |number| Message { expires: Some(at(10).now), ..message(number, &lane(0, 0), at(0)) };
    put(&mut ledger, (1..=4).map(expiring).collect(), at(0));
    for claim in ledger.claim(4, LEASE, at(0)) {
        end(&mut ledger, &claim, dead(), at(1));
    }
    assert_eq!(
        ledger.redrive(&Selection { ids: Some(vec![id(4)]), ..Selection::default() }, None, at(20)),
        1
    );
    let fourth = ledger.claim(4, LEASE, at(20));
    assert_eq!(ids(&fourth), [4]);
    let claimed = &fourth[0].messages[0];
    assert_eq!((claimed.message.due, claimed.message.expires), (at(20).now, None));
    assert_eq!(ledger.redrive(&Selection::default(), Some(2), at(100)), 3);
    for (ms, wanted) in [(100, vec![1]), (599, vec![]), (600, vec![2]), (1100, vec![3])] {
        assert_eq!(ids(&ledger.claim(4, LEASE, at(ms))), wanted);
    }
}

#[test]
fn lists_pages_filters_and_discards() {
    let mut ledger = Ledger::default();
    put(&mut ledger, (1..=5).map(|n| message(n, &lane(0, n as u8 % 2), at(0))).collect(), at(0));
    let query = |limit, cursor| EntryQuery { limit: Some(limit), cursor, ..EntryQuery::default() };
    let first = ledger.list(&query(3, None), at(0)).unwrap();
    let rest = ledger.list(&query(3, first.cursor.clone()), at(0)).unwrap();
    assert_eq!((first.entries.len(), rest.entries.len(), rest.cursor), (3, 2, None));
    for (wrong, code) in [
        (query(1, Some("x".to_owned())), "XB4014"),
        (EntryQuery { state: Some("gone".to_owned()), ..EntryQuery::default() }, "XB4025"),
    ] {
        assert_eq!(ledger.list(&wrong, at(0)).unwrap_err().code, code);
    }
    for claim in ledger.claim(2, LEASE, at(0)) {
        end(&mut ledger, &claim, dead(), at(1));
    }
    let odd = Selection { tenant: Some(Tenant::new("t0")), ..Selection::default() };
    assert_eq!(ledger.discard(&odd, at(2)).len(), 2);
    assert_eq!(ledger.cancel(&id(99), at(2)).unwrap_err().code, "XB4021");
}

#[test]
fn keeps_nothing_of_what_is_over() {
    let mut ledger = Ledger::default();
    put(&mut ledger, (1..=3).map(|n| keyed(n, "k", at(0))).collect(), at(0));
    for ms in 0..3 {
        let claim = ledger.claim(1, LEASE, at(ms)).remove(0);
        end(&mut ledger, &claim, Verdict::Over, at(ms));
    }
    let Ledger { ids, lines, delayed, dead, claims, leases, .. } = &ledger;
    assert!(ids.is_empty() && lines.is_empty() && delayed.is_empty() && dead.is_empty());
    assert!(claims.is_empty() && leases.is_empty() && ledger.next_change(at(9)).is_none());
}

#[test]
fn stays_quick_with_many_messages() {
    let mut ledger = Ledger::default();
    for number in 0..50_000 {
        put(&mut ledger, vec![message(number, &lane(0, number as u8 % 8), at(0))], at(0));
    }
    let began = std::time::Instant::now();
    for _ in 0..5_000 {
        let claim = ledger.claim(1, LEASE, at(1)).remove(0);
        end(&mut ledger, &claim, Verdict::Over, at(1));
    }
    // Ten thousand operations; were each to look at all messages, it would be minutes.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
