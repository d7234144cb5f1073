//! The access log.

use crate::support::{ask, options, start, until};
use std::{
    io::Write,
    sync::{Arc, Mutex},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Lines in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Everything in these tests runs on one thread, so a subscriber of this thread hears it.
fn listen(filter: &str) -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(lines.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn one_line_per_request_where_it_is_wanted() {
    let (lines, _subscriber) = listen("xebec::access=debug");
    let (server, _guard) = start(options()).await;
    ask(server.address, "GET /toy/exact?token=secret", &[("authorization", "Bearer hidden")]).await;
    ask(server.address, "GET /nowhere", &[]).await;
    until("both lines are there", || lines.text().lines().count() == 2).await;
    let text = lines.text();
    let line: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields = &line[0]["fields"];
    assert_eq!(line[0]["target"], "xebec::access");
    assert_eq!((&fields["method"], &fields["path"]), (&"GET".into(), &"/toy/exact".into()));
    assert_eq!(
        (&fields["door"], &fields["status"], &fields["bytes"]),
        (&"toy".into(), &200.into(), &5.into())
    );
    assert!(
        fields["micros"].as_u64().is_some() && fields["peer"].as_str().unwrap().starts_with("127.0.0.1:")
    );
    assert_eq!((&line[1]["fields"]["door"], &line[1]["fields"]["status"]), (&"gateway".into(), &404.into()));
    assert!(!text.contains("secret") && !text.contains("hidden"), "{text}");
}

#[tokio::test]
async fn a_client_that_went_away_has_a_line_without_a_status() {
    let (lines, _subscriber) = listen("xebec::access=debug");
    let (server, _guard) = start(options()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /toy/gate HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until("it is at the gate", || server.toy.waiting.load(std::sync::atomic::Ordering::Relaxed) == 1).await;
    drop(stream);
    until("its line is there", || lines.text().lines().count() == 1).await;
    let line: serde_json::Value = serde_json::from_str(&lines.text()).unwrap();
    assert_eq!(line["fields"]["path"], "/toy/gate");
    assert!(line["fields"].get("status").is_none(), "{line}");
}

#[tokio::test]
async fn no_line_where_nobody_listens() {
    let (lines, _subscriber) = listen("info");
    let (server, _guard) = start(options()).await;
    ask(server.address, "GET /toy/exact", &[]).await;
    assert_eq!(lines.text(), "");
}
