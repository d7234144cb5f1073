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
    record::{Filed, InvocationRecord, KeptRequest, Noted, RecordQuery},
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

/// What a door noted of it: filed for a tenant under a name, a part of a call, with this answer.
fn noted(
    filed: Option<(&str, &str)>,
    cause: Option<InvocationId>,
    answer: &'static [u8],
) -> Option<Box<Noted>> {
    let filed = filed.map(|(tenant, name)| Filed { tenant: Tenant::new(tenant), name: name.into() });
    let details =
        serde_json::json!({"kind": "nodejs:20", "path": "red/\"é\"", "limits": {"logs": 10}, "none": null});
    Some(Box::new(Noted { filed, cause, details, answer: bytes::Bytes::from_static(answer) }))
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
    full.timing.init_us = 4;
    full.noted = noted(Some(("blue", "pkg/g")), Some(InvocationId::new()), b"{\"a\":1}\0\xff");
    records.append(vec![bare.clone(), full.clone()]).await.unwrap();
    records.append(Vec::new()).await.unwrap();
    assert_eq!(records.get(&bare.id).await.unwrap(), Some(bare.clone()));
    assert_eq!(records.get(&full.id).await.unwrap(), Some(full.clone()));
    assert_eq!(records.get(&InvocationId::new()).await.unwrap(), None);
    let page = records.query(&RecordQuery::default()).await.unwrap();
    let without = full.clone().without_answer();
    assert!(without != full, "answers are left out where nobody asks for them");
    assert_eq!((page.records, page.cursor), (vec![without, bare.clone()], None));
    let query = RecordQuery { answers: true, ..RecordQuery::default() };
    assert_eq!(records.query(&query).await.unwrap().records, [full, bare]);
}

/// Whatever part of a note there is comes back.
pub async fn keeps_what_was_noted(records: &dyn Records) {
    let cause = InvocationId::new();
    let mut details = noted(None, None, b"");
    let mut answer = noted(None, None, b"x");
    if let (Some(details), Some(answer)) = (&mut details, &mut answer) {
        details.details = serde_json::json!({});
        answer.details = serde_json::Value::Null;
    }
    let list = Noted { filed: Some(Filed { tenant: Tenant::new("t"), name: "".into() }), ..Noted::default() };
    let part = Noted { cause: Some(cause), ..Noted::default() };
    let notes = [details, answer, Some(Box::new(list)), Some(Box::new(part)), None];
    let all: Vec<_> = notes
        .into_iter()
        .map(|noted| InvocationRecord { noted, ..record("red", "f", 9, Outcome::Success) })
        .collect();
    records.append(all.clone()).await.unwrap();
    for record in all {
        assert_eq!(records.get(&record.id).await.unwrap(), Some(record));
    }
}

