//! Claiming and settling.

use super::{
    LONG, PATIENCE, SHORT, Subject, again, ask, consumer, dead, finish, gone, ids, in_ms, in_state, lane,
    many, message, none, put, seen, settle, take, take_one,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use xebec_core::{
    message::{Idempotency, Message, Payload},
    ports::queue::{Claim, EntryState, Held, LaneRules, Place, Queue, Settled, Settlement, Verdict},
    rules::retry::{Death, History},
};

/// A claim that waits, and for how long it did.
fn waiting(queue: &Subject) -> JoinHandle<(Vec<Claim>, Duration)> {
    let queue: Arc<dyn Queue> = queue.queue.clone();
    tokio::spawn(async move {
        let began = Instant::now();
        let claims = queue.claim(ask(1, LONG, PATIENCE)).await.unwrap();
        (claims, began.elapsed())
    })
}

/// What a waiting claim got, which must have come before the wait was over.
async fn woken(waiting: JoinHandle<(Vec<Claim>, Duration)>, what: &str) -> Claim {
    let (mut claims, waited) = waiting.await.unwrap();
    assert_eq!(claims.len(), 1, "{what}");
    assert!(waited < PATIENCE, "{what}: it came after {waited:?}");
    claims.remove(0)
}

/// An empty answer takes as long as was asked, not forever and not less.
pub async fn waits_for_the_first_no_longer_than_asked(queue: &Subject) {
    let began = Instant::now();
    assert_eq!(queue.claim(ask(3, LONG, Duration::from_millis(300))).await.unwrap(), []);
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE);
    put(&**queue, &[message(&lane("f"))]).await;
    let began = Instant::now();
    let claims = queue.claim(ask(3, LONG, 2 * PATIENCE)).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert!(began.elapsed() < PATIENCE, "it waits for the first only");
}

/// Whoever waits gets it, and one of those who wait only.
pub async fn wakes_for_what_is_sent(queue: &Subject) {
    let waiters: Vec<_> = (0..3).map(|_| waiting(queue)).collect();
    let sent = many(3, &lane("f"));
    for message in &sent {
        put(&**queue, std::slice::from_ref(message)).await;
    }
    let mut claimed = Vec::new();
    for waiter in waiters {
        claimed.extend(ids(&[woken(waiter, "a message was sent").await]));
    }
    claimed.sort_unstable();
    let mut wanted = super::ids_of(&sent);
    wanted.sort_unstable();
    assert_eq!(claimed, wanted);
}

/// Nobody need send anything.
pub async fn wakes_for_what_becomes_due(queue: &Subject) {
    let later = Message { due: in_ms(400), ..message(&lane("f")) };
    put(&**queue, std::slice::from_ref(&later)).await;
    let claim = woken(waiting(queue), "a message became due").await;
    assert!(jiff::Timestamp::now() >= later.due);
    settle(&**queue, &claim, again(in_ms(400))).await;
    woken(waiting(queue), "a message is tried again").await;
}

/// Whatever it was that kept messages from being claimed.
pub async fn wakes_for_what_is_settled_resumed_or_opened(queue: &Subject) {
    let (f, jobs) = (lane("f"), consumer("jobs"));
    queue.configure(&f, LaneRules { concurrency: 1, batch: None });
    put(&**queue, &many(2, &f)).await;
    let first = take_one(&**queue).await;
    let waiter = waiting(queue);
    none(&**queue, "the lane is at its limit").await;
    settle(&**queue, &first, Verdict::Over).await;
    let second = woken(waiter, "a claim ended").await;
    finish(&**queue, &[second]).await;

    let place = Place::Queue { tenant: f.tenant.clone(), name: f.queue.to_string() };
    queue.pause(&place).await.unwrap();
    put(&**queue, &many(1, &f)).await;
    let waiter = waiting(queue);
    none(&**queue, "it is paused").await;
    queue.resume(&place).await.unwrap();
    let third = woken(waiter, "a pause ended").await;
    finish(&**queue, &[third]).await;

    put(&**queue, &many(1, &jobs)).await;
    let waiter = waiting(queue);
    none(&**queue, "nobody takes from it").await;
    queue.configure(&jobs, LaneRules::default());
    woken(waiter, "a lane was opened").await;
}

