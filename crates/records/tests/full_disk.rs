//! A full disk: records are refused with a clear error, queries go on, and trimming makes space again.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use xebec_conformance::small_disk::{fill, on_small_disk};
use xebec_core::{
    FunctionKey, Tenant,
    log::{LogLine, LogQuery, LogStream},
    ports::records::{Logs as _, Retention},
};

#[test]
fn a_full_disk_stops_appends_only() {
    on_small_disk("a_full_disk_stops_appends_only", 8, |disk| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(scenario(disk));
    });
}

async fn scenario(disk: &Path) {
    let (_, logs) = xebec_records::open(disk).unwrap();
    let append = || {
        let line = LogLine {
            time: jiff::Timestamp::now(),
            function: FunctionKey::new(&Tenant::default(), "native", "f"),
            instance: "i".to_owned(),
            invocation: None,
            stream: LogStream::Stdout,
            text: "x".repeat(1000),
        };
        logs.append(vec![line; 20])
    };
    append().await.unwrap();
    let mut kept = 20;
    for _ in 0..3 {
        let filling = fill(disk);
        // What the database had allocated already may still take a few.
        let error = loop {
            match append().await {
                Ok(()) => kept += 20,
                Err(error) => break error,
            }
        };
        assert_eq!((error.code, error.hint.is_some()), ("XB4002", true), "{error}");
        assert_eq!(logs.query(&LogQuery::default()).await.unwrap().len(), kept);
        std::fs::remove_file(filling).unwrap();
        append().await.unwrap();
        kept += 20;
    }
    let trimmed = logs.trim(&Retention { seconds: 1000, entries: 50, ..Retention::default() }).await;
    assert_eq!(trimmed.unwrap(), kept as u64 - 50);
    append().await.unwrap();
    assert_eq!(logs.query(&LogQuery::default()).await.unwrap().len(), 70);
}
