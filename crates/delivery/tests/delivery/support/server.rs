//! HTTP servers on loopback that behave badly on demand.

use bytes::Bytes;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a server does with a request.
pub enum Reply {
    /// Answers with this.
    Bytes(String),
    /// Answers with this, byte by byte.
    Slowly(String, Duration),
    /// Says nothing, and holds the connection.
    Hang,
    /// Ends the connection with a reset.
    Reset,
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub line: String,
    pub head: String,
    pub body: Bytes,
}

impl Heard {
    pub fn header(&self, name: &str) -> &str {
        let wanted = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(wanted.as_str())).unwrap_or_default()
    }
}

pub struct Server {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

/// An answer without a body.
pub fn status(code: u16, more: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {code} x\r\ncontent-length: 0\r\n{more}\r\n"))
}

impl Server {
    /// A server that does what `reply` says with its n-th request, counted from 0.
    pub async fn new(reply: impl Fn(usize, &Heard) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let reply = Arc::new(reply);
        let all = heard.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let (reply, all) = (reply.clone(), all.clone());
                connections.spawn(async move { serve(connection, &*reply, &all).await });
            }
        });
        Self { address, heard, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut connection: TcpStream,
    reply: &(dyn Fn(usize, &Heard) -> Reply + Send + Sync),
    all: &Mutex<Vec<Heard>>,
) {
    let mut read = Vec::new();
    loop {
        let Some(heard) = request(&mut connection, &mut read).await else { return };
        let reply = {
            let mut all = all.lock().unwrap();
            all.push(heard.clone());
            reply(all.len() - 1, &heard)
        };
        match reply {
            Reply::Bytes(text) => {
                if connection.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Slowly(text, pause) => {
                for byte in text.as_bytes() {
                    if connection.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
            Reply::Hang => std::future::pending().await,
            Reply::Reset => {
                connection.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

async fn request(connection: &mut TcpStream, read: &mut Vec<u8>) -> Option<Heard> {
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(connection, read).await?;
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let mut heard = Heard { line: head.lines().next()?.to_owned(), head, body: Bytes::new() };
    let length: usize = heard.header("content-length").parse().unwrap_or(0);
    while read.len() < end + length {
        more(connection, read).await?;
    }
    heard.body = Bytes::copy_from_slice(&read[end..end + length]);
    read.drain(..end + length);
    Some(heard)
}

async fn more(connection: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    let count = connection.read_buf(read).await.ok()?;
    (count > 0).then_some(())
}
