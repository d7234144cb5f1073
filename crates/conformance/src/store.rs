//! What every store does.

use futures_util::{StreamExt as _, TryStreamExt as _, future::join_all, stream::BoxStream};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;
use xebec_core::{
    Error,
    document::{Document, DocumentKey, Expect, ListQuery, WatchEvent, Write},
    ports::store::{Store, pages},
};

const PATIENCE: Duration = Duration::from_secs(30);

fn document(name: &str, spec: Value) -> Document {
    Document::new("thing", "default", name, spec)
}

fn key(name: &str) -> DocumentKey {
    DocumentKey::new("thing", "default", name)
}

fn everything() -> ListQuery {
    ListQuery { kind: "thing".to_owned(), ..ListQuery::default() }
}

async fn names(store: &dyn Store, query: ListQuery) -> Vec<String> {
    store.list(&query).await.unwrap().documents.into_iter().map(|document| document.name).collect()
}

/// The next `count` events.
async fn take(stream: &mut BoxStream<'static, Result<WatchEvent, Error>>, count: usize) -> Vec<WatchEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        let event = timeout(PATIENCE, stream.next()).await.expect("an event is missing");
        events.push(event.expect("the watch ended").expect("the watch failed"));
    }
    events
}

fn of(event: &WatchEvent) -> (&'static str, &Document) {
    match event {
        WatchEvent::Put(document) => ("put", document),
        WatchEvent::Deleted(document) => ("deleted", document),
    }
}

/// An empty store answers, and has nothing.
pub async fn knows_nothing_at_first(store: &dyn Store) {
    assert_eq!(store.get(&key("a")).await.unwrap(), None);
    let list = store.list(&everything()).await.unwrap();
    assert_eq!((list.documents.len(), list.more), (0, false));
    assert_eq!(store.delete(key("a"), Expect::Any).await.unwrap(), None);
    assert!(store.write(Vec::new()).await.unwrap().is_empty());
}

/// Version, generation and times come from the store, whatever the document says.
pub async fn fills_in_what_is_its_own(store: &dyn Store) {
    let mut given = document("a", json!({"x": 1}));
    given.status = json!({"ready": true});
    given.labels.insert("tier".to_owned(), "gold".to_owned());
    (given.version, given.generation) = (99, 99);
    let put = store.put(given.clone(), Expect::Any).await.unwrap();
    assert!(put.version > 0);
    assert_eq!(put.generation, 1);
    assert_eq!((&put.spec, &put.status, &put.labels), (&given.spec, &given.status, &given.labels));
    assert_eq!(store.get(&key("a")).await.unwrap(), Some(put.clone()));

    let again = store.put(given, Expect::Any).await.unwrap();
    assert!(again.version > put.version, "every write is one");
    assert_eq!((again.generation, again.created), (1, put.created));
    assert!(again.updated >= put.updated);
}

/// Status and labels may change without the generation; the spec may not.
pub async fn raises_the_generation_with_the_spec_only(store: &dyn Store) {
    let mut given = document("a", json!({"x": 1, "y": [1, 2]}));
    store.put(given.clone(), Expect::Any).await.unwrap();
    given.status = json!("ready");
    assert_eq!(store.put(given.clone(), Expect::Any).await.unwrap().generation, 1);
    given.labels.insert("a".to_owned(), "b".to_owned());
    assert_eq!(store.put(given.clone(), Expect::Any).await.unwrap().generation, 1);
    given.spec = json!({"x": 1, "y": [2, 1]});
    assert_eq!(store.put(given.clone(), Expect::Any).await.unwrap().generation, 2);
    given.spec = json!({"y": [2, 1], "x": 1});
    assert_eq!(store.put(given, Expect::Any).await.unwrap().generation, 2);
}

/// Each expectation, met and not met.
pub async fn writes_only_what_is_expected(store: &dyn Store) {
    let conflict = |result: Result<Document, Error>| assert_eq!(result.unwrap_err().code, "XB4001");
    conflict(store.put(document("a", json!(1)), Expect::Present).await);
    conflict(store.put(document("a", json!(1)), Expect::Version(1)).await);
    let first = store.put(document("a", json!(1)), Expect::Absent).await.unwrap();
    conflict(store.put(document("a", json!(2)), Expect::Absent).await);
    conflict(store.put(document("a", json!(2)), Expect::Version(first.version + 1)).await);
    conflict(store.put(document("a", json!(2)), Expect::Version(u64::MAX)).await);
    assert_eq!(store.get(&key("a")).await.unwrap(), Some(first.clone()), "nothing of it was written");
    let second = store.put(document("a", json!(2)), Expect::Version(first.version)).await.unwrap();
    store.put(document("a", json!(3)), Expect::Present).await.unwrap();

    let stale = store.delete(key("a"), Expect::Version(second.version)).await;
    assert_eq!(stale.unwrap_err().code, "XB4001");
    store.delete(key("a"), Expect::Present).await.unwrap().unwrap();
    assert_eq!(store.delete(key("a"), Expect::Present).await.unwrap_err().code, "XB4001");
    store.delete(key("a"), Expect::Absent).await.unwrap();
}

