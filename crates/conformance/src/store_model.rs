//! A store against a simple model of itself: any sequence of writes has the same results, leaves the same
//! documents, and is told to watchers as it happened.

use futures_util::StreamExt as _;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::json;
use std::{any::Any, collections::BTreeMap, sync::Arc, time::Duration};
use xebec_core::{
    document::{Document, DocumentKey, Expect, ListQuery, WatchEvent, Write},
    ports::store::Store,
};

const KINDS: [&str; 2] = ["one", "two"];
const NAMESPACES: [&str; 2] = ["a", "b"];
const NAMES: [&str; 3] = ["x", "y", "z"];

/// A write before it is known what versions there are.
#[derive(Clone, Debug)]
struct Step {
    kind: usize,
    namespace: usize,
    name: usize,
    expect: Hope,
    /// Spec, status and label; `None` deletes.
    put: Option<(u8, u8, u8)>,
}

#[derive(Clone, Copy, Debug)]
enum Hope {
    Any,
    Absent,
    Present,
    Current,
    Stale,
}

fn step() -> impl Strategy<Value = Step> {
    let hope = prop_oneof![
        4 => Just(Hope::Any),
        1 => Just(Hope::Absent),
        2 => Just(Hope::Present),
        2 => Just(Hope::Current),
        1 => Just(Hope::Stale),
    ];
    let put = proptest::option::weighted(0.7, (0..3_u8, 0..2_u8, 0..3_u8));
    (0..KINDS.len(), 0..NAMESPACES.len(), 0..NAMES.len(), hope, put)
        .prop_map(|(kind, namespace, name, expect, put)| Step { kind, namespace, name, expect, put })
}

impl Step {
    fn key(&self) -> DocumentKey {
        DocumentKey::new(KINDS[self.kind], NAMESPACES[self.namespace], NAMES[self.name])
    }

    fn write(&self, current: Option<u64>) -> Write {
        let expect = match self.expect {
            Hope::Any => Expect::Any,
            Hope::Absent => Expect::Absent,
            Hope::Present => Expect::Present,
            Hope::Current => Expect::Version(current.unwrap_or(1)),
            Hope::Stale => Expect::Version(current.map_or(1, |version| version - 1)),
        };
        let key = self.key();
        let Some((spec, status, label)) = self.put else { return Write::Delete(key, expect) };
        let mut document = Document::new(&key.kind, &key.namespace, &key.name, json!({ "x": spec }));
        document.status = json!(status);
        if label > 0 {
            document.labels.insert("label".to_owned(), label.to_string());
        }
        Write::Put(document, expect)
    }
}

#[derive(Clone, Default)]
struct Model {
    documents: BTreeMap<DocumentKey, Document>,
    events: Vec<WatchEvent>,
    last: u64,
}

