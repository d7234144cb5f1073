//! The order within a lane, and of messages with the same key.

use super::{
    LONG, PATIENCE, Subject, again, ask, dead, finish, gone, ids, ids_of, in_ms, in_state, keyed, lane,
    message, none, put, put_at_once, settle, take, take_one, these,
};
use jiff::Timestamp;
use std::collections::HashMap;
use xebec_core::{message::Message, ports::queue::Verdict, rules::retry::History};

/// The highest priority first, then what was due first, then what was accepted first.
pub async fn serves_a_lane_by_priority_due_and_acceptance(queue: &Subject) {
    let of = |priority, ms| Message { priority, due: in_ms(ms), ..message(&lane("f")) };
    let sent = [
        of(5, -1000),
        of(5, -3000),
        of(0, -9000),
        of(9, -1000),
        of(5, -3000),
        of(9, -2000),
        of(5, -2000),
        of(6, -1),
    ];
    put_at_once(&**queue, &sent).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        let claim = take_one(&**queue).await;
        order.extend(ids(std::slice::from_ref(&claim)));
        finish(&**queue, &[claim]).await;
    }
    let rest = take(&**queue, 4).await;
    order.extend(ids(&rest));
    let wanted = [5, 3, 7, 1, 4, 6, 0, 2].map(|index: usize| sent[index].id);
    assert_eq!(order, wanted);
    finish(&**queue, &rest).await;
}

/// Others go first; and it comes by itself when it is due, whether it is new or tried again.
pub async fn holds_back_what_is_not_due(queue: &Subject) {
    let soon = Message { due: in_ms(700), priority: 9, ..message(&lane("f")) };
    let much_later = Message { due: in_ms(3_600_000), priority: 9, ..message(&lane("f")) };
    let now = message(&lane("f"));
    put_at_once(&**queue, &[soon.clone(), much_later.clone(), now.clone()]).await;
    // Which of the two is due next depends on how long each step took.
    let mut due = HashMap::from([(soon.id, soon.due), (now.id, now.due)]);
    let mut failures = HashMap::from([(soon.id, 0), (now.id, 0)]);
    for _ in 0..4 {
        let claim = take_one(&**queue).await;
        let claimed = &claim.messages[0];
        let id = claimed.message.id;
        assert!(Timestamp::now() >= due[&id], "it came before it was due");
        assert_eq!(claimed.message, *if id == soon.id { &soon } else { &now });
        assert_eq!(claimed.history, History { failures: failures[&id], ..History::default() });
        if failures[&id] == 0 {
            failures.insert(id, 1);
            due.insert(id, in_ms(400));
            settle(&**queue, &claim, again(due[&id])).await;
        } else {
            finish(&**queue, &[claim]).await;
        }
    }
    none(&**queue, "one is not due for an hour").await;
    assert_eq!(in_state(&**queue, &much_later.id, "waiting").await.message, much_later);
}

/// Whatever their priorities, and beside those of other keys and of none.
pub async fn runs_messages_of_a_key_one_at_a_time_in_order(queue: &Subject) {
    let f = lane("f");
    let first = keyed(&f, "a");
    let urgent = Message { priority: 9, due: in_ms(-5000), ..keyed(&f, "a") };
    let (other, free) = (keyed(&f, "b"), message(&f));
    let elsewhere = keyed(&lane("g"), "a");
    put_at_once(&**queue, &[first.clone(), urgent.clone(), other.clone(), free.clone(), elsewhere.clone()])
        .await;
    let claims = take(&**queue, 4).await;
    let mut claimed = ids(&claims);
    claimed.sort_unstable();
    let mut wanted = ids_of(&[first.clone(), other, free, elsewhere]);
    wanted.sort_unstable();
    assert_eq!(claimed, wanted);
    none(&**queue, "the first of its key runs").await;
    let of_first = claims.iter().find(|claim| claim.messages[0].message.id == first.id).unwrap();
    settle(&**queue, of_first, Verdict::Over).await;
    assert_eq!(ids(&[take_one(&**queue).await]), [urgent.id]);
}

/// One that is tried again, one that is not yet due, and one whose lease ran out stay in front.
pub async fn holds_up_a_key_behind_what_is_tried_again(queue: &Subject) {
    let f = lane("f");
    let sent = [keyed(&f, "a"), keyed(&f, "a")];
    put_at_once(&**queue, &sent).await;
    let claim = take_one(&**queue).await;
    let due = in_ms(500);
    settle(&**queue, &claim, again(due)).await;
    let claims = queue.claim(ask(5, super::SHORT, PATIENCE)).await.unwrap();
    assert!(Timestamp::now() >= due);
    assert_eq!(ids(&claims), [sent[0].id], "one that is tried again is in front");
    let claims = queue.claim(ask(5, LONG, PATIENCE)).await.unwrap();
    assert_eq!(ids(&claims), [sent[0].id], "one whose lease ran out is in front");
    finish(&**queue, &claims).await;
    let claim = take_one(&**queue).await;
    assert_eq!(ids(std::slice::from_ref(&claim)), [sent[1].id]);
    finish(&**queue, &[claim]).await;

    let delayed = Message { due: in_ms(500), ..keyed(&f, "b") };
    let behind = keyed(&f, "b");
    put(&**queue, &[delayed.clone(), behind.clone()]).await;
    let claim = take_one(&**queue).await;
    assert!(Timestamp::now() >= delayed.due);
    assert_eq!(ids(&[claim]), [delayed.id]);
}

/// A dead letter holds up nobody; redriven, it goes before those that were accepted after it. A cancelled one
/// makes way, too.
pub async fn lets_a_key_go_on_past_a_dead_one(queue: &Subject) {
    let f = lane("f");
    let sent = [keyed(&f, "a"), keyed(&f, "a"), keyed(&f, "a"), keyed(&f, "a")];
    put_at_once(&**queue, &sent).await;
    let claim = take_one(&**queue).await;
    settle(&**queue, &claim, dead("it broke")).await;
    let second = take_one(&**queue).await;
    assert_eq!(ids(std::slice::from_ref(&second)), [sent[1].id]);
    assert_eq!(queue.redrive(&these(&[sent[0].id]), None).await.unwrap(), 1);
    none(&**queue, "one at a time").await;
    in_state(&**queue, &sent[0].id, "waiting").await;
    finish(&**queue, &[second]).await;
    let first = take_one(&**queue).await;
    assert_eq!(ids(std::slice::from_ref(&first)), [sent[0].id]);
    queue.cancel(&sent[2].id).await.unwrap();
    gone(&**queue, &sent[2].id).await;
    none(&**queue, "one still runs").await;
    finish(&**queue, &[first]).await;
    assert_eq!(ids(&[take_one(&**queue).await]), [sent[3].id]);
}
