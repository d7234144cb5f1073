//! The server of the tests in the mode `http`: it does as its paths tell it. It ends with its standard input, so
//! that nothing of it stays when its watchdog was killed.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Held calls end with it.
static RELEASED: AtomicBool = AtomicBool::new(false);
static READY: AtomicBool = AtomicBool::new(false);

fn main() {
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut words = env::args().skip(1);
    let address = words.next().unwrap_or_default();
    if words.next().as_deref() == Some("late") {
        thread::sleep(Duration::from_millis(700));
    }
    thread::spawn(hear_signals);
    let listener = match TcpListener::bind(&address) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {address}: {error}");
            std::process::exit(9);
        }
    };
    println!("the guest serves");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || while answer(&stream).is_some() {});
    }
}

fn hear_signals() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut hang_up), Ok(mut terminate)) =
            (signal(SignalKind::hangup()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = hang_up.recv() => eprintln!("the guest was hung up"),
                _ = terminate.recv() => {
                    println!("the guest was told to stop");
                    std::process::exit(0);
                }
            }
        }
    });
}

/// Answers one request; `None` at the end of the connection.
fn answer(mut stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if head[before..].trim().is_empty() {
            break;
        }
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let body = match header("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            body
        }
        None if header("transfer-encoding").is_some() => chunks(&mut reader)?,
        None => Vec::new(),
    };
    let (what, rest) = path[1..].split_once('/').unwrap_or_else(|| (&path[1..], ""));
    match what {
        "status" => whole(stream, rest, &[], format!("status {rest}").as_bytes()),
        "head" => whole(stream, "200", &[], head.as_bytes()),
        "headers" => whole(
            stream,
            "203",
            &[
                "X-One: 1",
                "X-One: 2",
                "Content-Type: text/csv",
                "Set-Cookie: a=b",
                "Connection: X-Gone",
                "X-Gone: 1",
            ],
            b"a,b",
        ),
        "redirect" => whole(stream, "302", &["Location: http://127.0.0.1:1/nowhere"], b""),
        "hold" => {
            wait_for_release();
            whole(stream, "200", &[], b"released")
        }
        "release" => {
            RELEASED.store(true, Ordering::SeqCst);
            whole(stream, "200", &[], b"")
        }
        "stream" => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
                .ok()?;
            wait_for_release();
            stream.write_all(b"5\r\nlast\n\r\n0\r\n\r\n").ok()
        }
        "torn" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").ok()?;
            None
        }
        "nonsense" => {
            stream.write_all(b"this is no HTTP\r\n\r\n").ok()?;
            None
        }
        "exit" => {
            eprintln!("the guest gives up");
            std::process::exit(rest.parse().unwrap_or(1));
        }
        "ready" => whole(stream, if READY.load(Ordering::SeqCst) { "200" } else { "503" }, &[], b"asked"),
        "become-ready" => {
            READY.store(true, Ordering::SeqCst);
            whole(stream, "200", &[], b"")
        }
        "upgrade" => {
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ")
                .ok()?;
            let mut said = [0; 4];
            reader.read_exact(&mut said).ok()?;
            stream.write_all(&said).ok()?;
            None
        }
        "print" => {
            println!("{rest} is printed");
            eprintln!("{rest} is an error");
            whole(stream, "200", &[], b"")
        }
        "long-line" => {
            println!("{}", "x".repeat(rest.parse().unwrap_or(0)));
            println!("after the long line");
            whole(stream, "200", &[], b"")
        }
        _ => whole(stream, "200", &["Content-Type: application/octet-stream"], &body),
    }
}

fn chunks(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

fn whole(mut stream: &TcpStream, status: &str, headers: &[&str], body: &[u8]) -> Option<()> {
    let mut answer = format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\n", body.len());
    for header in headers {
        answer.push_str(header);
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    answer.extend_from_slice(body);
    stream.write_all(&answer).ok()
}

fn wait_for_release() {
    while !RELEASED.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(5));
    }
}
