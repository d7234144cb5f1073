//! An instance that says what the fuzzer made up, whatever it is asked: what contracts are fuzzed against.
//!
//! Time stands still but for waits, which are over at once, so that a contract's patience costs nothing.

mod instance;

pub use instance::Scripted;

use bytes::Bytes;
use std::sync::Arc;
use xebec_contracts::{Brings, Call, Opening, contract};
use xebec_core::{
    Body, InvocationId,
    limits::Limits,
    log::LogStream,
    ports::instance::LineSink,
    revision::ContractSpec,
    slot::{Retire, Slot, SlotOwner},
};

/// The largest answer that is looked at.
const ANSWER: u64 = 1 << 20;

/// Takes slots and lines, and does nothing with them.
struct Anyone;

impl SlotOwner for Anyone {
    fn announce(&self, _: u32) {}
    fn free(&self) {}
    fn retire(&self, _: Retire) {}
}

impl LineSink for Anyone {
    fn line(&self, _: LogStream, _: &str) {}
}

/// Opens a contract on what is scripted, calls twice, and reads the answers to their ends.
pub fn calls(name: &str, options: serde_json::Value, code: Option<&[u8]>, instance: Scripted) {
    let plain = || http::Request::post("/").body(Body::full("{}")).expect("it is well formed");
    calls_with(name, options, code, instance, plain);
}

/// The same, with these requests.
pub fn calls_with(
    name: &str,
    options: serde_json::Value,
    code: Option<&[u8]>,
    instance: Scripted,
    request: impl Fn() -> http::Request<Body>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without any I/O").block_on(async {
        let spec = serde_json::json!({"name": name, "options": options});
        let spec: ContractSpec = serde_json::from_value(spec).expect("it has a name and options");
        let contract = contract(&spec.name).expect("there is a contract of that name");
        let slots = Arc::new(Anyone);
        let code =
            code.map(|code| (xebec_core::workload::ArchiveFormat::Single, Bytes::copy_from_slice(code)));
        let opening = Opening {
            io: Arc::new(instance),
            spec,
            command: vec!["program".to_owned()],
            limits: Limits::default(),
            slots: slots.clone(),
            lines: slots.clone(),
            brings: Brings { function: "function".to_owned(), code, ..Brings::default() },
        };
        let Ok(session) = contract.open(opening).await else { return };
        for _ in 0..2 {
            let call = Call { id: InvocationId::new(), slot: Slot::new(slots.clone()), request: request() };
            if let Ok(answer) = session.call(call).await {
                let _ = answer.into_body().collect(ANSWER).await;
            }
        }
    });
}

/// The pieces of an input, divided by two bytes that no text has.
pub fn pieces<const N: usize>(mut data: &[u8]) -> [Vec<u8>; N] {
    std::array::from_fn(|piece| {
        let end = match data.windows(2).position(|pair| pair == [0xff, 0xfe]) {
            Some(end) if piece + 1 < N => end,
            _ => data.len(),
        };
        let (this, rest) = data.split_at(end);
        data = rest.get(2..).unwrap_or_default();
        this.to_vec()
    })
}
