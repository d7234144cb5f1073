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
    record::{InvocationRecord, RecordQuery},
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
        timing: Timing { cold: false, wait_us: 12, first_byte_us: 812, run_us: 845 },
        outcome: if index.is_multiple_of(5000) {
            Outcome::FunctionError(FunctionFault::Crash)
        } else {
            Outcome::Success
        },
        status: Some(200),
        message: None,
        request_bytes: 120,
        response_bytes: 2048,
        attempt: 0,
    }
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
        ("successes of a function", RecordQuery { outcome: Some("success".to_owned()), ..of(0) }),
        ("in a window", RecordQuery { since: Some(since), until: Some(until), ..base }),
    ]
}

/// Small, so that it runs everywhere; the figures are those of the measurement below.
#[tokio::test]
async fn questions_are_answered_by_indexes() {
    measure(20_000, Duration::from_secs(2)).await;
}

#[tokio::test]
#[ignore = "a measurement of a million records: cargo test --release -p xebec-records -- --ignored --nocapture"]
async fn a_million_records() {
    measure(1_000_000, Duration::from_millis(50)).await;
}

async fn measure(total: usize, bar: Duration) {
    let directory = tempfile::tempdir().unwrap();
    let (records, _) = xebec_records::open(directory.path()).unwrap();
    let start = Timestamp::now() - SignedDuration::from_hours(24);
    let at = |index: usize| start + SignedDuration::from_micros(index as i64 * 80_000);
    let began = Instant::now();
    for batch in (0..total).collect::<Vec<_>>().chunks(500) {
        let batch = batch.iter().map(|index| record(*index, 1000, at(*index))).collect();
        records.append(batch).await.unwrap();
    }
    let rate = total as f64 / began.elapsed().as_secs_f64();
    let (since, until) = (at(total / 2), at(total / 2 + total / 10));
    let mut slow = Vec::new();
    for (name, query) in questions(since, until) {
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
    drop(records);
    let bytes = std::fs::metadata(directory.path().join("records.db")).unwrap().len();
    eprintln!("{rate:.0} records/s appended; {} bytes each", bytes / total as u64);
    assert!(slow.is_empty(), "above {bar:?}: {slow:?}");
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