/// A batch with one expectation that is not met leaves no trace, for watchers neither.
pub async fn writes_batches_whole_or_not_at_all(store: &dyn Store) {
    let start = store.put(document("a", json!(1)), Expect::Any).await.unwrap().version;
    let mut watch = store.watch(None, start).await.unwrap();
    let batch = vec![
        Write::Put(document("b", json!(1)), Expect::Any),
        Write::Delete(key("a"), Expect::Any),
        Write::Put(document("c", json!(1)), Expect::Present),
    ];
    assert_eq!(store.write(batch).await.unwrap_err().code, "XB4001");
    assert_eq!(names(store, everything()).await, ["a"]);

    let batch = vec![
        Write::Put(document("b", json!(1)), Expect::Absent),
        Write::Put(document("b", json!(2)), Expect::Present),
        Write::Delete(key("a"), Expect::Present),
        Write::Delete(key("nobody"), Expect::Any),
        Write::Put(document("a", json!(9)), Expect::Absent),
    ];
    let results = store.write(batch).await.unwrap();
    let generations: Vec<_> =
        results.iter().map(|result| result.as_ref().map(|document| document.generation)).collect();
    assert_eq!(generations, [Some(1), Some(2), Some(1), None, Some(1)]);
    let seen = take(&mut watch, 4).await;
    let wanted: Vec<_> = results.iter().flatten().collect();
    assert_eq!(seen.iter().map(|event| of(event).1).collect::<Vec<_>>(), wanted);
}

/// Versions order all writes, of all kinds.
pub async fn gives_every_write_a_later_version(store: &dyn Store) {
    let mut last = 0;
    for round in 0..10 {
        for kind in ["one", "two"] {
            let document = Document::new(kind, "default", "a", json!(round));
            let version = store.put(document, Expect::Any).await.unwrap().version;
            assert!(version > last);
            last = version;
        }
        let deleted = store.delete(DocumentKey::new("one", "default", "a"), Expect::Any).await.unwrap();
        assert!(deleted.unwrap().version > last);
        last = store.list(&everything()).await.unwrap().version;
    }
}

/// A deletion gives the last state; what comes after it begins anew.
pub async fn hands_back_what_it_deletes(store: &dyn Store) {
    store.put(document("a", json!(1)), Expect::Any).await.unwrap();
    let last = store.put(document("a", json!(2)), Expect::Any).await.unwrap();
    let deleted = store.delete(key("a"), Expect::Version(last.version)).await.unwrap().unwrap();
    assert_eq!((&deleted.spec, deleted.generation), (&json!(2), 2));
    assert_eq!(store.get(&key("a")).await.unwrap(), None);
    let anew = store.put(document("a", json!(2)), Expect::Absent).await.unwrap();
    assert_eq!(anew.generation, 1);
    assert!(anew.version > deleted.version);
}

/// What is read back is what was written, to the last digit.
pub async fn keeps_json_as_it_is(store: &dyn Store) {
    let odd = json!({
        "": "empty key", "nul": "a\u{0}b", "text": "żółw 🐢 \"\\\n\u{7f}", "deep": [[[[{"a": [null, {}, []]}]]]],
        "numbers": [0, -1, u64::MAX, i64::MIN, 0.1, 1e300, 5e-324, 1.0, 123_456.789_012_345_67, 1e21],
        "bool": [true, false],
    });
    let mut given = document("name with spaces / slashes \u{0} ü", odd.clone());
    given.namespace = String::new();
    given.labels = BTreeMap::from([(String::new(), "é".to_owned()), ("a/b".to_owned(), String::new())]);
    let put = store.put(given.clone(), Expect::Absent).await.unwrap();
    let got = store.get(&given.key()).await.unwrap().unwrap();
    assert_eq!(got, put);
    assert_eq!((got.spec.to_string(), got.labels), (odd.to_string(), given.labels));
    for (index, number) in odd["numbers"].as_array().unwrap().iter().enumerate() {
        assert_eq!(&got.spec["numbers"][index], number);
    }
}

