//! Batches.

use super::{
    LONG, PATIENCE, SHORT, Subject, again, ask, dead, finish, gone, ids, ids_of, in_ms, in_state, keyed,
    lane, many, message, none, put, put_at_once, settle_one, take_one,
};
use std::time::{Duration, Instant};
use xebec_core::{
    ports::queue::{BatchRules, Held, LaneRules, Settled, Verdict},
    rules::retry::History,
};

fn batches(size: u32, wait: Duration) -> LaneRules {
    LaneRules { concurrency: 16, batch: Some(BatchRules { size, wait }) }
}

/// When there is enough for one, without waiting; what is left waits for more.
pub async fn fills_batches(queue: &Subject) {
    let f = lane("f");
    queue.configure(&f, batches(5, LONG));
    let sent = many(12, &f);
    put(&**queue, &sent).await;
    for wanted in sent.chunks_exact(5) {
        let claim = take_one(&**queue).await;
        assert_eq!(claim.lane, f);
        assert_eq!(ids(&[claim]), ids_of(wanted), "in the order of the lane");
    }
    none(&**queue, "two are not enough").await;
    let more = many(3, &f);
    put(&**queue, &more[..2]).await;
    none(&**queue, "four are not enough").await;
    put(&**queue, &more[2..]).await;
    let claim = take_one(&**queue).await;
    assert_eq!(ids(&[claim]), ids_of(&[&sent[10..], &more].concat()));
}

/// With what has come by then; a claim that waits is woken.
pub async fn sends_batches_that_have_waited(queue: &Subject) {
    let f = lane("f");
    let wait = Duration::from_millis(500);
    queue.configure(&f, batches(100, wait));
    for _ in 0..2 {
        let (began, sent) = (Instant::now(), many(3, &f));
        put_at_once(&**queue, &sent).await;
        let claims = queue.claim(ask(5, LONG, PATIENCE)).await.unwrap();
        // Messages are due in whole milliseconds.
        assert!(
            began.elapsed() + Duration::from_millis(1) >= wait,
            "it waited for {:?} only",
            began.elapsed()
        );
        assert!(began.elapsed() < PATIENCE);
        assert_eq!((claims.len(), ids(&claims)), (1, ids_of(&sent)));
        finish(&**queue, &claims).await;
    }
    queue.configure(&f, batches(100, LONG));
    let sent = many(2, &f);
    put(&**queue, &sent).await;
    none(&**queue, "they wait for more").await;
    queue.configure(&f, LaneRules::default());
    let claims = super::take(&**queue, 2).await;
    assert_eq!(ids(&claims), ids_of(&sent), "without batches each is a claim");
}

/// However many messages it has.
pub async fn counts_a_batch_once(queue: &Subject) {
    let f = lane("f");
    queue.configure(&f, LaneRules { concurrency: 1, ..batches(4, LONG) });
    queue.limit(&f.tenant, Some(1));
    put(&**queue, &many(8, &f)).await;
    let claim = take_one(&**queue).await;
    assert_eq!(claim.messages.len(), 4);
    none(&**queue, "one claim runs").await;
    for claimed in &claim.messages[..3] {
        assert_eq!(settle_one(&**queue, &claim, claimed.message.id, Verdict::Over).await, Settled::Yes);
    }
    none(&**queue, "a claim ends with its last message").await;
    let last = claim.messages[3].message.id;
    assert_eq!(settle_one(&**queue, &claim, last, Verdict::Over).await, Settled::Yes);
    assert_eq!(take_one(&**queue).await.messages.len(), 4);
}

