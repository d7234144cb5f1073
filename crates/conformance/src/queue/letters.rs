//! Messages as people see them: listed, cancelled, counted; dead letters redriven and discarded.

use super::{
    Subject, again, all, bury, consumer, finish, function, gone, ids, ids_of, in_ms, in_state, keyed, lane,
    many, message, none, put, settle, take, take_one, tenant, these, until,
};
use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use xebec_core::{
    Digest, InvocationId,
    message::{Lane, Message, Payload},
    ports::queue::{
        BatchRules, Entry, EntryQuery, EntryState, LaneRules, LaneStats, Place, Queue, Selection, Settlement,
        Verdict,
    },
    rules::retry::History,
};

fn entry_ids(entries: &[Entry]) -> Vec<InvocationId> {
    entries.iter().map(|entry| entry.message.id).collect()
}

async fn listed(queue: &dyn Queue, which: Selection, state: Option<&str>) -> Vec<InvocationId> {
    let query = EntryQuery { which, state: state.map(str::to_owned), ..EntryQuery::default() };
    entry_ids(&all(queue, query).await)
}

/// It goes and is handed back as it was, and cannot be cancelled twice.
pub async fn cancels_what_waits_and_what_is_dead(queue: &Subject) {
    let (now, later) = (message(&lane("f")), Message { due: in_ms(3_600_000), ..message(&lane("f")) });
    let died = message(&lane("f"));
    bury(&**queue, std::slice::from_ref(&died)).await;
    put(&**queue, &[now.clone(), later.clone()]).await;
    for (sent, state) in [(&now, "waiting"), (&later, "waiting"), (&died, "dead")] {
        let before = queue.get(&sent.id).await.unwrap();
        let entry = queue.cancel(&sent.id).await.unwrap();
        assert_eq!((&entry.message, entry.state.name()), (sent, state));
        assert_eq!(Some(entry), before);
        gone(&**queue, &sent.id).await;
        assert_eq!(queue.cancel(&sent.id).await.unwrap_err().code, "XB4021");
    }
    none(&**queue, "all were cancelled").await;
    assert_eq!(queue.stats(None).await.unwrap(), []);
}

/// Oldest accepted first, whatever became of them meanwhile, without gaps or repeats, and never more than a
/// thousand.
pub async fn lists_in_order_and_in_pages(queue: &Subject) {
    let mut sent = Vec::new();
    for number in 0..25_i64 {
        let due = in_ms(if number % 4 == 0 { 3_600_000 } else { -number });
        let priority = (number % 10) as u8;
        sent.push(Message { priority, due, ..message(&lane(&format!("f{}", number % 3))) });
    }
    put(&**queue, &sent).await;
    for claim in take(&**queue, 6).await {
        settle(&**queue, &claim, super::dead("no")).await;
    }
    let claims = take(&**queue, 4).await;
    settle(&**queue, &claims[0], again(in_ms(-9000))).await;
    let wanted = ids_of(&sent);
    for limit in [None, Some(1), Some(10), Some(25), Some(4_000_000)] {
        let query = EntryQuery { limit, ..EntryQuery::default() };
        assert_eq!(entry_ids(&all(&**queue, query).await), wanted, "{limit:?}");
    }
    until("six are dead", async || listed(&**queue, Selection::default(), Some("dead")).await.len() == 6)
        .await;
    put(&**queue, &many(1001, &lane("many"))).await;
    // `all` sees to it that no page has more than a thousand.
    let query = EntryQuery { limit: Some(4_000_000), ..EntryQuery::default() };
    assert_eq!(all(&**queue, query).await.len(), 1026);
}

