//! What every place for records does.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use xebec_core::{
    Digest, FunctionKey, InvocationId, Outcome, Tenant,
    invocation::Timing,
    limits::Clock,
    outcome::{FunctionFault, PlatformFault},
    ports::records::{Records, Retention},
    record::{InvocationRecord, RecordQuery},
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
        timing: Timing { cold: seconds_ago % 2 == 0, wait_us: 1, first_byte_us: 2, run_us: 3 },
        outcome,
        status: Some(200),
        message: None,
        request_bytes: 10,
        response_bytes: 20,
        attempt: 0,
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
            record(tenant, ["f", "g"][index / 2 % 2], 1000 - index as i64, outcome)
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
    let full = record("blue", "g", 3, Outcome::FunctionError(FunctionFault::Timeout(Clock::Start)));
    records.append(vec![bare.clone(), full.clone()]).await.unwrap();
    records.append(Vec::new()).await.unwrap();
    assert_eq!(records.get(&bare.id).await.unwrap(), Some(bare.clone()));
    assert_eq!(records.get(&full.id).await.unwrap(), Some(full.clone()));
    assert_eq!(records.get(&InvocationId::new()).await.unwrap(), None);
    let page = records.query(&RecordQuery::default()).await.unwrap();
    assert_eq!((page.records, page.cursor), (vec![full.clone(), bare], None));

    let revised = InvocationRecord { status: Some(500), ..full.clone() };
    records.append(vec![revised.clone()]).await.unwrap();
    assert_eq!(records.get(&full.id).await.unwrap(), Some(revised), "the later one counts");
    assert_eq!(records.count(&RecordQuery::default()).await.unwrap(), 2);
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
                    let query = RecordQuery {
                        tenant: tenant.clone(),
                        function: function.clone(),
                        outcome: outcome.map(str::to_owned),
                        since,
                        until,
                        limit: Some(1000),
                        cursor: None,
                    };
                    let matches = |record: &&InvocationRecord| {
                        tenant.as_ref().is_none_or(|tenant| *tenant == record.function.tenant)
                            && function.as_ref().is_none_or(|function| *function == record.function)
                            && outcome.is_none_or(|outcome| outcome == record.outcome.name())
                            && since.is_none_or(|since| record.received >= since)
                            && until.is_none_or(|until| record.received < until)
                    };
                    let wanted: Vec<_> = all.iter().rev().filter(matches).cloned().collect();
                    assert_eq!(records.count(&query).await.unwrap(), wanted.len() as u64, "{query:?}");
                    assert_eq!(records.query(&query).await.unwrap().records, wanted, "{query:?}");
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

/// Oldest first, to both bounds.
pub async fn trims_by_age_and_number(records: &dyn Records) {
    let all = filled(records).await;
    let keep = |seconds, entries| Retention { seconds, entries };
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
