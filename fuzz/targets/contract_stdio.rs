//! `stdio`: what a process prints.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xebec_fuzz::{Scripted, calls, pieces};

fuzz_target!(|data: &[u8]| {
    let Some((flags, data)) = data.split_first() else { return };
    let [output, error] = pieces(data);
    let options = serde_json::json!({
        "mode": if flags & 1 == 0 { "buffered" } else { "streaming" },
        "combine_output": flags & 2 != 0,
        "marshal_request": flags & 4 != 0,
    });
    calls("stdio", options, None, Scripted::program(output, error, Vec::new(), i32::from(flags & 8 != 0)));
});