/// Of one lane or of several.
pub async fn gives_no_more_than_asked(queue: &Subject) {
    put(&**queue, &many(5, &lane("f"))).await;
    put(&**queue, &many(5, &lane("g"))).await;
    let mut got = 0;
    while got < 10 {
        let claims = queue.claim(ask(3, LONG, PATIENCE)).await.unwrap();
        assert!((1..=3).contains(&claims.len()), "{}", claims.len());
        assert!(claims.iter().all(|claim| claim.messages.len() == 1), "lanes have no batches unless told");
        got += claims.len();
    }
    none(&**queue, "all are claimed").await;
}

/// History, reason and time, of those tried again and of the dead.
pub async fn hands_back_what_it_was_told(queue: &Subject) {
    let sent = message(&lane("f"));
    put(&**queue, std::slice::from_ref(&sent)).await;
    let claim = take_one(&**queue).await;
    let running = in_state(&**queue, &sent.id, "running").await;
    assert!(matches!(running.state, EntryState::Running { cancelled: false, .. }));
    let history = History { failures: 3, refusals: 7, interruptions: 2 };
    let (due, why) = (in_ms(1), "é".repeat(500));
    settle(&**queue, &claim, Verdict::Again { due, history, why: why.clone() }).await;
    let claim = take_one(&**queue).await;
    assert_eq!((&claim.messages[0].message, claim.messages[0].history), (&sent, history));
    let running = in_state(&**queue, &sent.id, "running").await;
    assert_eq!((running.history, running.why), (history, Some(why.clone())));
    let history = History { failures: 4, ..history };
    let before = super::now();
    settle(&**queue, &claim, Verdict::Dead { death: Death::Poison, history, why: why.clone() }).await;
    let entry = in_state(&**queue, &sent.id, "dead").await;
    assert_eq!((&entry.message, entry.history, entry.why), (&sent, history, Some(why)));
    let EntryState::Dead { since, death } = entry.state else { panic!("{:?}", entry.state) };
    assert_eq!(death, Death::Poison);
    assert!(since >= before && since <= super::in_ms(1), "{since}");
}

/// With whatever becomes of it; what was sent already is not sent twice.
pub async fn accepts_what_comes_of_a_message(queue: &Subject) {
    let verdicts = [Verdict::Over, again(in_ms(3_600_000)), dead("no")];
    for (number, verdict) in verdicts.into_iter().enumerate() {
        let sent = message(&lane(&format!("f{number}")));
        put(&**queue, std::slice::from_ref(&sent)).await;
        let claim = take_one(&**queue).await;
        let results = lane(&format!("results{number}"));
        let then = vec![message(&results), message(&results), sent.clone()];
        // One that is there already is not accepted a second time.
        let then = if verdict == Verdict::Over { then[..2].to_vec() } else { then };
        let settlement = Settlement { id: sent.id, verdict: verdict.clone(), then: then.clone() };
        assert_eq!(queue.settle(claim.id, settlement).await.unwrap(), Settled::Yes);
        seen(&**queue, &then[0].id).await;
        let claims = take(&**queue, 2).await;
        assert_eq!(ids(&claims), super::ids_of(&then[..2]));
        finish(&**queue, &claims).await;
        match verdict {
            Verdict::Over => gone(&**queue, &sent.id).await,
            Verdict::Again { .. } => assert_eq!(seen(&**queue, &sent.id).await.state.name(), "waiting"),
            Verdict::Dead { .. } => assert_eq!(seen(&**queue, &sent.id).await.state.name(), "dead"),
        }
    }
    none(&**queue, "all else was settled").await;
}

