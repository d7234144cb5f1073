//! `init-run`: what an action's proxy answers, what an ActionLoop writes to descriptor 3, what a process prints.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xebec_fuzz::{Scripted, calls, pieces};

/// What a proxy says whose `/init` went well.
const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";

fuzz_target!(|data: &[u8]| {
    let Some((flags, data)) = data.split_first() else { return };
    let code = (flags & 4 != 0).then_some(data);
    let options = |mode: &str| serde_json::json!({"mode": mode, "sentinels": false, "max_answer_bytes": 256});
    let exit = i32::from(flags & 8 != 0);
    match flags & 3 {
        0 => {
            let [init, run, again] = pieces(data);
            calls("init-run", options("http"), code, Scripted::server(vec![init, run, again]));
        }
        1 => {
            let [run, again] = pieces(data);
            let server = Scripted::server(vec![[FINE, &run].concat(), run, again]);
            calls("init-run", options("http"), code, server);
        }
        2 => {
            let [result, output, error] = pieces(data);
            calls("init-run", options("loop"), code, Scripted::program(output, error, result, exit));
        }
        _ => {
            let [output, error] = pieces(data);
            calls("init-run", options("exec"), code, Scripted::program(output, error, Vec::new(), exit));
        }
    }
});
