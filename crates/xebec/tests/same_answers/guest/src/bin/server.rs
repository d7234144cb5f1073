//! The function as a web server, on `$PORT`: runs as a process and as the one file of an image.

use same_answers_guest::{Exchange, answer};
use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

fn main() {
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = match TcpListener::bind(format!("0.0.0.0:{port}")) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {port}: {error}");
            std::process::exit(1);
        }
    };
    for stream in listener.incoming().flatten() {
        thread::spawn(move || serve(stream));
    }
}

fn serve(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let Ok(reading) = stream.try_clone() else { return };
    let mut reader = BufReader::new(reading);
    let mut writer = stream;
    while let Some(mut exchange) = Http1::read_head(&mut reader, &mut writer) {
        answer(&mut exchange);
        // What was not read would be taken for the next request.
        while exchange.read().is_some() {}
        if exchange.left != Left::None {
            return;
        }
    }
}

/// How much of a request's body is yet to come.
#[derive(PartialEq)]
enum Left {
    None,
    Bytes(usize),
    Chunks,
}

struct Http1<'a> {
    reader: &'a mut BufReader<TcpStream>,
    writer: &'a mut TcpStream,
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    left: Left,
    chunked: bool,
}

impl<'a> Http1<'a> {
    fn read_head(reader: &'a mut BufReader<TcpStream>, writer: &'a mut TcpStream) -> Option<Self> {
        let first = String::from_utf8(line(reader)?).ok()?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let line = line(reader)?;
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
            headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
        headers.sort_by(|a, b| a.0.cmp(&b.0));
        let value = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        let left = match (value("transfer-encoding"), value("content-length")) {
            (Some(_), _) => Left::Chunks,
            (None, Some(length)) => bytes_left(length.parse().ok()?),
            (None, None) => Left::None,
        };
        Some(Self { reader, writer, method, target, headers, left, chunked: false })
    }

    fn send(&mut self, bytes: &[u8]) {
        // Where nobody is there any more, there is nobody to tell either.
        let _ = self.writer.write_all(bytes);
    }
}

fn bytes_left(count: usize) -> Left {
    if count == 0 { Left::None } else { Left::Bytes(count) }
}

/// A line without its end; `None` where there is none any more.
fn line(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok()?;
    line.strip_suffix(b"\r\n").map(<[u8]>::to_vec)
}

impl Exchange for Http1<'_> {
    fn method(&self) -> String {
        self.method.clone()
    }

    fn target(&self) -> String {
        self.target.clone()
    }

    fn host(&self) -> String {
        let host = self.headers.iter().find(|(name, _)| name == "host");
        host.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }

    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        // Who was asked is told apart, and how the body comes concerns one connection.
        let own = |name: &str| name != "host" && name != "transfer-encoding";
        self.headers.iter().filter(|(name, _)| own(name)).cloned().collect()
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        match self.left {
            Left::None => None,
            Left::Bytes(left) => {
                let mut piece = vec![0; left.min(64 << 10)];
                let count = self.reader.read(&mut piece).ok().filter(|count| *count > 0)?;
                piece.truncate(count);
                self.left = bytes_left(left - count);
                Some(piece)
            }
            Left::Chunks => {
                let size = String::from_utf8(line(self.reader)?).ok()?;
                let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
                if size == 0 {
                    // Trailers, of which nothing is made here.
                    while !line(self.reader)?.is_empty() {}
                    self.left = Left::None;
                    return None;
                }
                let mut piece = vec![0; size];
                self.reader.read_exact(&mut piece).ok()?;
                line(self.reader)?;
                Some(piece)
            }
        }
    }

    fn begin(&mut self, status: u16, headers: &[(&str, &[u8])]) {
        let mut head = format!("HTTP/1.1 {status} -\r\n").into_bytes();
        for (name, value) in headers {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        let has_length = headers.iter().any(|(name, _)| *name == "content-length");
        let has_none = self.method == "HEAD" || matches!(status, 204 | 304);
        self.chunked = !has_length && !has_none;
        if self.chunked {
            head.extend(b"transfer-encoding: chunked\r\n");
        }
        head.extend(b"\r\n");
        self.send(&head);
    }

    fn write(&mut self, piece: &[u8]) {
        if self.method == "HEAD" || piece.is_empty() {
            return;
        }
        if self.chunked {
            let size = format!("{:x}\r\n", piece.len());
            self.send(&[size.as_bytes(), piece, b"\r\n"].concat());
        } else {
            self.send(piece);
        }
    }

    fn end(&mut self, trailers: &[(&str, &str)]) {
        if self.chunked {
            let mut end = b"0\r\n".to_vec();
            for (name, value) in trailers {
                end.extend(format!("{name}: {value}\r\n").into_bytes());
            }
            end.extend(b"\r\n");
            self.send(&end);
        }
    }
}
