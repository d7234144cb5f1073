//! The journal by itself.

use crate::{
    storage::{Disk, Machine, MemoryRecords, MemoryStore},
    world::{World, key, soon, until},
};
use jiff::Timestamp;
use serde_json::json;
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use xebec_core::{
    InvocationId, Outcome, Tenant,
    invocation::Timing,
    outcome::PlatformFault,
    ports::records::Records as _,
    record::{Filed, InvocationRecord, Note, Noted},
};
use xebec_flows::{Bounds, Entry, Interrupted, Journal, JournalOptions};

struct Desk {
    disk: Arc<Disk>,
    records: Arc<MemoryRecords>,
    journal: Arc<Journal>,
}

fn desk(disk: &Arc<Disk>, options: JournalOptions) -> Desk {
    let machine = Machine::sound();
    let records = MemoryRecords::new(disk.clone(), machine.clone());
    let store = Arc::new(MemoryStore(disk.clone(), machine));
    let journal = Journal::new(store, records.clone(), options);
    Desk { disk: disk.clone(), records, journal }
}

fn entry() -> Entry {
    let filed = Some(Filed { tenant: Tenant::default(), name: "listed".into() });
    let note = Note { filed, details: json!({ "a": 1 }), ..Note::default() };
    Entry {
        id: InvocationId::new(),
        function: key("f"),
        note: Some(Arc::new(note)),
        received: Timestamp::now(),
        attempt: 1,
    }
}

fn record(entry: &Entry, outcome: Outcome) -> InvocationRecord {
    InvocationRecord {
        id: entry.id,
        function: entry.function.clone(),
        revision: None,
        instance: None,
        received: entry.received,
        timing: Timing::default(),
        outcome,
        status: None,
        message: None,
        request_bytes: 0,
        response_bytes: 0,
        attempt: entry.attempt,
        noted: entry.note.as_deref().map(|note| Box::new(Noted::from(note.clone()))),
    }
}

#[tokio::test]
async fn keeps_a_run_until_its_record_is_there() {
    let desk = desk(&Arc::default(), soon());
    let entry = entry();
    let kept = desk.journal.begin(entry.clone()).await.unwrap();
    let also = desk.journal.begin(entry.clone()).await.unwrap();
    drop(kept);
    desk.journal.close().await;
    assert_eq!((desk.disk.documents.lock().len(), desk.journal.runs()), (1, 1), "somebody holds it");
    drop(also);
    desk.journal.close().await;
    assert_eq!((desk.disk.documents.lock().len(), desk.journal.runs()), (1, 1), "it has no record yet");
    desk.records.note(record(&entry, Outcome::Success));
    until(|| desk.journal.runs() == 0 && desk.disk.documents.lock().is_empty()).await;
    assert_eq!(desk.disk.record(&entry.id).unwrap().outcome, Outcome::Success);
}

#[tokio::test]
async fn refuses_more_runs_than_it_may_hold() {
    let desk = desk(&Arc::default(), JournalOptions { runs: 2, ..soon() });
    let first = entry();
    let kept = desk.journal.begin(first.clone()).await.unwrap();
    let _second = desk.journal.begin(entry()).await.unwrap();
    assert_eq!(desk.journal.begin(entry()).await.unwrap_err().code, "XB2020");
    let _again = desk.journal.begin(first.clone()).await.unwrap();
    drop(_again);
    drop(kept);
    assert_eq!(desk.journal.begin(entry()).await.unwrap_err().code, "XB2020", "its record is to come");
    desk.records.note(record(&first, Outcome::Success));
    until(|| desk.journal.runs() == 1).await;
    desk.journal.begin(entry()).await.unwrap();
}

#[tokio::test]
async fn a_full_journal_turns_flows_away() {
    let world = World::on(
        &Arc::default(),
        &Machine::sound(),
        Bounds::default(),
        JournalOptions { runs: 0, ..soon() },
    );
    world.plain("one", |input| input);
    world.chain("chain", &["one"]);
    let outcome = world.call("chain", json!({})).await.err().unwrap().outcome;
    assert_eq!(outcome, Outcome::PlatformError(PlatformFault::Overloaded));
    assert!(world.called().is_empty());
}