/// Tenant, queue, function, ids and state, alone and together.
pub async fn lists_by_everything_that_can_be_selected(queue: &Subject) {
    let of = |tenant: &str, queue: &str, name: &str| message(&Lane::function(queue, &function(tenant, name)));
    let died = [of("acme", "default", "f"), of("rival", "jobs", "g")];
    bury(&**queue, &died).await;
    let sent = [
        of("acme", "default", "f"),
        of("acme", "jobs", "f"),
        of("rival", "default", "f"),
        of("rival", "jobs", "g"),
        message(&consumer("jobs")),
    ];
    put(&**queue, &sent).await;
    let everything: Vec<_> = died.iter().chain(&sent).collect();
    let some_ids = Some(vec![sent[3].id, died[1].id, InvocationId::new()]);
    let selections = [
        Selection::default(),
        Selection { tenant: Some(tenant("acme")), ..Selection::default() },
        Selection { queue: Some("jobs".to_owned()), ..Selection::default() },
        Selection { function: Some(function("acme", "f")), ..Selection::default() },
        Selection {
            function: Some(function("rival", "f")),
            queue: Some("jobs".to_owned()),
            ..Selection::default()
        },
        Selection { tenant: Some(tenant("rival")), queue: Some("jobs".to_owned()), ..Selection::default() },
        Selection { ids: some_ids.clone(), ..Selection::default() },
        Selection { ids: some_ids, tenant: Some(tenant("acme")), ..Selection::default() },
        Selection { ids: Some(Vec::new()), ..Selection::default() },
        Selection { tenant: Some(tenant("nobody")), ..Selection::default() },
    ];
    for selection in selections {
        let covered = |message: &&&Message| selection.covers(&message.id, &message.lane);
        let of_all = |messages: &[&Message]| {
            messages.iter().filter(covered).map(|message| message.id).collect::<Vec<_>>()
        };
        let wanted = of_all(&everything);
        assert_eq!(listed(&**queue, selection.clone(), None).await, wanted, "{selection:?}");
        let dead = of_all(&died.iter().collect::<Vec<_>>());
        assert_eq!(listed(&**queue, selection.clone(), Some("dead")).await, dead, "{selection:?}");
        let waiting = of_all(&sent.iter().collect::<Vec<_>>());
        assert_eq!(listed(&**queue, selection.clone(), Some("waiting")).await, waiting, "{selection:?}");
        assert_eq!(listed(&**queue, selection, Some("running")).await, []);
    }
}

/// Rather than answer something else.
pub async fn refuses_queries_it_cannot_know(queue: &Subject) {
    put(&**queue, &many(3, &lane("f"))).await;
    for cursor in ["x", "", "é", "-1"] {
        let query = EntryQuery { cursor: Some(cursor.to_owned()), ..EntryQuery::default() };
        assert_eq!(queue.list(&query).await.unwrap_err().code, "XB4014", "{cursor:?}");
    }
    let query = EntryQuery { state: Some("asleep".to_owned()), ..EntryQuery::default() };
    assert_eq!(queue.list(&query).await.unwrap_err().code, "XB4025");
}

/// They stay, are never claimed, and no redrive of others touches them.
pub async fn keeps_dead_letters_until_they_are_wanted(queue: &Subject) {
    let died = many(3, &lane("f"));
    bury(&**queue, &died).await;
    none(&**queue, "they are dead").await;
    let waits = Message { due: in_ms(3_600_000), ..message(&lane("f")) };
    put(&**queue, std::slice::from_ref(&waits)).await;
    assert_eq!(queue.redrive(&these(&[waits.id]), None).await.unwrap(), 0, "it is not dead");
    let nobody = Selection { tenant: Some(tenant("nobody")), ..Selection::default() };
    assert_eq!(queue.redrive(&nobody, None).await.unwrap(), 0);
    assert_eq!(queue.discard(&nobody).await.unwrap(), []);
    none(&**queue, "none of them was redriven").await;
    assert_eq!(listed(&**queue, Selection::default(), Some("dead")).await, ids_of(&died));
    let entry = queue.get(&waits.id).await.unwrap().unwrap();
    assert_eq!(entry.state, EntryState::Waiting { due: waits.due }, "it waits as before");
}

/// As selected, and it says how many.
pub async fn redrives_one_some_and_all(queue: &Subject) {
    let (f, g) = (lane("f"), lane("g"));
    let died = [message(&f), message(&g), message(&f), message(&g), message(&f)];
    bury(&**queue, &died).await;
    let rounds = [
        (these(&[died[2].id]), vec![2]),
        (Selection { function: Some(function("acme", "g")), ..Selection::default() }, vec![1, 3]),
        (Selection::default(), vec![0, 4]),
    ];
    for (selection, wanted) in rounds {
        assert_eq!(queue.redrive(&selection, None).await.unwrap(), wanted.len() as u64);
        let claims = take(&**queue, wanted.len()).await;
        let wanted: Vec<_> = wanted.iter().map(|index| died[*index].id).collect();
        assert_eq!(ids(&claims), wanted, "oldest first");
        none(&**queue, "only those selected").await;
        finish(&**queue, &claims).await;
    }
    assert_eq!(queue.redrive(&Selection::default(), None).await.unwrap(), 0);
}

