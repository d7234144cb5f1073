//! What every place for log lines does.

use jiff::{SignedDuration, Timestamp};
use xebec_core::{
    FunctionKey, InvocationId, Tenant,
    log::{LogLine, LogQuery, LogStream},
    ports::records::{Logs, Retention},
};

fn function(name: &str) -> FunctionKey {
    FunctionKey::new(&Tenant::new("red"), "native", name)
}

/// 120 lines of two functions with two instances each, a second apart; every third belongs to one of two calls.
async fn filled(logs: &dyn Logs) -> Vec<LogLine> {
    let calls = [InvocationId::new(), InvocationId::new()];
    let lines: Vec<_> = (0..120)
        .map(|index| {
            let name = ["f", "g"][index % 2];
            LogLine {
                time: Timestamp::now() - SignedDuration::from_secs(1000 - index as i64),
                function: function(name),
                instance: format!("{name}-{}", index / 2 % 2),
                invocation: (index % 3 == 0).then(|| calls[index / 60]),
                stream: [LogStream::Stdout, LogStream::Stderr, LogStream::Platform][index % 3],
                text: format!("line {index} é\u{0}"),
            }
        })
        .collect();
    for batch in lines.chunks(50) {
        logs.append(batch.to_vec()).await.unwrap();
    }
    lines
}

/// Every field comes back, oldest first; lines of the same moment in the order they came.
pub async fn keeps_lines_in_order(logs: &dyn Logs) {
    let mut lines = filled(logs).await;
    let last = lines[119].clone();
    for number in 0..20 {
        let twin = LogLine { text: format!("twin {number}"), ..last.clone() };
        logs.append(vec![twin.clone()]).await.unwrap();
        lines.push(twin);
    }
    assert_eq!(logs.query(&LogQuery::default()).await.unwrap(), lines);
}

/// All combinations of filters give what a loop over all lines gives.
pub async fn answers_every_filter(logs: &dyn Logs) {
    let lines = filled(logs).await;
    let functions = [None, Some(function("f")), Some(function("h"))];
    let instances = [None, Some("f-0"), Some("g-1"), Some("h-0")];
    let calls = [None, lines[0].invocation, lines[60].invocation, Some(InvocationId::new())];
    for function in &functions {
        for instance in instances {
            for invocation in calls {
                for since in [None, Some(lines[50].time)] {
                    for tail in [None, Some(0), Some(5), Some(u32::MAX)] {
                        let query = LogQuery {
                            function: function.clone(),
                            instance: instance.map(str::to_owned),
                            invocation,
                            since,
                            tail,
                        };
                        let matches = |line: &&LogLine| {
                            function.as_ref().is_none_or(|function| *function == line.function)
                                && instance.is_none_or(|instance| instance == line.instance)
                                && (invocation.is_none() || invocation == line.invocation)
                                && since.is_none_or(|since| line.time >= since)
                        };
                        let mut wanted: Vec<_> = lines.iter().filter(matches).cloned().collect();
                        let kept = tail.map_or(usize::MAX, |tail| tail as usize);
                        wanted.drain(..wanted.len().saturating_sub(kept));
                        assert_eq!(logs.query(&query).await.unwrap(), wanted, "{query:?}");
                    }
                }
            }
        }
    }
}

/// A function's lines go, those of others stay.
pub async fn forgets_a_function(logs: &dyn Logs) {
    let lines = filled(logs).await;
    logs.forget(&function("f")).await.unwrap();
    logs.forget(&function("never-there")).await.unwrap();
    let left: Vec<_> = lines.into_iter().filter(|line| line.function.name == "g").collect();
    assert_eq!(logs.query(&LogQuery::default()).await.unwrap(), left);
}

/// Oldest first, to either bound.
pub async fn trims_by_age_and_number(logs: &dyn Logs) {
    let keep = |seconds, entries| Retention { seconds, entries, bytes: u64::MAX };
    let lines = filled(logs).await;
    assert_eq!(logs.trim(&keep(2000, 120)).await.unwrap(), 0);
    assert_eq!(logs.trim(&keep(2000, 100)).await.unwrap(), 20);
    assert_eq!(logs.query(&LogQuery::default()).await.unwrap(), lines[20..]);
    let age = Timestamp::now().duration_since(lines[70].time).as_secs() as u64;
    let gone = logs.trim(&keep(age, 100)).await.unwrap();
    assert!((50..=53).contains(&gone), "{gone}");
    logs.trim(&keep(0, 100)).await.unwrap();
    assert!(logs.query(&LogQuery::default()).await.unwrap().is_empty());
    logs.append(lines.clone()).await.unwrap();
    assert_eq!(logs.query(&LogQuery::default()).await.unwrap(), lines);
}

/// Oldest first, until what is kept takes about as many bytes as it may.
pub async fn trims_by_bytes(logs: &dyn Logs) {
    let lines: Vec<_> =
        filled(logs).await.into_iter().map(|line| LogLine { text: "x".repeat(5000), ..line }).collect();
    let keep = |bytes| Retention { seconds: u64::MAX, entries: u64::MAX, bytes };
    logs.append(lines.clone()).await.unwrap();
    assert_eq!(logs.trim(&keep(1_000_000)).await.unwrap(), 0);
    logs.trim(&keep(200_000)).await.unwrap();
    let left = logs.query(&LogQuery::default()).await.unwrap();
    let bytes: usize = left.iter().map(|line| line.text.len()).sum();
    assert!((180_000..=200_000).contains(&bytes), "{bytes} bytes are left");
    assert_eq!(left.last(), lines.last());
    logs.forget(&function("f")).await.unwrap();
    assert_eq!(logs.trim(&keep(120_000)).await.unwrap(), 0, "what was forgotten counts no more");
}
