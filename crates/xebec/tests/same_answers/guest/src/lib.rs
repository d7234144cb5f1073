//! One function of many behaviours, which its path chooses. It knows nothing of what carries its requests.

use std::{thread, time::Duration};

/// Far more than any clock of the tests.
const FOREVER: Duration = Duration::from_secs(600);

/// One request and its answer, as a server of any kind offers them.
pub trait Exchange {
    /// The request's method.
    fn method(&self) -> String;

    /// Its path and query, as they came.
    fn target(&self) -> String;

    /// Whom it was sent to.
    fn host(&self) -> String;

    /// Its headers, in the order of their names.
    fn headers(&self) -> Vec<(String, Vec<u8>)>;

    /// The next piece of its body as soon as there is one; `None` at its end.
    fn read(&mut self) -> Option<Vec<u8>>;

    /// Sends the answer's head.
    fn begin(&mut self, status: u16, headers: &[(&str, &[u8])]);

    /// Sends a piece of the answer's body, now.
    fn write(&mut self, piece: &[u8]);

    /// Ends the answer.
    fn end(&mut self, trailers: &[(&str, &str)]);
}

/// Answers a request.
pub fn answer(exchange: &mut dyn Exchange) {
    let target = exchange.target();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut parts = path.splitn(3, '/').skip(1);
    let (behaviour, argument) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let number = argument.parse().unwrap_or(0);
    match behaviour {
        "echo" => echo(exchange),
        "status" => status(exchange, argument),
        "redirect" => {
            exchange.begin(u16::try_from(number).unwrap_or(302), &[("location", query.as_bytes())]);
            exchange.end(&[]);
        }
        "headers" => headers(exchange),
        "untyped" => {
            exchange.begin(200, &[]);
            exchange.write(b"of no type");
            exchange.end(&[]);
        }
        "empty" => {
            exchange.begin(200, &[PLAIN, ("content-length", b"0")]);
            exchange.end(&[]);
        }
        "bytes" => {
            exchange.begin(200, &[("content-type", b"application/octet-stream")]);
            exchange.write(&(0..=255).collect::<Vec<u8>>());
            exchange.end(&[]);
        }
        "large" => large(exchange, number),
        "sum" => sum(exchange),
        "trailers" => {
            exchange.begin(200, &[PLAIN, ("trailer", b"x-sum")]);
            exchange.write(b"before");
            exchange.end(&[("x-sum", "after")]);
        }
        "never" => thread::sleep(FOREVER),
        "halfway" => {
            exchange.begin(200, &[PLAIN]);
            exchange.write(b"so far");
            thread::sleep(FOREVER);
        }
        "exit" => std::process::exit(i32::try_from(number).unwrap_or(1)),
        "exit-halfway" => {
            exchange.begin(200, &[PLAIN]);
            exchange.write(b"so far");
            // The caller has seen it when it says so.
            while exchange.read().is_none() {}
            std::process::exit(3);
        }
        "unread" => {
            exchange.begin(200, &[PLAIN]);
            exchange.write(b"not read");
            exchange.end(&[]);
        }
        _ => report(exchange),
    }
}

const PLAIN: (&str, &[u8]) = ("content-type", b"text/plain");

/// Says what was asked.
fn report(exchange: &mut dyn Exchange) {
    let mut text = format!("{} {} at {}\n", exchange.method(), exchange.target(), exchange.host());
    for (name, value) in exchange.headers() {
        text.push_str(&format!("{name}: {}\n", value.escape_ascii()));
    }
    let mut body = Vec::new();
    while let Some(piece) = exchange.read() {
        body.extend(piece);
    }
    text.push_str(&format!("{} bytes\n", body.len()));
    exchange.begin(200, &[PLAIN]);
    exchange.write(text.as_bytes());
    exchange.end(&[]);
}

/// Gives back every piece as it comes.
fn echo(exchange: &mut dyn Exchange) {
    let asked = exchange.headers().into_iter().find(|(name, _)| name == "content-type");
    let content_type = asked.map_or_else(|| b"application/octet-stream".to_vec(), |(_, value)| value);
    exchange.begin(200, &[("content-type", &content_type)]);
    while let Some(piece) = exchange.read() {
        exchange.write(&piece);
    }
    exchange.end(&[]);
}

fn status(exchange: &mut dyn Exchange, argument: &str) {
    let code = argument.parse().unwrap_or(200);
    if matches!(code, 204 | 304) {
        exchange.begin(code, &[("etag", b"\"1\"")]);
    } else {
        exchange.begin(code, &[PLAIN]);
        exchange.write(format!("status {code}").as_bytes());
    }
    exchange.end(&[]);
}

/// All kinds of headers.
fn headers(exchange: &mut dyn Exchange) {
    let all: [(&str, &[u8]); 11] = [
        PLAIN,
        ("set-cookie", b"a=1; Path=/"),
        ("set-cookie", b"b=2, with a comma"),
        ("X-oDd-CaSe", b"As It Is"),
        ("x-empty", b""),
        ("x-latin", b"caf\xe9"),
        ("vary", b"accept"),
        ("vary", b"origin"),
        ("keep-alive", b"timeout=5"),
        ("proxy-authenticate", b"Basic"),
        ("server", b"guest"),
    ];
    exchange.begin(203, &all);
    exchange.write(b"headers");
    exchange.end(&[]);
}

/// So many bytes, its length told beforehand. Not sent where only the head was asked for.
fn large(exchange: &mut dyn Exchange, bytes: usize) {
    let length = bytes.to_string();
    exchange
        .begin(200, &[("content-type", b"application/octet-stream"), ("content-length", length.as_bytes())]);
    if exchange.method() != "HEAD" {
        let mut at = 0;
        while at < bytes {
            let piece: Vec<u8> = (at..bytes.min(at + (64 << 10))).map(pattern).collect();
            exchange.write(&piece);
            at += piece.len();
        }
    }
    exchange.end(&[]);
}

/// How much the body is, and whether it is what it should be.
fn sum(exchange: &mut dyn Exchange) {
    let (mut length, mut wrong) = (0, 0);
    while let Some(piece) = exchange.read() {
        wrong += piece.iter().enumerate().filter(|(at, byte)| pattern(length + at) != **byte).count();
        length += piece.len();
    }
    exchange.begin(200, &[PLAIN]);
    exchange.write(format!("{length} bytes, {wrong} of them wrong").as_bytes());
    exchange.end(&[]);
}

/// What is at a place of a large body: lost or doubled pieces show.
#[allow(clippy::cast_possible_truncation, reason = "the lower bits are what is wanted")]
pub fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}