/// By namespace, then by name, byte by byte.
pub async fn lists_sorted(store: &dyn Store) {
    for (namespace, name) in
        [("b", "a"), ("a", "b"), ("a", "B"), ("a", "é"), ("a", "a/"), ("a", "a"), ("", "z")]
    {
        store.put(Document::new("thing", namespace, name, json!(1)), Expect::Absent).await.unwrap();
    }
    store.put(Document::new("other", "a", "x", json!(1)), Expect::Absent).await.unwrap();
    let list = store.list(&everything()).await.unwrap();
    let found: Vec<_> =
        list.documents.iter().map(|document| (document.namespace.as_str(), document.name.as_str())).collect();
    assert_eq!(found, [("", "z"), ("a", "B"), ("a", "a"), ("a", "a/"), ("a", "b"), ("a", "é"), ("b", "a")]);
}

/// Namespaces and labels select; labels that changed or went select no more.
pub async fn lists_by_namespace_and_label(store: &dyn Store) {
    for (namespace, name, labels) in [
        ("n", "a", vec![("app", "x"), ("tier", "1")]),
        ("n", "b", vec![("app", "x"), ("tier", "2")]),
        ("m", "c", vec![("app", "y"), ("tier", "1")]),
        ("m", "d", vec![]),
    ] {
        let mut given = Document::new("thing", namespace, name, json!(1));
        given.labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        store.put(given.clone(), Expect::Absent).await.unwrap();
        given.kind = "other".to_owned();
        store.put(given, Expect::Absent).await.unwrap();
    }
    let by = |namespace: Option<&str>, labels: &[(&str, &str)]| ListQuery {
        namespace: namespace.map(str::to_owned),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..everything()
    };
    assert_eq!(names(store, by(None, &[])).await, ["c", "d", "a", "b"]);
    assert_eq!(names(store, by(Some("m"), &[])).await, ["c", "d"]);
    assert_eq!(names(store, by(None, &[("tier", "1")])).await, ["c", "a"]);
    assert_eq!(names(store, by(None, &[("app", "x"), ("tier", "1")])).await, ["a"]);
    assert_eq!(names(store, by(Some("m"), &[("app", "x")])).await, [""; 0]);

    let mut changed = Document::new("thing", "n", "a", json!(1));
    changed.labels.insert("tier".to_owned(), "2".to_owned());
    store.put(changed, Expect::Present).await.unwrap();
    store.delete(DocumentKey::new("thing", "m", "c"), Expect::Present).await.unwrap();
    assert_eq!(names(store, by(None, &[("tier", "1")])).await, [""; 0]);
    assert_eq!(names(store, by(None, &[("tier", "2")])).await, ["a", "b"]);
}

/// Pages follow each other without gaps, and say when there are no more.
pub async fn lists_in_pages(store: &dyn Store) {
    let batch = (0..10).flat_map(|number| {
        ["a", "b"].map(|namespace| {
            Write::Put(Document::new("thing", namespace, &format!("{number}"), json!(1)), Expect::Any)
        })
    });
    store.write(batch.collect()).await.unwrap();
    let all = store.list(&everything()).await.unwrap();
    assert_eq!(all.documents.len(), 20);
    for size in [1, 3, 10, 20, 21] {
        let got: Vec<_> = pages(store, everything(), size).try_collect().await.unwrap();
        assert_eq!(got.len(), 20_usize.div_ceil(size));
        assert!(got.iter().all(|page| page.documents.len() <= size && page.version == all.version));
        assert_eq!(got.iter().filter(|page| page.more).count(), got.len() - 1);
        assert_eq!(got.into_iter().flat_map(|page| page.documents).collect::<Vec<_>>(), all.documents);
    }
    let after = |place: (&str, &str), namespace: Option<&str>| ListQuery {
        after: Some((place.0.to_owned(), place.1.to_owned())),
        namespace: namespace.map(str::to_owned),
        limit: 2,
        ..everything()
    };
    assert_eq!(names(store, after(("a", "8"), None)).await, ["9", "0"]);
    assert_eq!(names(store, after(("a", "8"), Some("a"))).await, ["9"]);
    assert_eq!(names(store, after(("a", "8"), Some("b"))).await, ["0", "1"]);
    assert_eq!(names(store, after(("b", "8"), Some("a"))).await, [""; 0]);
}

/// Documents have a limit, and names must be there.
pub async fn refuses_what_is_too_large(store: &dyn Store) {
    let large = document("a", json!("x".repeat(64 * 1024 * 1024)));
    let error = store.put(large, Expect::Any).await.unwrap_err();
    assert_eq!(error.code, "XB4008");
    let error = store.put(document(&"x".repeat(1024 * 1024), json!(1)), Expect::Any).await.unwrap_err();
    assert_eq!(error.code, "XB4008");
    assert_eq!(store.put(document("", json!(1)), Expect::Any).await.unwrap_err().code, "XB1001");
    store.put(document("a", json!("x".repeat(1024 * 1024))), Expect::Absent).await.unwrap();
}

