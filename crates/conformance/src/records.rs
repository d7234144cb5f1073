//! What every place for records does.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use xebec_core::{
    Digest, FunctionKey, InvocationId, Outcome, Tenant,
    invocation::Timing,
    limits::Clock,
    message::{Call, Payload},
    outcome::{FunctionFault, PlatformFault},
    ports::records::{Records, Retention},
    record::{InvocationRecord, KeptRequest, RecordQuery},
};

fn function(tenant: &str, name: &str) -> FunctionKey {
    FunctionKey::new(&Tenant::new(tenant), "native", name)
}

/// A record received so many seconds ago.
fn record(tenant: &str, name: &str, seconds_ago: i64, outcome: Outcome) -> InvocationRecord {
    InvocationRecord {
        id: InvocationId::new(),
        function: function(tenant, name),
        revision: Some(Digest::of(name)),
        instance: Some(format!("i-{name}")),
        received: Timestamp::now() - SignedDuration::from_secs(seconds_ago),
        timing: Timing { cold: seconds_ago % 2 == 0, wait_us: 1, init_us: 0, first_byte_us: 2, run_us: 3 },
        outcome,
        status: Some(200),
        message: None,
        request_bytes: 10,
        response_bytes: 20,
        attempt: 0,
        noted: None,
    }
}

/// 120 records of four functions of two tenants, a second apart, of three outcomes; oldest first.
async fn filled(records: &dyn Records) -> Vec<InvocationRecord> {
    let all: Vec<_> = (0..120)
        .map(|index| {
            let tenant = ["red", "blue"][index % 2];
            let outcome = match index % 10 {
                3 => Outcome::ApplicationError,
                6 => Outcome::FunctionError(FunctionFault::Timeout(Clock::FirstByte)),
                _ => Outcome::Success,
            };
            let record = record(tenant, ["f", "g"][index / 2 % 2], 1000 - index as i64, outcome);
            InvocationRecord { attempt: [0, 0, 0, 1, 1, 2, 5][index % 7], ..record }
        })
        .collect();
    // Out of order, as calls end in another order than they began.
    let (odd, even): (Vec<_>, Vec<_>) =
        all.iter().cloned().enumerate().partition(|(index, _)| index % 2 == 1);
    for half in [odd, even] {
        records.append(half.into_iter().map(|(_, record)| record).collect()).await.unwrap();
    }
    all
}

/// Every field comes back; missing ones stay missing.
pub async fn keeps_records_whole(records: &dyn Records) {
    let mut bare = record("red", "f", 5, Outcome::PlatformError(PlatformFault::NotFound));
    (bare.revision, bare.instance, bare.status) = (None, None, None);
    bare.message = Some("no such function: \"f\" — é".to_owned());
    let mut full = record("blue", "g", 3, Outcome::FunctionError(FunctionFault::Timeout(Clock::Start)));
    full.attempt = 7;
    records.append(vec![bare.clone(), full.clone()]).await.unwrap();
    records.append(Vec::new()).await.unwrap();
    assert_eq!(records.get(&bare.id).await.unwrap(), Some(bare.clone()));
    assert_eq!(records.get(&full.id).await.unwrap(), Some(full.clone()));
    assert_eq!(records.get(&InvocationId::new()).await.unwrap(), None);
    let page = records.query(&RecordQuery::default()).await.unwrap();
    assert_eq!((page.records, page.cursor), (vec![full.clone(), bare], None));
}

/// All attempts of a call have one id: the later one counts, wherever it is looked for.
pub async fn keeps_the_later_of_two_with_one_id(records: &dyn Records) {
    let crash = Outcome::FunctionError(FunctionFault::Crash);
    let first = InvocationRecord { attempt: 1, ..record("red", "f", 50, crash) };
    let other = record("red", "f", 40, Outcome::Success);
    let second = InvocationRecord { attempt: 2, ..record("red", "f", 30, Outcome::ApplicationError) };
    let third = InvocationRecord { attempt: 3, ..record("red", "f", 20, Outcome::Success) };
    let [second, third] = [second, third].map(|record| InvocationRecord { id: first.id, ..record });
    records.append(vec![first.clone(), other.clone()]).await.unwrap();
    assert_eq!(records.get(&first.id).await.unwrap().as_ref(), Some(&first));
    // Twice in one batch, too.
    records.append(vec![second, third.clone()]).await.unwrap();
    assert_eq!(records.get(&first.id).await.unwrap().as_ref(), Some(&third));
    let at = |record: &InvocationRecord| {
        (Some(record.received), Some(record.received + SignedDuration::from_nanos(1)))
    };
    let of = |tenant: Option<&str>, name: Option<&str>, outcome: Option<&str>| RecordQuery {
        tenant: tenant.map(Tenant::new),
        function: name.map(|name| function("red", name)),
        outcome: outcome.map(str::to_owned),
        ..RecordQuery::default()
    };
    for (tenant, name) in [(None, None), (Some("red"), None), (None, Some("f"))] {
        for (outcome, wanted) in
            [(None, 2), (Some("success"), 2), (Some("crash"), 0), (Some("application_error"), 0)]
        {
            let query = of(tenant, name, outcome);
            assert_eq!(records.count(&query).await.unwrap(), wanted, "{query:?}");
            let found = records.query(&query).await.unwrap().records;
            let all = [third.clone(), other.clone()];
            assert_eq!(found, all[..wanted as usize], "{query:?}");
            let (since, until) = at(&first);
            let before = RecordQuery { since, until, ..query };
            assert_eq!(records.query(&before).await.unwrap().records, [], "it is where the later one is");
        }
        let retried = RecordQuery { attempt: Some(2), ..of(tenant, name, None) };
        assert_eq!(
            records.query(&retried).await.unwrap().records,
            std::slice::from_ref(&third),
            "{retried:?}"
        );
    }
    assert_eq!(records.trim(&Retention { entries: 2, ..forever() }).await.unwrap(), 0, "it counts once");
    assert_eq!(records.trim(&Retention { entries: 0, ..forever() }).await.unwrap(), 2);
}

