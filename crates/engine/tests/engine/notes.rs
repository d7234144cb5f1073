//! What a door wants kept of a call, and what is said beside its answer.

use crate::world::{World, invocation, key};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use xebec_core::{
    Body, Invocation, InvocationId, InvokeError, Outcome, Tenant,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    ports::{control::Control as _, invoker::Invoker as _},
    record::{Filed, Followed, InvocationRecord, Note, Noted, RecordQuery},
    workload::Workload,
};

fn note(answer_bytes: u64) -> Note {
    Note {
        filed: Some(Filed { tenant: Tenant::new("ann"), name: "pkg/f".into() }),
        cause: Some(InvocationId::new()),
        details: json!({ "kind": "fake", "parts": 0 }),
        answer_bytes,
    }
}

fn noted_call(path: &str, answer_bytes: u64) -> Invocation {
    Invocation { note: Some(Arc::new(note(answer_bytes))), ..invocation("f", path, Body::full("body")) }
}

/// Calls, reads the whole answer, and returns the record.
async fn recorded(world: &World, call: Invocation) -> InvocationRecord {
    let id = call.id;
    if let Ok(answer) = world.engine.invoke(call).await {
        // It may break off: then the record says so.
        drop(answer.response.into_body().collect(1 << 20).await);
    }
    world.engine.record(&id).await.unwrap().unwrap()
}

async fn failed(world: &World, call: Invocation) -> (Box<InvokeError>, InvocationRecord) {
    let id = call.id;
    let error = world.engine.invoke(call).await.unwrap_err();
    (error, world.engine.record(&id).await.unwrap().unwrap())
}

fn noted(record: &InvocationRecord) -> &Noted {
    record.noted.as_deref().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_door_notes_is_kept_with_the_record() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let call = noted_call("/echo", 100);
    let wanted = (*call.note.clone().unwrap()).clone();
    let record = recorded(&world, call).await;
    assert_eq!((&noted(&record).filed, noted(&record).cause), (&wanted.filed, wanted.cause));
    assert_eq!((&noted(&record).details, &noted(&record).answer), (&wanted.details, &Bytes::from("body")));
    let plain = recorded(&world, invocation("f", "/echo", Body::full("body"))).await;
    assert_eq!(plain.noted, None);
    let list = RecordQuery { filed_for: wanted.filed.map(|filed| filed.tenant), ..RecordQuery::default() };
    let page = world.engine.records(list.clone()).await.unwrap().records;
    assert_eq!(page, [record.clone().without_answer()]);
    let with = RecordQuery { answers: true, ..list };
    assert_eq!(world.engine.records(with).await.unwrap().records, [record]);
}

#[tokio::test(start_paused = true)]
async fn so_much_of_an_answer_is_kept_however_it_comes() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    for (path, most, kept) in [
        ("/sleep?1", 0, ""),
        ("/sleep?1", 3, "sle"),
        ("/stream?3", 12, "piecepiecepi"),
        ("/stream?3", 100, "piecepiecepiece"),
        ("/break?2", 100, "piecepiece"),
        ("/half", 100, "half an answer"),
        ("/half", 4, "half"),
        ("/crash", 100, ""),
    ] {
        let record = recorded(&world, noted_call(path, most)).await;
        assert_eq!(noted(&record).answer, kept, "{path} {most}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_leaves_what_had_passed() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let call = noted_call("/stream?5", 100);
    let id = call.id;
    let mut body = world.engine.invoke(call).await.unwrap().response.into_body();
    http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
    drop(body);
    let record = world.engine.record(&id).await.unwrap().unwrap();
    assert_eq!(record.outcome, Outcome::PlatformError(PlatformFault::Cancelled));
    assert_eq!((&*noted(&record).answer, &noted(&record).details["kind"]), (&b"piece"[..], &json!("fake")));
}

#[tokio::test(start_paused = true)]
async fn remarks_say_how_a_call_ended_and_add_to_its_note() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    let record = recorded(&world, noted_call("/remarked?7", 100)).await;
    assert_eq!((record.outcome, record.status), (Outcome::ApplicationError, Some(200)));
    assert_eq!(noted(&record).details, json!({ "kind": "fake", "parts": [7] }));
    let plain = recorded(&world, invocation("f", "/remarked?7", Body::empty())).await;
    assert_eq!((plain.outcome, plain.noted), (Outcome::ApplicationError, None));
    let metrics = world.metrics();
    assert!(metrics.contains("outcome=\"application_error\""), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn followers_get_answers_only_where_they_ask() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    for answers in [false, true] {
        let query = RecordQuery { answers, ..RecordQuery::default() };
        let (_, mut stream) = world.engine.follow_records(query).await.unwrap();
        recorded(&world, noted_call("/sleep?1", 100)).await;
        let next = timeout(Duration::from_secs(60), stream.next()).await.unwrap();
        let Some(Followed::Record(record)) = next else { panic!("no record") };
        assert_eq!(noted(&record).answer, if answers { "slept" } else { "" });
        assert!(stream.next().now_or_never().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_says_what_the_function_said() {
    let faults = [
        ("refused", FunctionFault::FailedInit, None),
        ("late", FunctionFault::Timeout(Clock::Start), Some(Clock::Start)),
    ];
    for (handler, fault, clock) in faults {
        let world = World::new();
        world.deploy("f", |d| d.revision.handler = Some(handler.to_owned())).await;
        let call = noted_call("/echo", 100);
        let (error, record) = failed(&world, call).await;
        assert_eq!(error.outcome, Outcome::FunctionError(fault));
        assert_eq!((&*error.output, error.clock), (&b"no main"[..], clock), "{error}");
        assert_eq!(noted(&record).answer, "no main");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_name_the_clock_that_ran_out() {
    let world = World::new();
    world
        .deploy("f", |d| {
            d.revision.limits.clocks.first_byte = Duration::from_secs(3);
            d.revision.limits.clocks.wait = Duration::from_secs(1);
            d.policy.max_instances = 1;
        })
        .await;
    let (error, _) = failed(&world, noted_call("/sleep?4000", 0)).await;
    assert_eq!(error.clock, Some(Clock::FirstByte));
    let call = Invocation { timeout: Some(Duration::from_secs(2)), ..noted_call("/sleep?4000", 0) };
    let (error, _) = failed(&world, call).await;
    assert_eq!(error.clock, Some(Clock::Run));
    let (busy, waiting) = tokio::join!(world.text("f", "/sleep?2000"), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        failed(&world, noted_call("/echo", 0)).await
    });
    assert_eq!((busy.as_str(), waiting.0.clock), ("slept", Some(Clock::Wait)));
    let (error, _) = failed(&world, noted_call("/crash", 0)).await;
    assert_eq!(error.clock, None);
}

#[tokio::test(start_paused = true)]
async fn code_of_the_server_learns_which_call_it_answers_and_no_other_does() {
    let world = World::new();
    world.deploy("f", |_| {}).await;
    assert_eq!(world.text("f", "/called").await, "");
    world
        .deploy("f", |d| {
            d.revision.workload = Workload::Builtin { name: "part".to_owned(), settings: Value::Null };
        })
        .await;
    let call = noted_call("/called", 0);
    let wanted = format!("{} {} {:?}", call.id, key("f"), call.note);
    // Turned away once: the second instance is told as well.
    world.script.turned_away.store(1, std::sync::atomic::Ordering::SeqCst);
    let answer = world.engine.invoke(call).await.unwrap();
    assert_eq!(answer.response.into_body().collect(1000).await.unwrap(), wanted);
}
