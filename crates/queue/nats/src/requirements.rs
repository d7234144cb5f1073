//! What the queue needs of its server, checked each time it connects: its version, that it syncs what it
//! acknowledges, the stream.

use crate::{errors, options::NatsOptions};
use async_nats::{
    Client,
    jetstream::{
        self,
        context::CreateStreamErrorKind,
        stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
    },
};
use serde::Deserialize;
use std::time::Duration;
use xebec_core::{Error, ErrorKind};

/// The first server with atomic batches.
const OLDEST: (i64, i64, i64) = (2, 12, 0);

/// How long the monitoring endpoint may take.
const ASKING: Duration = Duration::from_secs(3);

/// What is known of a server that was found fit.
pub(crate) struct Fit {
    pub(crate) stream: Stream<()>,
    /// The most it stores, in bytes, as far as it says so.
    pub(crate) most: Option<u64>,
}

/// Makes sure that the server can be relied upon, and that the stream is there.
pub(crate) async fn meet(
    client: &Client,
    context: &jetstream::Context,
    options: &NatsOptions,
) -> Result<Fit, Error> {
    let info = client.server_info();
    if !client.is_server_compatible(OLDEST.0, OLDEST.1, OLDEST.2) {
        let message = format!("the NATS server is version {}; the queue needs 2.12 or newer", info.version);
        return Err(Error::new(ErrorKind::Refused, "XB6042", message).with_hint("upgrade nats-server"));
    }
    if !info.jetstream {
        let message = "the NATS server runs without JetStream";
        return Err(Error::new(ErrorKind::Refused, "XB6042", message).with_hint(
            "write into its configuration: `jetstream { store_dir: \"…\", sync_interval: always }`",
        ));
    }
    let most = if options.accept_unsynced { None } else { synced(options).await? };
    let config = config(options);
    context.create_or_update_stream(config).await.map_err(|e| match e.kind() {
        CreateStreamErrorKind::JetStream(error) => errors::api(error.error_code().0, &error.to_string()),
        CreateStreamErrorKind::TimedOut => errors::unanswered(options.answer),
        _ => errors::away(e),
    })?;
    let stream = context.get_stream_no_info(options.stream()).await.map_err(errors::away)?;
    Ok(Fit { stream, most })
}

fn config(options: &NatsOptions) -> Config {
    Config {
        name: options.stream(),
        description: Some("Messages of Xebec: what waits, runs and is dead".to_owned()),
        subjects: vec![format!("{}.q.>", options.prefix)],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        max_messages: i64::try_from(options.max_records).unwrap_or(i64::MAX),
        num_replicas: options.replicas,
        allow_direct: true,
        allow_message_ttl: true,
        allow_atomic_publish: true,
        ..Config::default()
    }
}

#[derive(Deserialize)]
struct Jsz {
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    config: JszConfig,
}

#[derive(Default, Deserialize)]
struct JszConfig {
    #[serde(default)]
    sync_always: bool,
    /// Nanoseconds.
    #[serde(default)]
    sync_interval: u64,
    /// Bytes.
    #[serde(default)]
    max_storage: u64,
}

/// Asks every server whether it syncs before it acknowledges; returns the most that each of them stores. Of a
/// cluster, a minority may be away: then it stores nothing, either.
async fn synced(options: &NatsOptions) -> Result<Option<u64>, Error> {
    let places = places(options);
    let mut most: Option<u64> = None;
    let mut unasked = Vec::new();
    for place in &places {
        let config = match ask::<Jsz>(place, "jsz?config=1").await {
            Ok(jsz) if jsz.disabled => JszConfig::default(),
            Ok(jsz) => jsz.config,
            Err(why) => {
                unasked.push(format!("{place}/jsz: {why}"));
                continue;
            }
        };
        if !config.sync_always {
            return Err(unsynced(place, Duration::from_nanos(config.sync_interval)));
        }
        if config.max_storage > 0 {
            most = Some(most.map_or(config.max_storage, |most| most.min(config.max_storage)));
        }
    }
    if unasked.len() * 2 >= places.len() {
        let message = format!(
            "whether the NATS server syncs what it acknowledges cannot be checked at {}",
            unasked.join(", nor at ")
        );
        return Err(Error::new(ErrorKind::Refused, "XB6041", message).with_hint(
            "enable its monitoring (`http: \"127.0.0.1:8222\"`) and give Xebec its URL, \
             or accept that power loss may lose messages (`accept_unsynced`)",
        ));
    }
    if !unasked.is_empty() {
        tracing::warn!(servers = unasked.join(", "), "some of the queue's servers could not be checked");
    }
    Ok(most)
}

fn unsynced(place: &str, every: Duration) -> Error {
    let message = format!(
        "the NATS server at {place} acknowledges messages before they are on its disk \
         (it syncs every {every:?}): power loss would lose them"
    );
    Error::new(ErrorKind::Refused, "XB6040", message).with_hint(
        "write `sync_interval: always` into the `jetstream { … }` block of its configuration and \
         restart it, or accept the loss (`accept_unsynced`)",
    )
}

#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    error: String,
}

/// What ails the servers, or most of them, by their own words: one that cannot write keeps silent to who
/// publishes.
pub(crate) async fn complaint(options: &NatsOptions) -> Option<Error> {
    let places = places(options);
    let mut complaints = Vec::new();
    for place in &places {
        match ask(place, "healthz").await {
            Ok(Health { error }) if !error.is_empty() => complaints.push(error),
            _ => {}
        }
    }
    if complaints.len() * 2 <= places.len() {
        return None;
    }
    let said = complaints.join("; ");
    let full = ["no space", "quota", "disk full"].iter().any(|words| said.contains(words));
    let (code, hint) = if full {
        ("XB4002", "free space on the disk of the NATS server, then restart it")
    } else {
        ("XB4003", "see the log of the NATS server; it may have to be restarted")
    };
    let message = format!("the queue's server is not well: {said}");
    Some(Error::new(ErrorKind::Unavailable, code, message).with_hint(hint))
}

/// The monitoring endpoints: those given, else port 8222 of every server.
fn places(options: &NatsOptions) -> Vec<String> {
    if !options.monitoring.is_empty() {
        return options.monitoring.iter().map(|place| place.trim_end_matches('/').to_owned()).collect();
    }
    let urls = options.urls.iter();
    urls.map(|url| {
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host).trim_end_matches('/');
        let host = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => host,
        };
        format!("http://{host}:8222")
    })
    .collect()
}

async fn ask<T: serde::de::DeserializeOwned>(place: &str, path: &str) -> Result<T, String> {
    let client = reqwest::Client::builder().timeout(ASKING).no_proxy().build().map_err(|e| e.to_string())?;
    let answer = client.get(format!("{place}/{path}")).send().await.map_err(|e| cause(&e))?;
    // What is unwell says so with another status, and why in its body.
    answer.json().await.map_err(|e| cause(&e))
}

/// What is at the bottom of an error.
fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitoring_is_beside_the_server_unless_given() {
        let mut options = NatsOptions::new("nats://user:secret@queue.example:4222");
        options.urls.push("10.0.0.1".to_owned());
        options.urls.push("tls://[::1]:4222".to_owned());
        let expected = ["http://queue.example:8222", "http://10.0.0.1:8222", "http://[::1]:8222"];
        assert_eq!(places(&options), expected);
        options.monitoring = vec!["http://monitor:1/".to_owned()];
        assert_eq!(places(&options), ["http://monitor:1"]);
    }
}