/// Those that failed wait for another batch, or are dead; the lease is extended for what is left.
pub async fn settles_each_of_a_batch_by_itself(queue: &Subject) {
    let f = lane("f");
    queue.configure(&f, batches(4, LONG));
    let sent = many(4, &f);
    put(&**queue, &sent).await;
    let claim = take_one(&**queue).await;
    assert_eq!(settle_one(&**queue, &claim, sent[2].id, again(in_ms(0))).await, Settled::Yes);
    assert_eq!(settle_one(&**queue, &claim, sent[0].id, dead("no")).await, Settled::Yes);
    assert_eq!(settle_one(&**queue, &claim, sent[0].id, Verdict::Over).await, Settled::Late);
    queue.cancel(&sent[1].id).await.unwrap();
    assert_eq!(queue.extend(claim.id, LONG).await.unwrap(), Held::Yes(vec![sent[1].id]));
    assert_eq!(settle_one(&**queue, &claim, sent[1].id, Verdict::Over).await, Settled::Yes);
    assert_eq!(queue.extend(claim.id, LONG).await.unwrap(), Held::Yes(vec![]));
    assert_eq!(settle_one(&**queue, &claim, sent[3].id, Verdict::Over).await, Settled::Yes);
    assert_eq!(queue.extend(claim.id, LONG).await.unwrap(), Held::No);
    in_state(&**queue, &sent[0].id, "dead").await;
    gone(&**queue, &sent[1].id).await;
    gone(&**queue, &sent[3].id).await;
    none(&**queue, "one is not enough").await;
    let more = many(3, &f);
    put(&**queue, &more).await;
    let claim = take_one(&**queue).await;
    let mut claimed = ids(std::slice::from_ref(&claim));
    claimed.sort_unstable();
    let mut wanted = ids_of(&[&sent[2..3], &more].concat());
    wanted.sort_unstable();
    assert_eq!(claimed, wanted);
    let retried = claim.messages.iter().find(|claimed| claimed.message.id == sent[2].id).unwrap();
    assert_eq!(retried.history.failures, 1);
}

/// One at a time, within a batch too.
pub async fn has_one_of_a_key_in_a_batch(queue: &Subject) {
    let f = lane("f");
    queue.configure(&f, batches(3, SHORT));
    let sent = [keyed(&f, "a"), keyed(&f, "a"), keyed(&f, "b"), keyed(&f, "a"), message(&f)];
    put_at_once(&**queue, &sent).await;
    let first = take_one(&**queue).await;
    assert_eq!(ids(std::slice::from_ref(&first)), [sent[0].id, sent[2].id, sent[4].id]);
    none(&**queue, "the first of the key runs").await;
    finish(&**queue, &[first]).await;
    for wanted in [&sent[1], &sent[3]] {
        let claim = take_one(&**queue).await;
        assert_eq!(ids(std::slice::from_ref(&claim)), [wanted.id]);
        finish(&**queue, &[claim]).await;
    }
}

/// What was settled before the lease ran out is settled.
pub async fn interrupts_what_is_left_of_a_batch(queue: &Subject) {
    let f = lane("f");
    queue.configure(&f, batches(3, Duration::ZERO));
    let sent = many(3, &f);
    put(&**queue, &sent).await;
    let claim = take_one(&**queue).await;
    assert_eq!(ids(std::slice::from_ref(&claim)), ids_of(&sent));
    assert_eq!(settle_one(&**queue, &claim, sent[1].id, Verdict::Over).await, Settled::Yes);
    assert_eq!(queue.extend(claim.id, SHORT).await.unwrap(), Held::Yes(vec![]));
    let mut left = Vec::new();
    while left.len() < 2 {
        let claims = queue.claim(ask(1, LONG, PATIENCE)).await.unwrap();
        assert!(!claims.is_empty(), "{} of two came again", left.len());
        for claimed in claims.into_iter().flat_map(|claim| claim.messages) {
            assert_eq!(claimed.history, History { interruptions: 1, ..History::default() });
            left.push(claimed.message.id);
        }
    }
    assert_eq!(left, [sent[0].id, sent[2].id]);
    assert_eq!(settle_one(&**queue, &claim, sent[0].id, Verdict::Over).await, Settled::Late);
}
