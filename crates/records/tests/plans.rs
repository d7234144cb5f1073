//! What a million records cost to ask; and how the file stays within its bound.

#![allow(clippy::unwrap_used)]

use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};
use xebec_core::{
    FunctionKey, InvocationId, Outcome, Tenant,
    invocation::Timing,
    log::{LogLine, LogQuery, LogStream},
    outcome::FunctionFault,
    ports::records::{Logs as _, Records as _, Retention},
    record::{Filed, InvocationRecord, Noted, RecordQuery},
};

fn function(number: usize) -> FunctionKey {
    FunctionKey::new(&Tenant::new(format!("t{}", number % 5)), "native", &format!("f{number}"))
}

fn record(index: usize, functions: usize, received: Timestamp) -> InvocationRecord {
    InvocationRecord {
        id: InvocationId::new(),
        // Half of all calls are of one function.
        function: function(if index.is_multiple_of(2) { 0 } else { index % functions }),
        revision: Some(xebec_core::Digest::of("x")),
        instance: Some("process-0123456789".to_owned()),
        received,
        timing: Timing { cold: false, wait_us: 12, init_us: 0, first_byte_us: 812, run_us: 845 },
        outcome: if index.is_multiple_of(5000) {
            Outcome::FunctionError(FunctionFault::Crash)
        } else {
            Outcome::Success
        },
        status: Some(200),
        message: None,
        request_bytes: 120,
        response_bytes: 2048,
        attempt: if index.is_multiple_of(1001) || index == 7 { 2 } else { 0 },
        noted: None,
    }
}

/// The same as a door keeps it that files it in a list of its own, among them parts of the call before.
fn noted(record: InvocationRecord, before: Option<InvocationId>) -> InvocationRecord {
    let tenant = record.function.tenant.clone();
    let filed = Some(Filed { tenant, name: format!("pkg/{}", record.function.name).into() });
    let details = serde_json::json!({
        "subject": "someone", "path": "namespace/pkg/name", "kind": "nodejs:20", "version": "0.0.1",
        "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1}, "annotations": [],
    });
    let answer = format!("{{\"result\": \"{}\"}}", "x".repeat(200)).into();
    InvocationRecord { noted: Some(Box::new(Noted { filed, cause: before, details, answer })), ..record }
}

/// The questions that the console and the command line ask, and how many answers they have.
fn questions(since: Timestamp, until: Timestamp) -> Vec<(&'static str, RecordQuery)> {
    let base = RecordQuery { limit: Some(200), ..RecordQuery::default() };
    let of = |number| RecordQuery { function: Some(function(number)), ..base.clone() };
    let crash = Some("crash".to_owned());
    vec![
        ("the newest", base.clone()),
        ("of a busy function", of(0)),
        ("of a quiet function", of(7)),
        ("of a function, in a window", RecordQuery { since: Some(since), until: Some(until), ..of(0) }),
        ("of a tenant", RecordQuery { tenant: Some(Tenant::new("t1")), ..base.clone() }),
        ("crashes", RecordQuery { outcome: crash.clone(), ..base.clone() }),
        ("crashes of a function", RecordQuery { outcome: crash.clone(), ..of(0) }),
        (
            "crashes of a tenant",
            RecordQuery { tenant: Some(Tenant::new("t0")), outcome: crash, ..base.clone() },
        ),
        (
            "crashes of a tenant, in a window",
            RecordQuery {
                tenant: Some(Tenant::new("t0")),
                outcome: Some("crash".to_owned()),
                since: Some(since),
                until: Some(until),
                ..base.clone()
            },
        ),
        ("successes of a function", RecordQuery { outcome: Some("success".to_owned()), ..of(0) }),
        ("of a quiet function, tried again", RecordQuery { attempt: Some(2), ..of(7) }),
        ("in a window", RecordQuery { since: Some(since), until: Some(until), ..base }),
    ]
}

/// The questions of doors that file records in lists.
fn questions_of_lists(since: Timestamp, cause: InvocationId) -> Vec<(&'static str, RecordQuery)> {
    let list = |number: usize| {
        let function = function(number);
        RecordQuery {
            filed_for: Some(function.tenant),
            filed_as: Some(format!("pkg/{}", function.name).into()),
            limit: Some(200),
            ..RecordQuery::default()
        }
    };
    let since = Some(since);
    vec![
        ("of a busy list, since", RecordQuery { since, ..list(0) }),
        ("of a busy list, since, with answers", RecordQuery { since, answers: true, ..list(0) }),
        ("of a busy list, after a thousand", RecordQuery { since, skip: 1000, ..list(0) }),
        ("of a quiet list", list(7)),
        ("of a tenant's lists, since", RecordQuery { since, filed_as: None, ..list(1) }),
        ("parts of a call", RecordQuery { cause: Some(cause), ..list(7) }),
    ]
}

/// Small, so that it runs everywhere, and whatever it takes there; the figures are those of the measurements below.
#[tokio::test]
async fn questions_are_answered_by_indexes() {
    measure(20_000, Duration::MAX, false).await;
    measure(20_000, Duration::MAX, true).await;
}

#[tokio::test]
#[ignore = "a measurement of a million records: cargo test --release -p xebec-records -- --ignored --nocapture"]
async fn a_million_records() {
    measure(1_000_000, Duration::from_millis(50), false).await;
}

#[tokio::test]
#[ignore = "a measurement of a million records: cargo test --release -p xebec-records -- --ignored --nocapture"]
async fn a_million_records_in_lists() {
    measure(1_000_000, Duration::from_millis(50), true).await;
}

