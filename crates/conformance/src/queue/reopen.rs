//! What lasts: a queue that is closed and opened again has what it answered.

use super::{
    Kept, LONG, Opened, PATIENCE, SHORT, again, all, ask, bury, consumer, dead, finish, function, gone, ids,
    ids_of, in_ms, in_state, lane, many, message, none, put, settle, take, take_one, tenant,
};
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use std::{any::Any, sync::Arc};
use xebec_core::{
    message::{Idempotency, Message, Receipt},
    ports::queue::{EntryQuery, Held, LaneRules, Place, Queue, Settled, Settlement, Verdict},
    rules::retry::History,
};

type Reopen = Box<dyn Fn(Kept) -> BoxFuture<'static, (Arc<dyn Queue>, Kept)> + Send + Sync>;

/// A queue, one process after another.
pub struct Lives {
    /// `None` between two of them.
    alive: Option<Arc<dyn Queue>>,
    kept: Option<Kept>,
    reopen: Reopen,
}

impl Lives {
    /// What was opened, if it could be.
    pub fn new<K, O, F, A>(opened: O, reopen: F) -> Option<Self>
    where
        K: Any + Send,
        O: Opened,
        F: Fn(K) -> A + Send + Sync + 'static,
        A: Future<Output = (Arc<dyn Queue>, K)> + Send + 'static,
    {
        let (queue, kept) = opened.opened()?;
        let reopen = move |kept: Kept| -> BoxFuture<'static, (Arc<dyn Queue>, Kept)> {
            let kept = kept.downcast::<K>().expect("it is what `open` kept");
            let opening = reopen(*kept);
            Box::pin(async move {
                let (queue, kept) = opening.await;
                (queue, Box::new(kept) as Kept)
            })
        };
        Some(Self { alive: Some(queue), kept: Some(kept), reopen: Box::new(reopen) })
    }

    fn queue(&self) -> &dyn Queue {
        self.alive.as_deref().expect("it is open")
    }

    /// Ends the process that has the queue, as far as can be told from within, and begins another.
    async fn reopen(&mut self) {
        drop(self.alive.take());
        let kept = self.kept.take().expect("it is open");
        let (queue, kept) = (self.reopen)(kept).await;
        (self.alive, self.kept) = (Some(queue), Some(kept));
    }
}

/// Messages, whatever state they were in, with all that is known of them; and nothing that was taken away.
pub async fn keeps_what_it_answered(lives: &mut Lives) {
    let queue = lives.queue();
    let waits = many(5, &lane("f"));
    let delayed = Message { due: in_ms(3_600_000), ..message(&lane("g")) };
    let (died, discarded, redriven) = (message(&lane("d")), message(&lane("d")), message(&lane("d")));
    bury(queue, &[died.clone(), discarded.clone(), redriven.clone()]).await;
    let (done, tried) = (message(&lane("e")), message(&lane("e")));
    put(queue, &[done.clone(), tried.clone()]).await;
    let claims = take(queue, 2).await;
    settle(queue, &claims[0], Verdict::Over).await;
    let history = History { failures: 2, refusals: 3, interruptions: 1 };
    let due = in_ms(3_600_000);
    settle(queue, &claims[1], Verdict::Again { due, history, why: "no".to_owned() }).await;
    put(queue, &waits).await;
    put(queue, &[delayed, message(&lane("g"))]).await;
    queue.cancel(&waits[1].id).await.unwrap();
    assert_eq!(queue.discard(&super::these(&[discarded.id])).await.unwrap().len(), 1);
    assert_eq!(queue.redrive(&super::these(&[redriven.id]), None).await.unwrap(), 1);
    for id in [done.id, waits[1].id, discarded.id] {
        gone(queue, &id).await;
    }
    in_state(queue, &redriven.id, "waiting").await;
    let before = all(queue, EntryQuery::default()).await;
    assert_eq!(before.len(), 1 + 1 + 1 + 4 + 2);
    for _ in 0..2 {
        lives.reopen().await;
        in_state(lives.queue(), &before[8].message.id, "waiting").await;
        assert_eq!(all(lives.queue(), EntryQuery::default()).await, before);
    }
    let queue = lives.queue();
    assert!(queue.enqueue(vec![waits[0].clone()]).await.unwrap()[0].duplicate);
    put(queue, &many(1, &lane("h"))).await;
    let claims = take(queue, 4 + 1 + 1 + 1).await;
    finish(queue, &claims).await;
    none(queue, "the rest is dead or not due").await;
}

/// That of acceptance, and that of claims.
pub async fn keeps_the_order(lives: &mut Lives) {
    let f = lane("f");
    let start = in_ms(0);
    let of = |priority, ms, key: Option<&str>| Message {
        priority,
        // Measured from one moment: opening again may take seconds.
        due: start + SignedDuration::from_millis(ms),
        key: key.map(Into::into),
        ..message(&f)
    };
    let sent = [
        of(5, -10, Some("k")),
        of(5, -2000, None),
        of(9, -10, None),
        of(9, -5000, Some("k")),
        of(5, -2000, None),
    ];
    put(lives.queue(), &sent).await;
    lives.reopen().await;
    let more = [of(5, -2000, None)];
    put(lives.queue(), &more).await;
    let listed = all(lives.queue(), EntryQuery::default()).await;
    let listed: Vec<_> = listed.iter().map(|entry| entry.message.id).collect();
    assert_eq!(listed, ids_of(&[&sent[..], &more].concat()));
    let claims = take(lives.queue(), 5).await;
    let wanted = [sent[2].id, sent[1].id, sent[4].id, more[0].id, sent[0].id];
    assert_eq!(ids(&claims), wanted, "the other of the key waits behind");
    finish(lives.queue(), &claims).await;
    assert_eq!(ids(&[take_one(lives.queue()).await]), [sent[3].id]);
}