impl Model {
    /// Takes in a batch and what the store answered; `None`: the model says that it must fail.
    fn apply(&self, writes: &[Write], answers: Option<&[Option<Document>]>) -> Option<Self> {
        let mut next = self.clone();
        for (index, write) in writes.iter().enumerate() {
            let (Write::Put(Document { kind, namespace, name, .. }, expect)
            | Write::Delete(DocumentKey { kind, namespace, name }, expect)) = write;
            let key = DocumentKey::new(kind, namespace, name);
            let found = next.documents.get(&key).cloned();
            let met = match (expect, &found) {
                (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => true,
                (Expect::Version(wanted), Some(found)) => *wanted == found.version,
                _ => false,
            };
            if !met {
                return None;
            }
            let answer = answers.map(|answers| answers[index].clone());
            next.settle(write, &key, found, answer);
        }
        Some(next)
    }

    /// Without an answer, versions are made up: then only whether a batch must fail is asked.
    fn settle(
        &mut self,
        write: &Write,
        key: &DocumentKey,
        found: Option<Document>,
        answer: Option<Option<Document>>,
    ) {
        let asked = answer.is_some();
        let answer = answer.flatten();
        match (write, found) {
            (Write::Delete(..), None) => assert_eq!(answer, None),
            (Write::Delete(..), Some(found)) => {
                let deleted = answer.unwrap_or_else(|| Document { version: self.last + 1, ..found.clone() });
                assert_eq!(deleted, Document { version: deleted.version, updated: deleted.updated, ..found });
                self.documents.remove(key);
                self.happened(deleted.version, WatchEvent::Deleted(deleted));
            }
            (Write::Put(given, _), found) => {
                let stored = answer.unwrap_or_else(|| Document { version: self.last + 1, ..given.clone() });
                assert_eq!(
                    (&stored.spec, &stored.status, &stored.labels, stored.key()),
                    (&given.spec, &given.status, &given.labels, given.key())
                );
                if asked {
                    let generation = found
                        .as_ref()
                        .map_or(1, |found| found.generation + u64::from(found.spec != given.spec));
                    assert_eq!(stored.generation, generation);
                    assert_eq!(stored.created, found.map_or(stored.created, |found| found.created));
                }
                self.documents.insert(key.clone(), stored.clone());
                self.happened(stored.version, WatchEvent::Put(stored));
            }
        }
    }

    fn happened(&mut self, version: u64, event: WatchEvent) {
        assert!(version > self.last, "versions order all writes");
        self.last = version;
        self.events.push(event);
    }
}

/// Runs random sequences over fresh stores.
pub fn behaves_like_the_model(open: impl Fn() -> (Arc<dyn Store>, Box<dyn Any>)) {
    let batches = proptest::collection::vec(proptest::collection::vec(step(), 1..5), 1..30);
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let outcome = TestRunner::new(config).run(&batches, |batches| {
        let (store, _kept) = open();
        runtime.block_on(check(store.as_ref(), &batches));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

async fn check(store: &dyn Store, batches: &[Vec<Step>]) {
    let mut model = Model::default();
    let mut watches = Vec::new();
    for kind in [None, Some(KINDS[0])] {
        watches.push((kind, 0, store.watch(kind.map(str::to_owned), 0).await.unwrap()));
    }
    for (round, batch) in batches.iter().enumerate() {
        let writes: Vec<_> = batch
            .iter()
            .map(|step| step.write(model.documents.get(&step.key()).map(|found| found.version)))
            .collect();
        let must_succeed = model.apply(&writes, None).is_some();
        match store.write(writes.clone()).await {
            Ok(answers) => {
                assert!(must_succeed, "{writes:?} must fail");
                model = model.apply(&writes, Some(&answers)).expect("an expectation was not met after all");
            }
            Err(error) => {
                assert!(!must_succeed, "{writes:?} must not fail: {error}");
                assert_eq!(error.code, "XB4001");
            }
        }
        if round == batches.len() / 2 {
            watches.push((None, model.events.len(), store.watch(None, model.last).await.unwrap()));
        }
    }
    check_documents(store, &model).await;
    for (kind, from, mut watch) in watches {
        for wanted in &model.events[from..] {
            let (WatchEvent::Put(document) | WatchEvent::Deleted(document)) = wanted;
            if kind.is_none_or(|kind| kind == document.kind) {
                let seen = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
                assert_eq!(&seen.expect("an event is missing").unwrap().unwrap(), wanted);
            }
        }
    }
}

async fn check_documents(store: &dyn Store, model: &Model) {
    for kind in KINDS {
        let of_kind: Vec<_> =
            model.documents.values().filter(|document| document.kind == kind).cloned().collect();
        let query = ListQuery { kind: kind.to_owned(), ..ListQuery::default() };
        let list = store.list(&query).await.unwrap();
        assert_eq!((list.documents, list.version), (of_kind.clone(), model.last));
        let labelled = ListQuery { labels: [("label".to_owned(), "1".to_owned())].into(), ..query };
        let wanted: Vec<_> = of_kind
            .into_iter()
            .filter(|document| document.labels.get("label").is_some_and(|label| label == "1"))
            .collect();
        assert_eq!(store.list(&labelled).await.unwrap().documents, wanted);
    }
    for (key, document) in &model.documents {
        assert_eq!(store.get(key).await.unwrap().as_ref(), Some(document));
    }
}