async fn measure(total: usize, bar: Duration, in_lists: bool) {
    let directory = tempfile::tempdir().unwrap();
    let (records, _) = xebec_records::open(directory.path()).unwrap();
    let start = Timestamp::now() - SignedDuration::from_hours(24);
    let at = |index: usize| start + SignedDuration::from_micros(index as i64 * 80_000);
    let cause = InvocationId::new();
    let make = |index: &usize| match record(*index, 1000, at(*index)) {
        plain if !in_lists => plain,
        record => noted(record, (*index == 1007).then_some(cause)),
    };
    let began = Instant::now();
    for batch in (0..total).collect::<Vec<_>>().chunks(500) {
        records.append(batch.iter().map(make).collect()).await.unwrap();
    }
    let rate = total as f64 / began.elapsed().as_secs_f64();
    let (since, until) = (at(total / 2), at(total / 2 + total / 10));
    let mut slow = Vec::new();
    let lists = if in_lists { questions_of_lists(since, cause) } else { Vec::new() };
    for (name, query) in questions(since, until).into_iter().chain(lists) {
        // The second time, as the first may read from a cold disk.
        let mut took = Duration::ZERO;
        let mut found = 0;
        for _ in 0..2 {
            let began = Instant::now();
            found = records.query(&query).await.unwrap().records.len();
            took = began.elapsed();
        }
        let began = Instant::now();
        let count = records.count(&query).await.unwrap();
        eprintln!("{name}: {found} in {took:?}; {count} counted in {:?}", began.elapsed());
        assert!(found > 0, "{name} finds nothing");
        if took > bar {
            slow.push(name);
        }
    }
    eprintln!("{rate:.0} records/s appended");
    append_one_by_one(&records, at(total)).await;
    trim_while_appending(&records, total, at(total)).await;
    drop(records);
    tell_sizes(directory.path(), total);
    assert!(slow.is_empty(), "above {bar:?}: {slow:?}");
}

/// What it takes to have one record written, as it is asked for after each call that nobody waits for.
async fn append_one_by_one(records: &xebec_records::SqliteRecords, at: Timestamp) {
    let mut took = Vec::new();
    for index in 0..500 {
        let began = Instant::now();
        records.append(vec![record(index, 1000, at)]).await.unwrap();
        took.push(began.elapsed());
    }
    took.sort_unstable();
    eprintln!("one record appended in {:?} (p50), {:?} (p99)", took[250], took[495]);
}

/// Trims a tenth away while up to 10,000 a second come; tells how long either took.
async fn trim_while_appending(records: &xebec_records::SqliteRecords, total: usize, newest: Timestamp) {
    let keep = Retention { seconds: u64::MAX, entries: total as u64 * 9 / 10, bytes: u64::MAX };
    let trimming = async {
        let began = Instant::now();
        (records.trim(&keep).await.unwrap(), began.elapsed())
    };
    let mut longest = Duration::ZERO;
    let mut batches = 0;
    let mut trimming = std::pin::pin!(trimming);
    let (gone, took) = loop {
        tokio::select! {
            trimmed = &mut trimming => break trimmed,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        let batch = (0..500).map(|index| record(index, 1000, newest)).collect();
        let began = Instant::now();
        let appending = records.append(batch);
        tokio::select! {
            trimmed = &mut trimming => break trimmed,
            appended = appending => appended.unwrap(),
        }
        longest = longest.max(began.elapsed());
        batches += 1;
    };
    eprintln!("{gone} trimmed in {took:?}, {batches} batches of 500 meanwhile, {longest:?} the longest");
    assert!(gone >= total as u64 / 10);
}

/// What a record takes in the file, and what it is counted for.
fn tell_sizes(directory: &std::path::Path, total: usize) {
    let file = directory.join("records.db");
    let connection = xebec_sqlite::rusqlite::Connection::open(&file).unwrap();
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, f64>(0)).unwrap();
    let entries = number("SELECT CAST(count(*) AS REAL) FROM records");
    let counted = number("SELECT CAST(bytes AS REAL) FROM kept WHERE name = 'records'") / entries;
    let free = number("SELECT CAST(freelist_count AS REAL) * 4096 FROM pragma_freelist_count");
    let taken = (std::fs::metadata(&file).unwrap().len() as f64 - free) / entries;
    eprintln!("{taken:.0} bytes each in the file, counted as {counted:.0}");
    assert!((0.7..1.5).contains(&(counted / taken)), "{total} records");
}

#[tokio::test]
async fn the_file_stays_within_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let bound = 4 * 1024 * 1024;
    let (_, logs) = xebec_records::open(directory.path()).unwrap();
    for round in 0..6 {
        for batch in 0..4 {
            let line = |index| LogLine {
                time: Timestamp::now(),
                function: function(0),
                instance: format!("i-{round}"),
                invocation: None,
                stream: LogStream::Stdout,
                text: format!("{round} {batch} {index} {}", "x".repeat(1000)),
            };
            logs.append((0..500).map(line).collect()).await.unwrap();
        }
        logs.trim(&Retention { bytes: bound, ..Retention::default() }).await.unwrap();
    }
    let lines = logs.query(&LogQuery::default()).await.unwrap();
    assert!(lines.last().unwrap().text.starts_with("5 3 499"), "the newest stay");
    assert!((2000..4200).contains(&lines.len()), "{} lines", lines.len());
    drop(logs);
    let size = std::fs::metadata(directory.path().join("records.db")).unwrap().len();
    // Free pages for the next lines come on top.
    assert!(size < bound * 3, "{size}");
}