fn forever() -> Retention {
    Retention { seconds: u64::MAX, entries: u64::MAX, bytes: u64::MAX }
}

/// Requests come back as they were, and go with their records.
pub async fn keeps_requests_beside_records(records: &dyn Records) {
    let call = |body: &'static str| {
        let mut headers = http::HeaderMap::new();
        headers.append("x-a", http::HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let body = Payload::Inline(bytes::Bytes::from_static(body.as_bytes()));
        Call { method: "POST".into(), uri: "/a?b=c".to_owned(), headers, body }
    };
    let [with, without] = [20, 10].map(|ago| record("red", "f", ago, Outcome::Success));
    let request = |body| vec![KeptRequest { id: with.id, call: call(body) }];
    records.append_with_requests(vec![with.clone(), without.clone()], request("one")).await.unwrap();
    assert_eq!(records.request(&with.id).await.unwrap(), Some(call("one")));
    assert_eq!(records.request(&without.id).await.unwrap(), None);
    // A later attempt without its request leaves the one that is there, one with it replaces it.
    records.append(vec![with.clone()]).await.unwrap();
    assert_eq!(records.request(&with.id).await.unwrap(), Some(call("one")));
    records.append_with_requests(vec![with.clone()], request("two")).await.unwrap();
    assert_eq!(records.request(&with.id).await.unwrap(), Some(call("two")));
    assert_eq!(records.trim(&Retention { entries: 1, ..forever() }).await.unwrap(), 1);
    assert_eq!(records.get(&with.id).await.unwrap(), None);
    assert_eq!(records.request(&with.id).await.unwrap(), None);
}

/// All combinations of filters give what a loop over all records gives, newest first.
pub async fn answers_every_filter(records: &dyn Records) {
    let all = filled(records).await;
    let tenants = [None, Some(Tenant::new("red")), Some(Tenant::new("nobody"))];
    let functions =
        [None, Some(function("red", "f")), Some(function("blue", "g")), Some(function("red", "h"))];
    let outcomes = [None, Some("success"), Some("application_error"), Some("timeout"), Some("crash")];
    let times =
        [(None, None), (Some(all[30].received), None), (Some(all[20].received), Some(all[90].received))];
    for tenant in &tenants {
        for function in &functions {
            for outcome in outcomes {
                for (since, until) in times {
                    for attempt in [None, Some(0), Some(1), Some(2), Some(3)] {
                        let query = RecordQuery {
                            tenant: tenant.clone(),
                            function: function.clone(),
                            outcome: outcome.map(str::to_owned),
                            since,
                            until,
                            attempt,
                            limit: Some(1000),
                            ..RecordQuery::default()
                        };
                        let matches = |record: &&InvocationRecord| {
                            tenant.as_ref().is_none_or(|tenant| *tenant == record.function.tenant)
                                && function.as_ref().is_none_or(|function| *function == record.function)
                                && outcome.is_none_or(|outcome| outcome == record.outcome.name())
                                && since.is_none_or(|since| record.received >= since)
                                && until.is_none_or(|until| record.received < until)
                                && attempt.is_none_or(|attempt| record.attempt >= attempt)
                        };
                        let wanted: Vec<_> = all.iter().rev().filter(matches).cloned().collect();
                        assert!(wanted.iter().all(|record| query.matches(record)), "{query:?}");
                        assert_eq!(records.count(&query).await.unwrap(), wanted.len() as u64, "{query:?}");
                        assert_eq!(records.query(&query).await.unwrap().records, wanted, "{query:?}");
                    }
                }
            }
        }
    }
}

