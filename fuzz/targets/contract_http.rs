//! `http`: what a function's web server answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xebec_fuzz::{Scripted, calls, pieces};

fuzz_target!(|data: &[u8]| {
    let [first, second, third] = pieces(data);
    // The first connection is for whether it listens at all.
    let server = Scripted::server(vec![Vec::new(), first, second, third]);
    calls("http", serde_json::json!({"port": 8080}), None, server);
});
