//! Records as they are followed, flushed, and kept with their requests.

use crate::world::{World, invocation, key};
use futures_util::{FutureExt as _, StreamExt as _, future::join_all};
use std::sync::atomic::Ordering::SeqCst;
use xebec_core::{
    Body, InvocationId,
    message::Payload,
    ports::{control::Control as _, invoker::Invoker as _},
    record::{Followed, RecordQuery},
};
use xebec_engine::EngineOptions;

#[tokio::test(start_paused = true)]
async fn followers_get_what_comes_after_their_page() {
    let world = World::new();
    for name in ["f", "g"] {
        world.deploy(name, |_| {}).await;
        world.text(name, "/sleep?1").await;
    }
    let of_f = RecordQuery { function: Some(key("f")), ..RecordQuery::default() };
    let (page, mut stream) = world.engine.follow_records(of_f).await.unwrap();
    assert_eq!(page.records.len(), 1);
    for name in ["g", "f", "g", "f"] {
        world.text(name, "/sleep?1").await;
    }
    for _ in 0..2 {
        let Some(Followed::Record(record)) = stream.next().await else { panic!("no record") };
        assert_eq!(record.function, key("f"));
        assert!(record.id != page.records[0].id);
    }
    world.engine.flush_records().await.unwrap();
    assert!(stream.next().now_or_never().is_none());
    // Records that others than the engine make, too.
    let made = world.engine.record(&page.records[0].id).await.unwrap().unwrap();
    world.engine.records_port().append(vec![made.clone()]).await.unwrap();
    assert_eq!(stream.next().await, Some(Followed::Record(Box::new(made))));
}

#[tokio::test(start_paused = true)]
async fn many_who_flush_share_what_is_written() {
    let world = World::new();
    world.deploy("f", |deployment| deployment.revision.limits.concurrency = 1000).await;
    world.text("f", "/sleep?1").await;
    world.engine.flush_records().await.unwrap();
    let before = world.records.appended.load(SeqCst);
    let calls = (0..200).map(|_| async {
        world.text("f", "/sleep?1").await;
        world.engine.flush_records().await.unwrap();
    });
    join_all(calls).await;
    let batches = world.records.appended.load(SeqCst) - before;
    assert_eq!(world.records.all.lock().len(), 201);
    assert!(batches < 20, "{batches}");
}

#[tokio::test(start_paused = true)]
async fn requests_are_kept_where_that_is_asked_for() {
    let limit = EngineOptions { keep_requests: Some(10), ..EngineOptions::default() };
    for (options, kept) in [(EngineOptions::default(), false), (limit, true)] {
        let world = World::with(options);
        world.deploy("f", |_| {}).await;
        let send = async |body: &'static str| -> InvocationId {
            let mut call = invocation("f", "/echo?a=b", Body::full(body));
            let headers = call.request.headers_mut();
            headers.insert("authorization", http::HeaderValue::from_static("Bearer secret"));
            headers.insert("x-kept", http::HeaderValue::from_static("yes"));
            let id = call.id;
            let answer = world.engine.invoke(call).await.unwrap();
            answer.response.into_body().collect(100).await.unwrap();
            id
        };
        let (small, large) = (send("0123456789").await, send("0123456789a").await);
        let found = world.engine.kept_request(&small).await.unwrap();
        assert_eq!(found.is_some(), kept);
        if let Some(call) = found {
            assert_eq!((call.method.as_str(), call.uri.as_str()), ("GET", "/echo?a=b"));
            assert_eq!(call.body, Payload::Inline("0123456789".into()));
            assert!(call.headers.contains_key("x-kept") && !call.headers.contains_key("authorization"));
        }
        assert_eq!(world.engine.kept_request(&large).await.unwrap(), None);
        assert_eq!(world.records().await.len(), 2);
    }
}