/// So that what they died of does not end them again at once.
pub async fn redrives_as_if_they_were_new(queue: &Subject) {
    let sent = Message { expires: Some(in_ms(-1000)), due: in_ms(-60_000), ..message(&lane("f")) };
    put(&**queue, std::slice::from_ref(&sent)).await;
    let claim = take_one(&**queue).await;
    let history = History { failures: 9, refusals: 8, interruptions: 7 };
    let death = xebec_core::rules::retry::Death::Exhausted;
    settle(&**queue, &claim, Verdict::Dead { death, history, why: "no".to_owned() }).await;
    in_state(&**queue, &sent.id, "dead").await;
    let before = super::now();
    assert_eq!(queue.redrive(&these(&[sent.id]), None).await.unwrap(), 1);
    let claim = take_one(&**queue).await;
    let claimed = &claim.messages[0];
    assert_eq!(claimed.history, History::default());
    let due = claimed.message.due;
    assert!(due >= before && due <= Timestamp::now(), "{due} is not between {before} and now");
    assert_eq!(claimed.message, Message { due, expires: None, ..sent.clone() });
    let entry = in_state(&**queue, &sent.id, "running").await;
    assert_eq!((entry.history, entry.why), (History::default(), None));
    assert_eq!(settle(&**queue, &claim, again(in_ms(0))).await, xebec_core::ports::queue::Settled::Yes);
    assert_eq!(take_one(&**queue).await.messages[0].history.failures, 1);
}

/// Oldest first, at most so many in any second.
pub async fn redrives_no_faster_than_asked(queue: &Subject) {
    let died = many(6, &lane("f"));
    bury(&**queue, &died).await;
    let began = Instant::now();
    assert_eq!(queue.redrive(&Selection::default(), Some(4)).await.unwrap(), 6);
    let (mut order, mut times) = (Vec::new(), Vec::new());
    for _ in 0..died.len() {
        let claim = take_one(&**queue).await;
        times.push(began.elapsed());
        order.extend(ids(std::slice::from_ref(&claim)));
        finish(&**queue, &[claim]).await;
    }
    assert_eq!(order, ids_of(&died));
    // Those redriven now, and four for each second: the sixth must not come before a second is over.
    assert!(times[5] >= Duration::from_millis(900), "{times:?}");
}

/// They are handed back, at most a thousand at a time, and do not come back.
pub async fn discards_dead_letters_only(queue: &Subject) {
    let died = [message(&lane("f")), message(&lane("g")), message(&lane("f"))];
    bury(&**queue, &died).await;
    let waits = Message { due: in_ms(3_600_000), ..message(&lane("f")) };
    put(&**queue, std::slice::from_ref(&waits)).await;
    let of_f = Selection { function: Some(function("acme", "f")), ..Selection::default() };
    let mut gone_ones = queue.discard(&of_f).await.unwrap();
    gone_ones.sort_by_key(|message| message.id);
    assert_eq!(gone_ones, [died[0].clone(), died[2].clone()]);
    for message in &gone_ones {
        gone(&**queue, &message.id).await;
    }
    assert_eq!(queue.discard(&these(&[waits.id])).await.unwrap(), [], "it waits");
    assert_eq!(ids_of(&queue.discard(&Selection::default()).await.unwrap()), [died[1].id]);
    gone(&**queue, &died[1].id).await;
    assert_eq!(queue.discard(&Selection::default()).await.unwrap(), []);
    assert_eq!(listed(&**queue, Selection::default(), None).await, [waits.id]);
}

/// However many there are: who wants all of them gone calls again until none come.
pub async fn discards_a_thousand_at_a_time(queue: &Subject) {
    let (f, count) = (lane("f"), 1100);
    let batch = Some(BatchRules { size: 100, wait: Duration::ZERO });
    queue.configure(&f, LaneRules { concurrency: 100, batch });
    put(&**queue, &many(count, &f)).await;
    let mut dead = 0;
    while dead < count {
        for claim in take(&**queue, 1).await {
            let settlements = claim.messages.iter().map(|claimed| {
                super::settle_one(&**queue, &claim, claimed.message.id, super::dead("it broke"))
            });
            dead += join_all(settlements).await.len();
        }
    }
    until("all are dead", async || {
        queue.stats(None).await.unwrap().iter().all(|stats| stats.dead == count as u64)
    })
    .await;
    let mut gone = BTreeSet::new();
    loop {
        let some = queue.discard(&Selection::default()).await.unwrap();
        assert!(some.len() <= 1000, "{} at once", some.len());
        if some.is_empty() {
            break;
        }
        gone.extend(ids_of(&some));
    }
    assert_eq!(gone.len(), count, "each came once");
}