/// Pages of any size, records of the same moment and records that come meanwhile included.
pub async fn pages_without_gaps_or_repeats(records: &dyn Records) {
    let mut all = filled(records).await;
    let twins: Vec<_> =
        (0..20).map(|_| InvocationRecord { id: InvocationId::new(), ..all[60].clone() }).collect();
    records.append(twins.clone()).await.unwrap();
    all.extend(twins);
    let of_red_f = RecordQuery { function: Some(function("red", "f")), ..RecordQuery::default() };
    for query in [RecordQuery::default(), of_red_f] {
        for size in [1, 7, 50, 1000] {
            let total = records.count(&query).await.unwrap();
            let mut seen = BTreeSet::new();
            let mut query = RecordQuery { limit: Some(size), ..query.clone() };
            loop {
                let page = records.query(&query).await.unwrap();
                assert!(page.records.len() <= size as usize);
                assert!(page.records.is_sorted_by(|a, b| a.received >= b.received));
                for record in page.records {
                    assert!(seen.insert(record.id), "{} came twice", record.id);
                }
                let Some(cursor) = page.cursor else { break };
                query.cursor = Some(cursor);
            }
            assert_eq!(seen.len() as u64, total);
        }
        records.append(vec![record("red", "f", 0, Outcome::Success)]).await.unwrap();
    }
    let unlimited = records.query(&RecordQuery { limit: Some(u32::MAX), ..RecordQuery::default() }).await;
    assert_eq!(unlimited.unwrap().records.len(), all.len() + 2);
}

/// Cursors and outcomes that are none.
pub async fn refuses_what_it_cannot_know(records: &dyn Records) {
    for cursor in ["", "x", "éééééééééééééééé", "0000000000000000000000000000000g"] {
        let query = RecordQuery { cursor: Some(cursor.to_owned()), ..RecordQuery::default() };
        assert_eq!(records.query(&query).await.unwrap_err().code, "XB4014");
    }
    let query = RecordQuery { outcome: Some("sunshine".to_owned()), ..RecordQuery::default() };
    assert_eq!(records.query(&query).await.unwrap_err().code, "XB4015");
    assert_eq!(records.count(&query).await.unwrap_err().code, "XB4015");
}

/// Oldest first, to either bound.
pub async fn trims_by_age_and_number(records: &dyn Records) {
    let all = filled(records).await;
    let keep = |seconds, entries| Retention { seconds, entries, bytes: u64::MAX };
    assert_eq!(records.trim(&keep(2000, 1000)).await.unwrap(), 0);
    assert_eq!(records.trim(&keep(2000, 100)).await.unwrap(), 20);
    assert_eq!(records.get(&all[19].id).await.unwrap(), None);
    assert!(records.get(&all[20].id).await.unwrap().is_some());
    // Half a second from the next one, so that the time this takes does not matter.
    let age = Timestamp::now().duration_since(all[70].received).as_secs() as u64;
    let gone = records.trim(&keep(age, 1000)).await.unwrap();
    assert!((50..=53).contains(&gone), "{gone}");
    assert_eq!(records.trim(&keep(u64::MAX, 0)).await.unwrap(), 100 - gone);
    assert_eq!(records.count(&RecordQuery::default()).await.unwrap(), 0);
    records.append(all.clone()).await.unwrap();
    assert_eq!(records.count(&RecordQuery::default()).await.unwrap(), 120);
    assert_eq!(records.get(&all[0].id).await.unwrap().as_ref(), Some(&all[0]));
}

/// Oldest first, until what is kept takes about as many bytes as it may: messages and requests count.
pub async fn trims_by_bytes(records: &dyn Records) {
    let all: Vec<_> = (0..200)
        .map(|index| {
            let mut record = record("red", "f", 1000 - index, Outcome::ApplicationError);
            record.message = Some("x".repeat(2000));
            record
        })
        .collect();
    let large = |record: &InvocationRecord| KeptRequest {
        id: record.id,
        call: Call {
            method: "POST".into(),
            uri: "/".to_owned(),
            headers: http::HeaderMap::new(),
            body: Payload::Inline(bytes::Bytes::from(vec![b'x'; 10_000])),
        },
    };
    let requests = all[..50].iter().map(large).collect();
    records.append_with_requests(all.clone(), requests).await.unwrap();
    let keep = |bytes| Retention { bytes, ..forever() };
    assert_eq!(records.trim(&keep(2_000_000)).await.unwrap(), 0);
    // 50 of about 12,200 bytes, 150 of about 2,200: 500,000 leave some 13 of the first, too.
    let gone = records.trim(&keep(500_000)).await.unwrap();
    assert!((30..=45).contains(&gone), "{gone}");
    assert!(records.get(&all[gone as usize - 1].id).await.unwrap().is_none());
    assert!(records.get(&all[gone as usize].id).await.unwrap().is_some(), "no more than must go");
    let gone = gone + records.trim(&keep(220_000)).await.unwrap();
    let left = records.count(&RecordQuery::default()).await.unwrap();
    assert!((90..=108).contains(&left) && left + gone == 200, "{left} are left, {gone} went");
    assert_eq!(records.trim(&keep(0)).await.unwrap(), left);
    // What came and went leaves nothing behind in the count.
    records.append(all[..10].to_vec()).await.unwrap();
    assert_eq!(records.trim(&keep(30_000)).await.unwrap(), 0);
}