/// What comes of a message is accepted by the same rules; where it cannot be, the message is not settled.
pub async fn accepts_nothing_with_what_cannot_be_settled(queue: &Subject) {
    let (sent, results) = (message(&lane("f")), lane("results"));
    let once = || Message {
        idempotency: Some(Idempotency { key: "once".into(), window_ms: 600_000 }),
        ..message(&results)
    };
    let first = once();
    put(&**queue, &[sent.clone(), first.clone()]).await;
    let claims = take(&**queue, 2).await;
    let of_sent = claims.iter().find(|claim| claim.lane == sent.lane).unwrap();
    let mut large = message(&results);
    large.call.body = Payload::Inline(vec![7; 9 << 20].into());
    let then = vec![message(&results), large];
    let settlement = Settlement { id: sent.id, verdict: Verdict::Over, then: then.clone() };
    match queue.settle(of_sent.id, settlement).await {
        Err(error) => {
            assert_eq!(error.code, "XB4024", "{error}");
            assert_eq!(queue.extend(of_sent.id, LONG).await.unwrap(), Held::Yes(vec![]), "it is not settled");
            none(&**queue, "nothing was accepted").await;
            assert_eq!(queue.get(&then[0].id).await.unwrap(), None);
            let then = vec![once(), message(&results)];
            let settlement = Settlement { id: sent.id, verdict: Verdict::Over, then: then.clone() };
            assert_eq!(queue.settle(of_sent.id, settlement).await.unwrap(), Settled::Yes);
            assert_eq!(ids(&[take_one(&**queue).await]), [then[1].id], "the key was used");
        }
        Ok(settled) => {
            assert_eq!(settled, Settled::Yes);
            assert_eq!(ids(&take(&**queue, 2).await), super::ids_of(&then));
        }
    }
    none(&**queue, "all else was settled").await;
}

/// Its part of the claim is over then.
pub async fn settles_each_message_once(queue: &Subject) {
    let (sent, other) = (message(&lane("f")), message(&lane("f")));
    put(&**queue, &[sent.clone(), other.clone()]).await;
    let claims = take(&**queue, 2).await;
    let of_sent = claims.iter().find(|claim| claim.messages[0].message.id == sent.id).unwrap();
    let of_other = claims.iter().find(|claim| claim.messages[0].message.id == other.id).unwrap();
    let wrong = Settlement { id: other.id, verdict: Verdict::Over, then: Vec::new() };
    assert_eq!(queue.settle(of_sent.id, wrong).await.unwrap(), Settled::Late, "it is another claim's");
    assert_eq!(settle(&**queue, of_sent, dead("once")).await, Settled::Yes);
    assert_eq!(settle(&**queue, of_sent, Verdict::Over).await, Settled::Late);
    assert_eq!(queue.extend(of_sent.id, LONG).await.unwrap(), Held::No, "the claim ended");
    assert_eq!(in_state(&**queue, &sent.id, "dead").await.why.as_deref(), Some("once"));
    assert_eq!(settle(&**queue, of_other, Verdict::Over).await, Settled::Yes);
}

/// Neither is anything done, nor accepted, nor taken from whoever has the message by then.
pub async fn refuses_what_comes_too_late(queue: &Subject) {
    let sent = message(&lane("f"));
    put(&**queue, std::slice::from_ref(&sent)).await;
    let first = queue.claim(ask(1, SHORT, PATIENCE)).await.unwrap().remove(0);
    let second = take_one(&**queue).await;
    assert_ne!(first.id, second.id);
    assert_eq!(queue.extend(first.id, LONG).await.unwrap(), Held::No);
    for verdict in [Verdict::Over, again(in_ms(0)), dead("late")] {
        let then = vec![message(&lane("results"))];
        let settlement = Settlement { id: sent.id, verdict, then: then.clone() };
        assert_eq!(queue.settle(first.id, settlement).await.unwrap(), Settled::Late);
        none(&**queue, "the message runs, and nothing was accepted").await;
        assert_eq!(queue.get(&then[0].id).await.unwrap(), None);
    }
    assert_eq!(queue.extend(second.id, LONG).await.unwrap(), Held::Yes(vec![]));
    let entry = in_state(&**queue, &sent.id, "running").await;
    assert_eq!(entry.history, History { interruptions: 1, ..History::default() });
    assert_eq!(settle(&**queue, &second, Verdict::Over).await, Settled::Yes);
    gone(&**queue, &sent.id).await;
}
