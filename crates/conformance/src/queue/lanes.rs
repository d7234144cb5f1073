//! How lanes are served: limits, pauses, turns.

use super::{
    Subject, consumer, finish, function, ids, lane, many, message, none, put, settle, take, take_one, tenant,
    until,
};
use std::collections::BTreeSet;
use xebec_core::{
    InvocationId,
    message::Lane,
    ports::queue::{LaneRules, Place, Queue, Settled, Verdict},
};

fn of(tenant: &str, name: &str) -> Lane {
    Lane::function("default", &function(tenant, name))
}

fn narrow(concurrency: u32) -> LaneRules {
    LaneRules { concurrency, batch: None }
}

/// Of each lane so many claims at a time, and others beside it.
pub async fn keeps_lanes_within_their_concurrency(queue: &Subject) {
    queue.configure(&lane("f"), narrow(2));
    put(&**queue, &many(4, &lane("f"))).await;
    put(&**queue, &many(3, &lane("g"))).await;
    let claims = take(&**queue, 5).await;
    let of_f: Vec<_> = claims.iter().filter(|claim| claim.lane == lane("f")).collect();
    assert_eq!(of_f.len(), 2);
    none(&**queue, "f is at its limit, g is empty").await;
    assert_eq!(settle(&**queue, of_f[0], Verdict::Over).await, Settled::Yes);
    let third = take_one(&**queue).await;
    assert_eq!(third.lane, lane("f"));
    none(&**queue, "f is at its limit again").await;
    queue.configure(&lane("f"), narrow(3));
    let fourth = take_one(&**queue).await;
    // A limit that is lowered ends no claim.
    queue.configure(&lane("f"), narrow(1));
    put(&**queue, &many(1, &lane("f"))).await;
    assert_eq!(settle(&**queue, &third, Verdict::Over).await, Settled::Yes);
    none(&**queue, "two still run").await;
    assert_eq!(settle(&**queue, &fourth, Verdict::Over).await, Settled::Yes);
    none(&**queue, "one still runs").await;
    assert_eq!(settle(&**queue, of_f[1], Verdict::Over).await, Settled::Yes);
    assert_eq!(take_one(&**queue).await.lane, lane("f"));
}

/// As the port says of lanes that nobody configured.
pub async fn serves_sixteen_of_a_lane_unless_told_otherwise(queue: &Subject) {
    put(&**queue, &many(20, &lane("f"))).await;
    let claims = take(&**queue, 16).await;
    none(&**queue, "sixteen run").await;
    finish(&**queue, &claims[..2]).await;
    take(&**queue, 2).await;
    none(&**queue, "sixteen run again").await;
}

/// Messages wait; closing it again keeps them.
pub async fn keeps_consumers_closed_until_someone_takes(queue: &Subject) {
    let jobs = consumer("jobs");
    put(&**queue, &many(3, &jobs)).await;
    none(&**queue, "nobody takes from it").await;
    queue.configure(&jobs, narrow(1));
    let claim = take_one(&**queue).await;
    assert_eq!(claim.lane, jobs);
    queue.configure(&jobs, narrow(0));
    assert_eq!(settle(&**queue, &claim, Verdict::Over).await, Settled::Yes);
    none(&**queue, "it was closed").await;
    queue.configure(&lane("f"), narrow(0));
    put(&**queue, &many(1, &lane("f"))).await;
    none(&**queue, "any lane can be closed").await;
    queue.configure(&jobs, LaneRules::default());
    let claims = take(&**queue, 2).await;
    assert!(claims.iter().all(|claim| claim.lane == jobs));
}

/// All its lanes together; others are not concerned.
pub async fn keeps_tenants_within_their_limits(queue: &Subject) {
    queue.limit(&tenant("acme"), Some(3));
    put(&**queue, &many(4, &lane("f"))).await;
    put(&**queue, &many(4, &lane("g"))).await;
    put(&**queue, &many(4, &of("rival", "f"))).await;
    let claims = take(&**queue, 7).await;
    let of_acme: Vec<_> = claims.iter().filter(|claim| claim.lane.tenant == tenant("acme")).collect();
    assert_eq!(of_acme.len(), 3);
    none(&**queue, "acme is at its limit").await;
    assert_eq!(settle(&**queue, of_acme[0], Verdict::Over).await, Settled::Yes);
    assert_eq!(take_one(&**queue).await.lane.tenant, tenant("acme"));
    none(&**queue, "acme is at its limit again").await;
    queue.limit(&tenant("acme"), None);
    take(&**queue, 4).await;
    queue.limit(&tenant("rival"), Some(0));
    put(&**queue, &many(1, &of("rival", "f"))).await;
    none(&**queue, "a tenant may be stopped").await;
}