/// The lists that doors file records in, beside their functions; and the parts of a call.
pub async fn finds_what_was_filed(records: &dyn Records) {
    let [first, second] = [InvocationId::new(), InvocationId::new()];
    let filings = [None, Some(("ann", "f")), Some(("ann", "pkg/f")), Some(("bob", "f")), Some(("blue", "g"))];
    let causes = [None, Some(first), Some(second)];
    let mut all = filled(records).await;
    for (index, record) in all.iter_mut().enumerate() {
        if let (filed, cause) = (filings[index % 5], causes[index % 3])
            && (filed.is_some() || cause.is_some())
        {
            record.noted = noted(filed, cause, b"answer");
        }
    }
    // Second records of the same calls: what was noted of the later one counts.
    records.append(all.clone()).await.unwrap();
    let lists = [
        (None, None),
        (Some("ann"), None),
        (Some("ann"), Some("f")),
        (Some("ann"), Some("g")),
        (Some("blue"), Some("g")),
        (Some("red"), None),
        (Some("nobody"), Some("f")),
    ];
    let functions = [None, Some(function("red", "f")), Some(function("red", "h"))];
    for (filed_for, filed_as) in lists {
        for cause in [None, Some(first), Some(InvocationId::new())] {
            for function in &functions {
                for outcome in [None, Some("success"), Some("timeout")] {
                    for since in [None, Some(all[50].received)] {
                        let query = RecordQuery {
                            filed_for: filed_for.map(Tenant::new),
                            filed_as: filed_as.map(Into::into),
                            cause,
                            function: function.clone(),
                            outcome: outcome.map(str::to_owned),
                            since,
                            limit: Some(1000),
                            ..RecordQuery::default()
                        };
                        let filed = |record: &InvocationRecord| {
                            record.noted.as_ref().and_then(|noted| noted.filed.clone())
                        };
                        let matches = |record: &&InvocationRecord| {
                            let noted_cause = record.noted.as_ref().and_then(|noted| noted.cause);
                            filed_for.is_none_or(|wanted| {
                                filed(record).is_some_and(|filed| filed.tenant.as_str() == wanted)
                            }) && filed_as
                                .is_none_or(|wanted| filed(record).is_some_and(|filed| filed.name == wanted))
                                && cause.is_none_or(|cause| noted_cause == Some(cause))
                                && function.as_ref().is_none_or(|function| *function == record.function)
                                && outcome.is_none_or(|outcome| outcome == record.outcome.name())
                                && since.is_none_or(|since| record.received >= since)
                        };
                        let wanted: Vec<_> = all.iter().rev().filter(matches).cloned().collect();
                        assert!(wanted.iter().all(|record| query.matches(record)), "{query:?}");
                        assert_eq!(records.count(&query).await.unwrap(), wanted.len() as u64, "{query:?}");
                        let with = RecordQuery { answers: true, ..query.clone() };
                        assert_eq!(records.query(&with).await.unwrap().records, wanted, "{query:?}");
                        let wanted: Vec<_> =
                            wanted.into_iter().map(InvocationRecord::without_answer).collect();
                        assert_eq!(records.query(&query).await.unwrap().records, wanted, "{query:?}");
                    }
                }
            }
        }
    }
    assert_eq!(records.trim(&Retention { entries: 0, ..forever() }).await.unwrap(), 120);
    let ann = RecordQuery { filed_for: Some(Tenant::new("ann")), ..RecordQuery::default() };
    assert_eq!(records.count(&ann).await.unwrap(), 0);
    records.append(all[..2].to_vec()).await.unwrap();
    assert_eq!(records.count(&ann).await.unwrap(), 1, "names come again when their records do");
}

/// So many are left out at the beginning, and the next page goes on behind them.
pub async fn skips_the_first_of_a_list(records: &dyn Records) {
    let all = filled(records).await;
    let newest_first: Vec<_> = all.iter().rev().map(|record| record.id).collect();
    for skip in [0, 1, 100, 119, 120, 1000, u64::MAX] {
        let query = RecordQuery { skip, limit: Some(15), ..RecordQuery::default() };
        let page = records.query(&query).await.unwrap();
        let ids: Vec<_> = page.records.iter().map(|record| record.id).collect();
        let rest = newest_first.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX));
        assert_eq!(ids, rest.clone().take(15).copied().collect::<Vec<_>>(), "{skip}");
        assert_eq!(records.count(&query).await.unwrap(), 120, "counts leave none out");
        let Some(cursor) = page.cursor else { continue };
        let next = records.query(&RecordQuery { cursor: Some(cursor), ..query }).await.unwrap();
        let ids: Vec<_> = next.records.iter().map(|record| record.id).collect();
        assert_eq!(ids, rest.skip(15).take(15).copied().collect::<Vec<_>>(), "{skip}");
    }
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
    let query = RecordQuery { filed_as: Some("f".into()), ..RecordQuery::default() };
    assert_eq!(records.query(&query).await.unwrap_err().code, "XB1009", "a list without its tenant");
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

/// Oldest first, until what is kept takes about as many bytes as it may: messages, requests and answers count.
pub async fn trims_by_bytes(records: &dyn Records) {
    let all: Vec<_> = (0..200)
        .map(|index| {
            let mut record = record("red", "f", 1000 - index, Outcome::ApplicationError);
            record.message = Some("x".repeat(2000));
            if (25..50).contains(&index) {
                record.noted = noted(None, None, &[b'x'; 10_000]);
            }
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
    let requests = all[..25].iter().map(large).collect();
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
