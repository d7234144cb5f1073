//! What callers send, on its way into a process' variables and input, or to an action's proxy.
#![no_main]

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use libfuzzer_sys::fuzz_target;
use xebec_core::Body;
use xebec_fuzz::{Scripted, calls_with, pieces};

fuzz_target!(|data: &[u8]| {
    let Some((flags, data)) = data.split_first() else { return };
    let [method, uri, headers, body] = pieces(data);
    let Ok(method) = Method::from_bytes(&method) else { return };
    let Ok(uri) = Uri::try_from(uri) else { return };
    let request = || {
        let mut request = Request::new(Body::full(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        for line in headers.split(|byte| *byte == b'\n') {
            let (name, value) =
                line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
            let value = value.get(1..).unwrap_or_default();
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                request.headers_mut().append(name, value);
            }
        }
        request
    };
    let fine = || b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec();
    let server = || Scripted::server(vec![fine(), fine(), fine()]);
    let program = || Scripted::program(b"{}\n".to_vec(), Vec::new(), b"{}\n".to_vec(), 0);
    match flags & 3 {
        0 => {
            let options = serde_json::json!({
                "cgi_headers": flags & 4 != 0, "marshal_request": flags & 8 != 0, "combine_output": false,
            });
            calls_with("stdio", options, None, program(), request);
        }
        1 => calls_with("http", serde_json::json!({"port": 8080}), None, server(), request),
        2 => {
            let options = serde_json::json!({"mode": "http", "sentinels": false});
            calls_with("init-run", options, Some(b"code"), server(), request);
        }
        _ => {
            let mode = if flags & 4 != 0 { "loop" } else { "exec" };
            let options = serde_json::json!({"mode": mode, "sentinels": false});
            calls_with("init-run", options, None, program(), request);
        }
    }
});
