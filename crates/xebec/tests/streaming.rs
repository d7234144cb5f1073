//! Streaming, both ways.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use futures_util::StreamExt as _;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};
use support::{Server, has};

const WEB: &str = "name = \"web\"\nenvironment = \"http\"\ncommand = [\"python3\", \"-u\", \"/app/serve.py\"]\n[limits]\nconcurrency = 4\n";

/// Answers `/events` in three parts with pauses between them that only the reader ends, `/echo` with what it
/// gets as it gets it, and upgrades `/socket` to a line echo.
const SERVE: &str = r#"
import os, socketserver, time
class H(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            line = self.rfile.readline()
            if not line: return
            path = line.split()[1].decode()
            headers = {}
            while True:
                h = self.rfile.readline().strip()
                if not h: break
                k, v = h.decode().split(':', 1)
                headers[k.lower()] = v.strip()
            w = self.wfile
            if path == '/events':
                w.write(b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n')
                for n in range(3):
                    data = b'data: %d\n\n' % n
                    w.write(b'%x\r\n%s\r\n' % (len(data), data)); w.flush()
                    time.sleep(0.3)
                w.write(b'0\r\n\r\n'); w.flush()
            elif path == '/echo':
                total = 0
                if headers.get('transfer-encoding') == 'chunked':
                    while True:
                        size = int(self.rfile.readline(), 16)
                        total += len(self.rfile.read(size)); self.rfile.readline()
                        if size == 0: break
                else:
                    total = len(self.rfile.read(int(headers.get('content-length', 0))))
                body = str(total).encode()
                w.write(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body)); w.flush()
            elif path == '/socket':
                w.write(b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n'); w.flush()
                for line in self.rfile:
                    w.write(b'echo ' + line); w.flush()
                return
class S(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
S(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()
"#;

fn web() -> Option<Server> {
    if !has("python3") {
        return None;
    }
    let server = Server::start();
    server.deploy(WEB, &[("serve.py", SERVE)]);
    Some(server)
}

#[test]
fn events_arrive_one_by_one() {
    let Some(server) = web() else { return };
    let times = support::block_on(async {
        let response = reqwest::get(format!("{}/events", server.function("web"))).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut chunks = response.bytes_stream();
        let mut times = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
            times.extend(text.matches("data:").map(|_| std::time::Instant::now()));
        }
        times
    });
    assert_eq!(times.len(), 3);
    assert!(times[2] > times[0], "they came all at once");
}

#[test]
fn a_large_body_streams_in() {
    let Some(server) = web() else { return };
    let chunk = vec![7u8; 64 * 1024];
    let sent = futures_util::stream::iter((0..256).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let total = support::block_on(async {
        let client = reqwest::Client::new();
        let request = client.post(format!("{}/echo", server.function("web")));
        request.body(reqwest::Body::wrap_stream(sent)).send().await.unwrap().text().await.unwrap()
    });
    assert_eq!(total, (256 * 64 * 1024).to_string());
}

#[test]
fn upgrades_pass_through() {
    let Some(server) = web() else { return };
    let mut socket = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    socket
        .write_all(b"GET /function/web/socket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
        .unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    let mut read_until = |socket: &mut TcpStream, what: &str| {
        while !String::from_utf8_lossy(&seen).contains(what) {
            let n = socket.read(&mut buffer).unwrap();
            assert!(n > 0, "closed; got {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..n]);
        }
    };
    read_until(&mut socket, "\r\n\r\n");
    socket.write_all(b"one\n").unwrap();
    read_until(&mut socket, "echo one\n");
    socket.write_all(b"two\n").unwrap();
    read_until(&mut socket, "echo two\n");
}
