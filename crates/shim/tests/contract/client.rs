//! A client that shows everything: also how an answer ended.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// How long anything may take on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// 0: there was none.
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// It ended as it had said, and did not break off.
    pub(crate) is_whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection with a request on it.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(port: u16) -> Self {
        Self::to(&format!("127.0.0.1:{port}"))
    }

    pub(crate) fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // It may close in the middle: the answer tells.
        let _ = self.0.get_mut().write_all(bytes);
    }

    /// A request in one piece.
    pub(crate) fn request(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: example.test\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.send(&request);
    }

    /// The head of the answer.
    pub(crate) fn head(&mut self) -> Answer {
        let mut answer = Answer::default();
        let Some(first) = self.line() else { return answer };
        answer.status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            answer.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        answer
    }

    /// The answer to a request with that method.
    pub(crate) fn answer(&mut self, method: &str) -> Answer {
        let mut answer = self.head();
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        if answer.status == 0 {
            return answer;
        }
        if method == "HEAD" || answer.status == 204 {
            answer.is_whole = true;
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                if chunk.is_empty() {
                    answer.is_whole = true;
                    break;
                }
                answer.body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = length {
            let read = self.0.by_ref().take(length).read_to_end(&mut answer.body);
            answer.is_whole = read.is_ok() && answer.body.len() as u64 == length;
        } else {
            answer.is_whole = self.0.read_to_end(&mut answer.body).is_ok();
        }
        answer
    }

    /// The next chunk; empty: the last. `None`: it broke off.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(self.line()?.trim(), 16).ok()?;
        let mut chunk = vec![0; length];
        self.0.read_exact(&mut chunk).ok()?;
        self.line()?;
        Some(chunk)
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(1..) => Some(line.trim_end().to_owned()),
            _ => None,
        }
    }
}

/// One request on a connection of its own.
pub(crate) fn call(port: u16, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut connection = Connection::open(port);
    connection.request(method, path, headers, body);
    connection.answer(method)
}

/// `GET` of a path.
pub(crate) fn get(port: u16, path: &str) -> Answer {
    call(port, "GET", path, &[], b"")
}
