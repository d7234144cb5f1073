//! A web server on loopback that takes results and does with them what a test wants.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Arrived {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What becomes of a request, by its number (from 0) and itself.
pub type Answer = dyn Fn(usize, &Arrived) -> Reply + Send + Sync;

/// What the sink does with a request.
pub enum Reply {
    /// Answers with this status, and these header lines (each ended by CRLF).
    Status(u16, String),
    /// Says nothing for so long.
    Hang(Duration),
    /// Closes the connection with a reset.
    Reset,
    /// Says these bytes and closes the connection.
    Raw(Vec<u8>),
}

/// The server. It ends with the test's process.
pub struct Sink {
    pub address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Sink {
    /// One that answers 200 to everything.
    pub fn new() -> Self {
        Self::with(|_, _| Reply::Status(200, String::new()))
    }

    /// One that answers as it is told.
    pub fn with(answer: impl Fn(usize, &Arrived) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let arrived: Arc<Mutex<Vec<Arrived>>> = Arc::default();
        let answer: Arc<Answer> = Arc::new(answer);
        let kept = Arc::clone(&arrived);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                std::thread::spawn(move || {
                    // A client that goes away in the middle is none of the sink's business.
                    let _ = serve(stream, &kept, &*answer);
                });
            }
        });
        Self { address, arrived }
    }

    /// Where it listens.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What arrived so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    /// How many arrived so far.
    pub fn count(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }
}

fn serve(stream: TcpStream, kept: &Mutex<Vec<Arrived>>, answer: &Answer) -> std::io::Result<()> {
    stream.set_read_timeout(Some(super::PATIENCE))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut arrived = Arrived { path, headers, body: Vec::new() };
        if let Some(length) = arrived.header("content-length").and_then(|text| text.parse::<u64>().ok()) {
            reader.by_ref().take(length).read_to_end(&mut arrived.body)?;
        } else if arrived.header("transfer-encoding").is_some() {
            read_chunks(&mut reader, &mut arrived.body)?;
        }
        let number = {
            let mut all = kept.lock().unwrap();
            all.push(arrived.clone());
            all.len() - 1
        };
        match answer(number, &arrived) {
            Reply::Status(status, headers) => {
                let head = format!("HTTP/1.1 {status} x\r\n{headers}content-length: 0\r\n\r\n");
                reader.get_mut().write_all(head.as_bytes())?;
            }
            Reply::Hang(time) => {
                std::thread::sleep(time);
                return Ok(());
            }
            Reply::Raw(bytes) => {
                return reader.get_mut().write_all(&bytes);
            }
            Reply::Reset => {
                // Closing without lingering is a reset.
                rustix::net::sockopt::set_socket_linger(reader.get_ref(), Some(Duration::ZERO))?;
                return Ok(());
            }
        }
    }
}

fn read_chunks(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        reader.by_ref().take(length).read_to_end(body)?;
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(());
        }
    }
}
