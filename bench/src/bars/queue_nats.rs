//! The queue on NATS JetStream, beside a bare client on the same server.

use super::{Context, queue::Measured, row::Row, row::micros, server::Server};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Publishes in flight at a time.
const IN_FLIGHT: usize = 64;
/// The share of a bare client's rate, at least.
const BAR: f64 = 0.8;

pub(super) async fn measure(context: &Context) -> Result<Vec<Row>, String> {
    let program = context.nats_server.as_deref().ok_or("name a nats-server with --nats-server")?;
    let nats = Nats::start(program)?;
    let before = bare(&nats.url, context.measure / 2).await?;
    let server = Server::start(&context.xebec, &nats.config())?;
    let measured = Measured::of(&server, context).await?;
    let after = bare(&nats.url, context.measure / 2).await?;
    let bare = f64::midpoint(before, after);
    let share = measured.accepted / bare;
    Ok(vec![
        Row::new("queue on NATS, synced always: calls accepted, 64 clients")
            .measured(format!("{:.0}/s (p50 {})", measured.accepted, micros(measured.accepting)))
            .baseline(format!("bare client, {IN_FLIGHT} in flight: {bare:.0}/s"))
            .bar(format!("≥ {:.0} % of it; it is {:.0} %", BAR * 100.0, share * 100.0), share >= BAR),
        measured.start_row("queue on NATS"),
        measured.drain_row("queue on NATS"),
    ])
}

/// What a bare client publishes a second, each acknowledged by the server.
async fn bare(url: &str, measure: Duration) -> Result<f64, String> {
    let fault = |error: &dyn std::fmt::Display| format!("the bare client failed: {error}");
    let client = async_nats::connect(url).await.map_err(|error| fault(&error))?;
    let jetstream = async_nats::jetstream::new(client);
    let config = async_nats::jetstream::stream::Config {
        name: "BARE".to_owned(),
        subjects: vec!["bare".to_owned()],
        ..Default::default()
    };
    jetstream.create_stream(config).await.map_err(|error| fault(&error))?;
    let body = bytes::Bytes::from_static(&[7; 512]);
    let publish = || {
        let (jetstream, body) = (jetstream.clone(), body.clone());
        async move {
            let sent = jetstream.publish("bare", body).await.map_err(|error| error.to_string())?;
            sent.await.map_err(|error| error.to_string())
        }
    };
    let mut flying: FuturesUnordered<_> = (0..IN_FLIGHT).map(|_| publish()).collect();
    let began = Instant::now();
    let mut count = 0u64;
    while began.elapsed() < measure {
        match flying.next().await {
            Some(Ok(_)) => count += 1,
            Some(Err(error)) => return Err(fault(&error)),
            None => break,
        }
        flying.push(publish());
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    while flying.next().await.is_some() {}
    jetstream.delete_stream("BARE").await.map_err(|error| fault(&error))?;
    Ok(rate)
}

/// A server that syncs always, in a directory of its own. Killed when dropped.
struct Nats {
    child: Child,
    url: String,
    monitoring: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nats {
    fn start(program: &Path) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let folder = tempfile::Builder::new().prefix("xebec-bars-nats-").tempdir().map_err(text)?;
        let free = || -> Result<SocketAddr, String> {
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(text)
        };
        let (clients, monitoring) = (free()?, free()?);
        let config = format!(
            "listen: \"{clients}\"\nhttp: \"{monitoring}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n",
            folder.path().join("store")
        );
        let file = folder.path().join("nats.conf");
        std::fs::write(&file, config).map_err(text)?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let server = Self { child, url: format!("nats://{clients}"), monitoring, _folder: folder };
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(clients).is_err() {
            if Instant::now() > until {
                return Err("the nats-server does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// What `xebec.toml` says for it.
    fn config(&self) -> String {
        format!("queue = \"{}\"\n[nats]\nmonitoring = [\"http://{}\"]\n", self.url, self.monitoring)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