/// Each has one more interruption, and its claim is no more.
pub async fn interrupts_what_ran(lives: &mut Lives) {
    let sent = many(3, &lane("f"));
    put(lives.queue(), &sent).await;
    let claims = lives.queue().claim(ask(1, SHORT, PATIENCE)).await.unwrap();
    let first = claims[0].messages[0].message.id;
    lives.reopen().await;
    let mut seen = Vec::new();
    while !seen.contains(&first) {
        let claim = take_one(lives.queue()).await;
        let claimed = &claim.messages[0];
        let interruptions = u32::from(claimed.message.id == first);
        assert_eq!(claimed.history, History { interruptions, ..History::default() });
        seen.push(claimed.message.id);
        if claimed.message.id == first {
            assert_ne!(claim.id, claims[0].id, "claims are not named twice");
            assert_eq!(settle(lives.queue(), &claims[0], Verdict::Over).await, Settled::Late);
            assert_eq!(lives.queue().extend(claims[0].id, LONG).await.unwrap(), Held::No);
            in_state(lives.queue(), &first, "running").await;
        }
    }
}

/// What was cancelled while it ran does not run again.
pub async fn keeps_cancellations_of_what_ran(lives: &mut Lives) {
    let sent = many(2, &lane("f"));
    put(lives.queue(), &sent).await;
    let claims = lives.queue().claim(ask(2, SHORT, PATIENCE)).await.unwrap();
    assert!(ids(&claims).contains(&sent[0].id));
    let cancelled = lives.queue().cancel(&sent[0].id).await.unwrap();
    if cancelled.state.name() != "running" {
        // The machine stalled for as long as the lease: it was waiting again, and is gone.
        return;
    }
    lives.reopen().await;
    gone(lives.queue(), &sent[0].id).await;
    let claim = take_one(lives.queue()).await;
    assert_eq!(ids(std::slice::from_ref(&claim)), [sent[1].id]);
    none(lives.queue(), "the other was cancelled").await;
}

/// Of messages that are there, and of those that are over.
pub async fn keeps_idempotency_keys(lives: &mut Lives) {
    let once = |key: &str| Message {
        idempotency: Some(Idempotency { key: key.into(), window_ms: 600_000 }),
        ..message(&lane("f"))
    };
    let (there, over) = (once("there"), once("over"));
    put(lives.queue(), std::slice::from_ref(&over)).await;
    let claim = take_one(lives.queue()).await;
    finish(lives.queue(), &[claim]).await;
    put(lives.queue(), std::slice::from_ref(&there)).await;
    lives.reopen().await;
    let receipts = lives.queue().enqueue(vec![once("there"), once("over"), once("new")]).await.unwrap();
    let duplicate = |id| Receipt { id, duplicate: true };
    assert_eq!(receipts[..2], [duplicate(there.id), duplicate(over.id)]);
    assert!(!receipts[2].duplicate);
}

/// Pauses are wishes of people; how lanes are served is told anew by who serves them.
pub async fn keeps_pauses_but_not_how_lanes_are_served(lives: &mut Lives) {
    let mut places = vec![
        Place::Queue { tenant: tenant("acme"), name: "default".to_owned() },
        Place::Function(function("acme", "x")),
    ];
    for place in &places {
        lives.queue().pause(place).await.unwrap();
    }
    let gone = Place::Function(function("acme", "y"));
    lives.queue().pause(&gone).await.unwrap();
    lives.queue().resume(&gone).await.unwrap();
    lives.queue().configure(&consumer("jobs"), LaneRules::default());
    lives.queue().limit(&tenant("acme"), Some(0));
    put(lives.queue(), &[message(&lane("f")), message(&consumer("jobs"))]).await;
    lives.reopen().await;
    let mut paused = lives.queue().paused().await.unwrap();
    paused.sort();
    places.sort();
    assert_eq!(paused, places);
    none(lives.queue(), "one is paused, of the other nobody takes").await;
    lives.queue().configure(&consumer("jobs"), LaneRules::default());
    assert_eq!(take_one(lives.queue()).await.lane, consumer("jobs"));
    for place in &places {
        lives.queue().resume(place).await.unwrap();
    }
    assert_eq!(take_one(lives.queue()).await.lane, lane("f"));
}

/// With what became of the message itself.
pub async fn keeps_what_came_of_a_message(lives: &mut Lives) {
    let sent = many(3, &lane("f"));
    put(lives.queue(), &sent).await;
    let claims = take(lives.queue(), 3).await;
    let results = many(3, &lane("results"));
    let verdicts = [Verdict::Over, again(in_ms(3_600_000)), dead("no")];
    for ((claim, verdict), result) in claims.iter().zip(verdicts).zip(&results) {
        let id = claim.messages[0].message.id;
        let settlement = Settlement { id, verdict, then: vec![result.clone()] };
        assert_eq!(lives.queue().settle(claim.id, settlement).await.unwrap(), Settled::Yes);
    }
    lives.reopen().await;
    let claims = take(lives.queue(), 3).await;
    assert_eq!(ids(&claims), ids_of(&results));
    none(lives.queue(), "the others are gone, not due, and dead").await;
    let mut left = all(lives.queue(), EntryQuery::default()).await;
    left.retain(|entry| entry.message.lane == lane("f"));
    let states: Vec<_> = left.iter().map(|entry| entry.state.name()).collect();
    assert_eq!(states, ["waiting", "dead"]);
}