/// Of those that expect the same version, one wins; those that try again all get through.
pub async fn lets_one_of_many_win(store: &dyn Store) {
    store.put(document("count", json!(0)), Expect::Any).await.unwrap();
    let count_up = || async {
        loop {
            let seen = store.get(&key("count")).await.unwrap().unwrap();
            let next = document("count", json!(seen.spec.as_u64().unwrap() + 1));
            match store.put(next, Expect::Version(seen.version)).await {
                Ok(_) => break,
                Err(error) => assert_eq!(error.code, "XB4001"),
            }
        }
    };
    timeout(PATIENCE, join_all((0..20).map(|_| count_up()))).await.unwrap();
    let last = store.get(&key("count")).await.unwrap().unwrap();
    assert_eq!((last.spec, last.generation), (json!(20), 21));
}

/// Writes that fail beside others that are on their way at the same time do not take these along.
pub async fn keeps_failures_to_themselves(store: &dyn Store) {
    let writes = (0..100).map(|number| async move {
        let expect = if number % 3 == 0 { Expect::Present } else { Expect::Absent };
        (number, store.put(document(&format!("{number:03}"), json!(number)), expect).await.is_ok())
    });
    let results = join_all(writes).await;
    for (number, succeeded) in &results {
        assert_eq!(*succeeded, number % 3 != 0, "{number}");
        assert_eq!(store.get(&key(&format!("{number:03}"))).await.unwrap().is_some(), *succeeded);
    }
}

/// From the beginning, and by kind; deletions carry their own version.
pub async fn tells_watchers_everything_in_order(store: &dyn Store) {
    let start = store.list(&everything()).await.unwrap().version;
    let mut all = store.watch(None, start).await.unwrap();
    let mut others = store.watch(Some("other".to_owned()), start).await.unwrap();
    let mut wanted = Vec::new();
    for round in 0..50 {
        wanted.push(("put", store.put(document("a", json!(round)), Expect::Any).await.unwrap()));
        let other = Document::new("other", "default", "b", json!(round));
        wanted.push(("put", store.put(other, Expect::Any).await.unwrap()));
        let deleted = store.delete(key("a"), Expect::Any).await.unwrap().unwrap();
        wanted.push(("deleted", deleted));
    }
    let check = |seen: Vec<WatchEvent>, wanted: Vec<&(&'static str, Document)>| {
        assert_eq!(seen.len(), wanted.len());
        for (seen, (what, document)) in seen.iter().zip(wanted) {
            assert_eq!(of(seen), (*what, document));
        }
    };
    check(take(&mut all, wanted.len()).await, wanted.iter().collect());
    let of_other: Vec<_> = wanted.iter().filter(|(_, document)| document.kind == "other").collect();
    check(take(&mut others, of_other.len()).await, of_other);

    let mut late = store.watch(None, wanted[9].1.version).await.unwrap();
    check(take(&mut late, wanted.len() - 10).await, wanted[10..].iter().collect());
}

/// List, then watch from the list's version: together nothing is missing, whatever is written meanwhile.
pub async fn tells_watchers_what_comes_after_a_list(store: &dyn Store) {
    let write = async {
        for number in 0..200 {
            store.put(document(&format!("{number}"), json!(number)), Expect::Any).await.unwrap();
        }
    };
    let observe = async {
        loop {
            let list = store.list(&everything()).await.unwrap();
            let known = list.documents.len();
            let mut watch = store.watch(Some("thing".to_owned()), list.version).await.unwrap();
            let seen = take(&mut watch, 200 - known).await;
            let mut names: Vec<_> = list.documents.into_iter().map(|document| document.name).collect();
            names.extend(seen.iter().map(|event| of(event).1.name.clone()));
            let unique: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!((names.len(), unique.len()), (200, 200));
            if known == 200 {
                break;
            }
        }
    };
    tokio::join!(write, observe);
}

/// A version that was never written cannot be watched from: the store may be an older copy of itself.
pub async fn refuses_watches_from_the_future(store: &dyn Store) {
    let last = store.put(document("a", json!(1)), Expect::Any).await.unwrap().version;
    assert_eq!(store.watch(None, last + 1).await.err().unwrap().code, "XB4004");
    assert_eq!(store.watch(None, u64::MAX).await.err().unwrap().code, "XB4004");
    drop(store.watch(None, last).await.unwrap());
}