/// All lanes of the queue, of that tenant only; what runs goes on.
pub async fn pauses_queues(queue: &Subject) {
    let place = Place::Queue { tenant: tenant("acme"), name: "default".to_owned() };
    put(&**queue, &many(1, &lane("f"))).await;
    let running = take_one(&**queue).await;
    queue.pause(&place).await.unwrap();
    queue.pause(&place).await.unwrap();
    assert_eq!(queue.paused().await.unwrap(), std::slice::from_ref(&place), "once is enough");
    put(&**queue, &[message(&lane("f")), message(&lane("g"))]).await;
    let elsewhere = Lane { queue: "other".into(), ..lane("f") };
    put(&**queue, &[message(&elsewhere), message(&of("rival", "f"))]).await;
    let claims = take(&**queue, 2).await;
    assert!(claims.iter().all(|claim| claim.lane == elsewhere || claim.lane == of("rival", "f")));
    none(&**queue, "the queue is paused").await;
    assert_eq!(settle(&**queue, &running, Verdict::Over).await, Settled::Yes);
    let paused = async || {
        let stats = queue.stats(None).await.unwrap();
        stats.iter().filter(|stats| stats.paused).map(|stats| stats.lane.clone()).collect::<Vec<_>>()
    };
    until("stats say so", async || paused().await == [lane("f"), lane("g")]).await;
    queue.resume(&place).await.unwrap();
    assert_eq!(queue.paused().await.unwrap(), []);
    let claims = take(&**queue, 2).await;
    finish(&**queue, &claims).await;
    queue.resume(&place).await.unwrap();
}

/// In all queues.
pub async fn pauses_functions(queue: &Subject) {
    queue.pause(&Place::Function(function("acme", "f"))).await.unwrap();
    let elsewhere = Lane { queue: "other".into(), ..lane("f") };
    put(&**queue, &[message(&lane("f")), message(&elsewhere), message(&lane("g"))]).await;
    put(&**queue, &[message(&of("rival", "f"))]).await;
    let claims = take(&**queue, 2).await;
    assert!(claims.iter().all(|claim| claim.lane == lane("g") || claim.lane == of("rival", "f")));
    none(&**queue, "the function is paused").await;
    queue.resume(&Place::Function(function("acme", "f"))).await.unwrap();
    take(&**queue, 2).await;
}

/// A lane that two pauses cover waits for the end of both.
pub async fn ends_no_pause_but_the_one_named(queue: &Subject) {
    let whole = Place::Queue { tenant: tenant("acme"), name: "default".to_owned() };
    let one = Place::Function(function("acme", "f"));
    let mut both = vec![whole.clone(), one.clone()];
    queue.pause(&whole).await.unwrap();
    queue.pause(&one).await.unwrap();
    both.sort();
    let mut paused = queue.paused().await.unwrap();
    paused.sort();
    assert_eq!(paused, both);
    put(&**queue, &[message(&lane("f")), message(&lane("g"))]).await;
    none(&**queue, "both are paused").await;
    queue.resume(&Place::Function(function("acme", "g"))).await.unwrap();
    queue.resume(&Place::Queue { tenant: tenant("rival"), name: "default".to_owned() }).await.unwrap();
    none(&**queue, "those were no pauses").await;
    queue.resume(&whole).await.unwrap();
    assert_eq!(take_one(&**queue).await.lane, lane("g"));
    none(&**queue, "the function is still paused").await;
    queue.resume(&one).await.unwrap();
    assert_eq!(take_one(&**queue).await.lane, lane("f"));
}

/// How many claims come until those of these messages have come, each of them settled at once; some are asked
/// for at a time.
async fn claims_until(queue: &dyn Queue, wanted: &[InvocationId], at_a_time: usize) -> usize {
    let (mut claims, mut left): (usize, Vec<_>) = (0, wanted.to_vec());
    while !left.is_empty() {
        let some = queue.claim(super::ask(at_a_time, super::LONG, super::PATIENCE)).await.unwrap();
        assert!(!some.is_empty(), "nothing came for half a minute");
        claims += some.len();
        finish(queue, &some).await;
        left.retain(|id| !ids(&some).contains(id));
    }
    claims
}

/// Claims after which those who wait beside a crowd must have had theirs. The port lets lanes interleave as they
/// will; what counts is that it does not depend on how many others wait.
const FEW: usize = 64;

/// However many they are, and in however many lanes.
pub async fn delays_nobody_for_a_tenant_with_many_messages(queue: &Subject) {
    let crowd = queue.scale.messages.max(4 * FEW);
    let mut sent = Vec::with_capacity(crowd);
    for number in 0..crowd {
        sent.push(message(&of("acme", &format!("f{}", number % 20))));
    }
    put(&**queue, &sent).await;
    for at_a_time in [1, 8] {
        let single = message(&of("rival", "f"));
        put(&**queue, std::slice::from_ref(&single)).await;
        let claims = claims_until(&**queue, &[single.id], at_a_time).await;
        assert!(claims <= FEW, "one waited for {claims} claims of {crowd}");
    }
    // Nor is the crowd held up by one that comes after it.
    let rivals = of("rival", "f");
    put(&**queue, &many(2 * FEW, &rivals)).await;
    let mut served = BTreeSet::new();
    for _ in 0..FEW {
        let claim = take_one(&**queue).await;
        served.insert(claim.lane.tenant.clone());
        finish(&**queue, &[claim]).await;
    }
    assert_eq!(served, BTreeSet::from([tenant("acme"), tenant("rival")]));
}

/// Nor for one that fails all the time.
pub async fn delays_no_function_for_another_with_many_messages(queue: &Subject) {
    let crowd = (queue.scale.messages / 4).max(4 * FEW);
    put(&**queue, &many(crowd, &lane("f"))).await;
    let failed = take(&**queue, 8).await;
    for claim in &failed {
        settle(&**queue, claim, super::again(super::in_ms(-1))).await;
    }
    let singles: Vec<_> = (0..3).map(|number| message(&lane(&format!("g{number}")))).collect();
    put(&**queue, &singles).await;
    let claims = claims_until(&**queue, &super::ids_of(&singles), 1).await;
    assert!(claims <= FEW, "three functions waited for {claims} claims of {crowd}");
}