#[tokio::test]
async fn many_that_are_over_go_in_few_writes() {
    let options = JournalOptions { every: Duration::from_millis(20), ..JournalOptions::default() };
    let desk = desk(&Arc::default(), options);
    let mut kept = Vec::new();
    for _ in 0..1000 {
        let entry = entry();
        desk.records.note(record(&entry, Outcome::Success));
        kept.push(desk.journal.begin(entry).await.unwrap());
    }
    let before = desk.disk.writes.load(SeqCst);
    drop(kept);
    until(|| desk.journal.runs() == 0).await;
    assert!(desk.disk.documents.lock().is_empty());
    assert!(desk.disk.writes.load(SeqCst) - before <= 4, "{before}");
}

#[tokio::test]
async fn makes_a_record_that_never_comes() {
    let desk = desk(&Arc::default(), JournalOptions { patience: Duration::from_millis(20), ..soon() });
    desk.records.loses.store(true, SeqCst);
    let entry = entry();
    drop(desk.journal.begin(entry.clone()).await.unwrap());
    until(|| desk.journal.runs() == 0).await;
    let record = desk.disk.record(&entry.id).unwrap();
    assert_eq!(record.outcome, Outcome::PlatformError(PlatformFault::Internal));
    assert!(record.message.unwrap().contains("was lost"));
}

#[tokio::test]
async fn what_was_left_gets_a_record_that_names_its_steps() {
    let disk = Arc::new(Disk::default());
    let (through, broken, bare) = (entry(), entry(), Entry { note: None, ..entry() });
    let steps: Vec<Entry> = (0..5)
        .map(|_| {
            let note = Note { cause: Some(broken.id), ..Note::default() };
            Entry { note: Some(Arc::new(note)), ..entry() }
        })
        .collect();
    {
        let desk = desk(&disk, soon());
        for entry in [&through, &broken, &bare] {
            std::mem::forget(desk.journal.begin(entry.clone()).await.unwrap());
        }
        let mut records = vec![record(&through, Outcome::ApplicationError)];
        records.extend(steps.iter().map(|step| record(step, Outcome::Success)));
        desk.records.append(records).await.unwrap();
    }
    let desk = desk(&disk, soon());
    let running = entry();
    let _running = desk.journal.begin(running.clone()).await.unwrap();
    let found = desk.journal.end_interrupted().await.unwrap();
    assert_eq!(found, Interrupted { ended: 2, through: 1 });
    assert_eq!(disk.documents.lock().len(), 1, "what runs now stays");
    assert_eq!(disk.record(&through.id).unwrap().outcome, Outcome::ApplicationError, "it is as it was");
    assert!(disk.record(&running.id).is_none());
    let told = disk.record(&broken.id).unwrap();
    assert_eq!(told.outcome, Outcome::PlatformError(PlatformFault::Internal));
    assert_eq!((told.attempt, told.received), (1, broken.received));
    assert!(told.message.unwrap().contains("5 of its steps have records"));
    let noted = told.noted.unwrap();
    assert_eq!(noted.details["a"], 1);
    assert_eq!(noted.filed.unwrap().name, "listed");
    let ids: Vec<_> = steps.iter().map(|step| step.id).collect();
    assert_eq!(crate::world::components(&noted.details), ids);
    let told = disk.record(&bare.id).unwrap();
    assert!(told.noted.is_none() && told.message.unwrap().contains("it may have run or not"));
    assert_eq!(desk.journal.end_interrupted().await.unwrap(), Interrupted::default());
}

/// A call that is tried again has the id that it had.
#[tokio::test]
async fn a_later_attempt_of_a_run_is_in_the_journal_whatever_became_of_the_earlier() {
    let desk = desk(&Arc::default(), soon());
    for attempt in 1..100 {
        let entry = Entry { attempt, ..entry() };
        drop(desk.journal.begin(entry.clone()).await.unwrap());
        desk.records.note(record(&entry, Outcome::PlatformError(PlatformFault::Overloaded)));
        // Sometimes before, sometimes while the first one is put away.
        for _ in 0..attempt % 5 {
            tokio::task::yield_now().await;
        }
        let closing = tokio::spawn({
            let journal = desk.journal.clone();
            async move { journal.close().await }
        });
        if attempt % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let kept = desk.journal.begin(Entry { attempt: attempt + 1, ..entry.clone() }).await.unwrap();
        closing.await.unwrap();
        desk.journal.close().await;
        assert_eq!((desk.disk.documents.lock().len(), desk.journal.runs()), (1, 1), "{attempt}");
        drop(kept);
        until(|| desk.journal.runs() == 0 && desk.disk.documents.lock().is_empty()).await;
    }
}
