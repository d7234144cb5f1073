//! One table of exchanges, for ours and for the originals.

use crate::{
    client::{Answer, Connection},
    watchdog::Watchdog,
};

/// A request, and what is answered.
pub(crate) struct Case<'a> {
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) headers: &'a [&'a str],
    pub(crate) body: &'a [u8],
    pub(crate) expect: Expect<'a>,
    /// What the original answers in its place, and why ours does not.
    pub(crate) original: Option<(Expect<'a>, &'static str)>,
}

/// What is expected of an answer.
pub(crate) struct Expect<'a> {
    /// 0: none came.
    pub(crate) status: u16,
    /// Values; `None`: the header is not there; empty: whatever it is.
    pub(crate) headers: &'a [(&'a str, Option<&'a str>)],
    pub(crate) body: Said<'a>,
    pub(crate) is_whole: bool,
}

/// What a body says.
pub(crate) enum Said<'a> {
    Is(&'a [u8]),
    Has(&'a [&'a str]),
    Anything,
}

pub(crate) const POST: Case<'_> =
    Case { name: "", method: "POST", path: "/", headers: &[], body: b"", expect: OK, original: None };

pub(crate) const OK: Expect<'_> = Expect { status: 200, headers: &[], body: Said::Anything, is_whole: true };

/// Every case, one after the other; all that differ are told.
pub(crate) fn check(watchdog: &Watchdog, cases: &[Case<'_>]) {
    let mut faults = Vec::new();
    for case in cases {
        let mut connection = Connection::open(watchdog.port);
        connection.request(case.method, case.path, case.headers, case.body);
        let answer = connection.answer(case.method);
        let expect = match &case.original {
            Some((theirs, _)) if watchdog.kind.is_original() => theirs,
            _ => &case.expect,
        };
        if let Err(fault) = compare(&answer, expect) {
            faults.push(format!("{}: {fault}\n  in {answer:.300?}", case.name));
        }
    }
    assert!(faults.is_empty(), "{}\nit said {:#?}", faults.join("\n"), watchdog.log());
}

fn compare(answer: &Answer, expect: &Expect<'_>) -> Result<(), String> {
    if answer.status != expect.status {
        return Err(format!("the status is {}, not {}", answer.status, expect.status));
    }
    for (name, wanted) in expect.headers {
        match (answer.header(name), wanted) {
            (None, None) | (Some(_), Some("")) => {}
            (Some(is), Some(wanted)) if is == *wanted => {}
            (is, wanted) => return Err(format!("the header {name} is {is:?}, not {wanted:?}")),
        }
    }
    match expect.body {
        Said::Is(bytes) if answer.body != bytes => {
            return Err(format!("the body has {} bytes, not these {}", answer.body.len(), bytes.len()));
        }
        Said::Has(words) => {
            let text = answer.text();
            if let Some(word) = words.iter().find(|word| !text.contains(**word)) {
                return Err(format!("the body does not say {word:?}"));
            }
        }
        _ => {}
    }
    if answer.status != 0 && answer.is_whole != expect.is_whole {
        return Err(format!("it came whole: {}", answer.is_whole));
    }
    Ok(())
}