async fn stats_are(queue: &dyn Queue, wanted: &[LaneStats]) {
    let deadline = Instant::now() + super::PATIENCE;
    loop {
        let seen = queue.stats(None).await.unwrap();
        if seen == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:#?} should be {wanted:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Lane by lane, sorted, without empty ones.
pub async fn counts_what_is_there(queue: &Subject) {
    let empty = |lane: &Lane| LaneStats {
        lane: lane.clone(),
        waiting: 0,
        delayed: 0,
        running: 0,
        dead: 0,
        oldest_due: None,
        paused: false,
    };
    let (f, g, rival) = (lane("f"), lane("g"), Lane::function("default", &function("rival", "f")));
    bury(&**queue, &many(2, &g)).await;
    let mut jobs = many(3, &consumer("jobs"));
    jobs[1].due = in_ms(-5000);
    jobs[2].due = in_ms(3_600_000);
    put(&**queue, &jobs).await;
    put(&**queue, &[message(&rival), keyed(&f, "a")]).await;
    let claims = take(&**queue, 2).await;
    put(&**queue, &[keyed(&f, "a")]).await;
    let behind =
        all(&**queue, EntryQuery { state: Some("waiting".to_owned()), ..EntryQuery::default() }).await;
    let place = Place::Queue { tenant: tenant("acme"), name: "jobs".to_owned() };
    queue.pause(&place).await.unwrap();
    let jobs_stats = LaneStats {
        waiting: 3,
        delayed: 1,
        oldest_due: Some(jobs[1].due),
        paused: true,
        ..empty(&consumer("jobs"))
    };
    let f_stats = LaneStats {
        waiting: 1,
        running: 1,
        oldest_due: behind.last().map(|last| last.message.due),
        ..empty(&f)
    };
    let mut wanted = vec![
        f_stats,
        LaneStats { dead: 2, ..empty(&g) },
        jobs_stats,
        LaneStats { running: 1, ..empty(&rival) },
    ];
    wanted.sort_by(|one, other| one.lane.cmp(&other.lane));
    stats_are(&**queue, &wanted).await;
    let of_rival = queue.stats(Some(&tenant("rival"))).await.unwrap();
    assert_eq!(of_rival, [LaneStats { running: 1, ..empty(&rival) }]);
    assert_eq!(queue.stats(Some(&tenant("nobody"))).await.unwrap(), []);

    finish(&**queue, &claims).await;
    let claim = take_one(&**queue).await;
    finish(&**queue, &[claim]).await;
    while !queue.discard(&Selection::default()).await.unwrap().is_empty() {}
    for message in &jobs {
        queue.cancel(&message.id).await.unwrap();
    }
    stats_are(&**queue, &[]).await;
}

/// Of whatever state, and no longer than their messages are there.
pub async fn names_blobs(queue: &Subject) {
    queue.configure(&lane("f"), LaneRules::default());
    let with_blob = |name: &str| {
        let mut message = message(&lane("f"));
        message.call.body = Payload::Blob { digest: Digest::of(name), bytes: 100_000 };
        message
    };
    let named = |names: &[&str]| names.iter().map(Digest::of).collect::<BTreeSet<_>>();
    let seen = async |names: &[&str]| {
        let wanted = named(names);
        until("the blobs are named", async || {
            queue.blobs().await.unwrap().into_iter().collect::<BTreeSet<_>>() == wanted
        })
        .await;
    };
    let (dies, runs, waits) = (with_blob("dies"), with_blob("runs"), with_blob("waits"));
    bury(&**queue, std::slice::from_ref(&dies)).await;
    put(&**queue, std::slice::from_ref(&runs)).await;
    let claim = take_one(&**queue).await;
    put(&**queue, &[waits.clone(), message(&lane("f"))]).await;
    seen(&["dies", "runs", "waits"]).await;
    let then = vec![with_blob("result")];
    queue.settle(claim.id, Settlement { id: runs.id, verdict: Verdict::Over, then }).await.unwrap();
    seen(&["dies", "result", "waits"]).await;
    queue.cancel(&waits.id).await.unwrap();
    assert_eq!(queue.discard(&Selection::default()).await.unwrap().len(), 1);
    seen(&["result"]).await;
    let mut inline = message(&lane("f"));
    inline.call.body = Payload::Inline(Bytes::from_static(b"small"));
    put(&**queue, &[inline]).await;
    seen(&["result"]).await;
}

/// While it is in use.
pub async fn is_well_and_lets_itself_be_copied(queue: &Subject) {
    queue.health().await.unwrap();
    put(&**queue, &many(10, &lane("f"))).await;
    let claims = take(&**queue, 3).await;
    let directory = tempfile::tempdir().unwrap();
    if queue.backup(directory.path()).await.unwrap() {
        let files = std::fs::read_dir(directory.path()).unwrap();
        let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes > 0, "a copy has something in it");
    }
    finish(&**queue, &claims).await;
    let rest = take(&**queue, 7).await;
    finish(&**queue, &rest).await;
    queue.health().await.unwrap();
}
