//! What runs inside the containers of the tests: a small web server that does as it is told.

mod action;

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, ToSocketAddrs as _},
    thread,
    time::{Duration, Instant},
};

fn main() {
    match env::args().nth(1).as_deref() {
        Some("fail") => {
            println!("reading the settings");
            eprintln!("there are none: giving up");
            std::process::exit(3);
        }
        Some("silent") => loop {
            thread::sleep(Duration::from_secs(60));
        },
        _ => serve(),
    }
}

fn serve() {
    if env::var("GUEST_TERM").as_deref() != Ok("ignore") {
        thread::spawn(end_when_told);
    }
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    if let Ok(wait) = env::var("GUEST_WAIT_MS") {
        thread::sleep(Duration::from_millis(wait.parse().unwrap_or(0)));
    }
    let listener = match TcpListener::bind(format!("0.0.0.0:{port}")) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {port}: {error}");
            std::process::exit(1);
        }
    };
    println!("serving on {port}");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer_all(stream));
    }
}

/// A first process has no default handlers: without this, SIGTERM would do nothing.
fn end_when_told() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        if let Ok(mut told) = tokio::signal::unix::signal(kind) {
            told.recv().await;
            println!("told to stop");
            std::process::exit(0);
        }
    });
}

fn answer_all(mut stream: TcpStream) {
    while let Some((path, body)) = read_request(&mut stream) {
        let (status, answer) = answer(&path, body);
        let mut whole =
            format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n", answer.len()).into_bytes();
        whole.extend(answer);
        if stream.write_all(&whole).is_err() {
            return;
        }
    }
}

/// A request's path and body. Enough for clients that say how long their body is.
fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 || head.len() > 64 << 10 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let path = head.split(' ').nth(1)?.to_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((path, body))
}

fn answer(path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let (what, rest) = path[1..].split_once('/').unwrap_or_else(|| (&path[1..], ""));
    let said = |result: std::io::Result<Vec<u8>>| match result {
        Ok(bytes) => (200, bytes),
        Err(error) => (500, error.to_string().into_bytes()),
    };
    match what {
        "" => (200, body),
        "init" => action::init(&body),
        "run" => action::run(&body),
        // Variables are named by the body, since paths are read in lower case here.
        "env" => match env::var(String::from_utf8_lossy(&body).as_ref()) {
            Ok(value) => (200, value.into_bytes()),
            Err(_) => (404, Vec::new()),
        },
        "file" => said(fs::read(format!("/{rest}"))),
        "write" => said(fs::write(format!("/{rest}"), body).map(|()| b"written".to_vec())),
        "exit" => std::process::exit(rest.parse().unwrap_or(1)),
        "memory" => use_memory(rest.parse().unwrap_or(0)),
        "print" => {
            println!("{rest}");
            eprintln!("{rest} as an error");
            (200, Vec::new())
        }
        "slow" => {
            thread::sleep(Duration::from_millis(rest.parse().unwrap_or(0)));
            (200, b"late".to_vec())
        }
        "threads" => (200, threads(rest.parse().unwrap_or(0)).to_string().into_bytes()),
        "spin" => (200, spin(Duration::from_millis(rest.parse().unwrap_or(0))).to_string().into_bytes()),
        "dial" => said(dial(rest).map(|()| b"connected".to_vec())),
        _ => (404, Vec::new()),
    }
}

/// Takes so many MiB and says when it has them.
fn use_memory(mebibytes: usize) -> (u16, Vec<u8>) {
    let mut held = Vec::new();
    for _ in 0..mebibytes {
        held.push(vec![1_u8; 1 << 20]);
    }
    (200, held.len().to_string().into_bytes())
}

/// How many of so many threads could be started.
fn threads(wanted: usize) -> usize {
    let mut started = Vec::new();
    for _ in 0..wanted {
        match thread::Builder::new().spawn(|| thread::sleep(Duration::from_millis(500))) {
            Ok(one) => started.push(one),
            Err(_) => break,
        }
    }
    started.len()
}

/// How many milliseconds it was not held back, of so much time on the processor.
fn spin(time: Duration) -> u128 {
    let began = Instant::now();
    let (mut last, mut held_back) = (began, Duration::ZERO);
    while last - began < time {
        let now = Instant::now();
        // Whoever is held back sees time jump.
        if now - last > Duration::from_millis(5) {
            held_back += now - last;
        }
        last = now;
    }
    time.saturating_sub(held_back).as_millis()
}

fn dial(place: &str) -> std::io::Result<()> {
    let (host, port) = place.split_once('/').unwrap_or((place, "80"));
    let address = format!("{host}:{port}").to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    TcpStream::connect_timeout(&address, Duration::from_millis(500)).map(drop)
}
