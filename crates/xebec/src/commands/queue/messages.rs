//! Messages: listed, and shown one by one.

use crate::{
    client::Client,
    failure::Failure,
    output::{self, Format},
};
use http::Method;
use std::fmt::Write as _;
use xebec_api_native::wire::{MessageAnswer, MessageList};
use xebec_core::{message::Source, ports::queue::EntryState};

/// Messages in one answer of the server at most.
const PAGE: u32 = 1000;

/// Characters of a reason in a list.
const REASON: usize = 60;

/// Which messages or lanes to list.
#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only those in this queue
    #[arg(long)]
    pub(super) queue: Option<String>,
    /// Only those for this function
    #[arg(long)]
    pub(super) function: Option<String>,
    /// Messages at most
    #[arg(long, default_value_t = 50, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum State {
    /// Until it is due and its turn has come
    Waiting,
    /// Someone runs it
    Running,
    /// It does not run again by itself
    Dead,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Dead => "dead",
        }
    }
}

/// Lists messages, page by page up to the limit.
pub(super) async fn list(
    client: &Client,
    filter: Filter,
    state: Option<State>,
    format: Format,
) -> Result<(), Failure> {
    let mut found: Vec<MessageAnswer> = Vec::new();
    let mut cursor: Option<String> = None;
    let more = loop {
        let left = filter.limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let mut request = client.request(Method::GET, "messages").query(&[("limit", left.clamp(1, PAGE))]);
        let wanted = [
            ("queue", filter.queue.as_deref()),
            ("function", filter.function.as_deref()),
            ("state", state.map(State::name)),
            ("cursor", cursor.as_deref()),
        ];
        for (name, value) in wanted {
            request = request.query(&value.map(|value| (name, value)).as_slice());
        }
        let page: MessageList = client.json(request).await?;
        found.extend(page.messages);
        cursor = page.cursor;
        if cursor.is_none() || found.len() >= filter.limit as usize {
            break cursor.is_some();
        }
    };
    found.truncate(filter.limit as usize);
    output::print(format, &found, || {
        if found.is_empty() {
            return match state {
                None => "no messages".to_owned(),
                Some(State::Dead) => "no dead letters".to_owned(),
                Some(state) => format!("no messages are {}", state.name()),
            };
        }
        let row = |message: &MessageAnswer| {
            vec![
                message.id.to_string(),
                message.queue.to_string(),
                message.to().to_owned(),
                standing(&message.state),
                message.history.failures.to_string(),
                output::age(message.accepted),
                shortened(message.why.as_deref().unwrap_or_default()),
            ]
        };
        let header = ["ID", "QUEUE", "FOR", "STATE", "FAILED", "AGE", "WHY"];
        output::table(&header, found.iter().map(row).collect())
    })?;
    if more && format == Format::Text {
        eprintln!("there are more; --limit shows more than {}", filter.limit);
    }
    Ok(())
}

fn standing(state: &EntryState) -> String {
    match state {
        EntryState::Waiting { due } if *due > jiff::Timestamp::now() => format!("due {}", output::away(*due)),
        EntryState::Waiting { .. } => "waiting".to_owned(),
        EntryState::Running { cancelled: true, .. } => "stopping".to_owned(),
        EntryState::Running { .. } => "running".to_owned(),
        EntryState::Dead { death, .. } => format!("dead: {death}"),
    }
}

/// The first line, as far as a table has room for it.
fn shortened(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    match line.char_indices().nth(REASON) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// `1 dead letter`, `2 dead letters`.
pub(super) fn letters(count: u64) -> String {
    format!("{count} dead letter{}", if count == 1 { "" } else { "s" })
}

/// One message, for people.
pub(super) fn text(message: &MessageAnswer) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:<13}{value}", format!("{name}:"));
    };
    field("Id", message.id.to_string());
    field("State", state(&message.state));
    if let Some(why) = &message.why {
        field("Why", why.clone());
    }
    field("For", message.to().to_owned());
    field("Queue", format!("{}, priority {}", message.queue, message.priority));
    field("Accepted", output::moment(message.accepted));
    if let Some(expires) = message.expires {
        field("Expires", output::moment(expires));
    }
    let history = &message.history;
    field(
        "So far",
        format!(
            "{} failed, {} refused, {} interrupted",
            history.failures, history.refusals, history.interruptions
        ),
    );
    if let Some(attempts) = message.attempts {
        field("Attempts", format!("{attempts} at most"));
    }
    if let Some(guarantee) = message.guarantee {
        field("Guarantee", format!("{guarantee:?}"));
    }
    if let Some(key) = &message.key {
        field("Key", key.to_string());
    }
    if let Some(key) = &message.idempotency_key {
        field("Idempotency", key.to_string());
    }
    match &message.source {
        Source::Call => {}
        Source::Schedule(name) => field("From", format!("schedule {name}")),
        Source::Result(id) => field("From", format!("the result of {id}")),
        Source::Replay(id) => field("From", format!("a replay of {id}")),
    }
    for receiver in &message.on_success {
        field("On success", receiver.clone());
    }
    for receiver in &message.on_failure {
        field("On failure", receiver.clone());
    }
    field("Request", format!("{} {}", message.method, message.uri));
    for (name, value) in &message.headers {
        field("Header", format!("{name}: {value}"));
    }
    field("Body", format!("{} bytes", message.body_bytes));
    if let Some(preview) = message.body.as_ref().filter(|_| message.body_bytes > 0) {
        match (&preview.text, &preview.base64) {
            (Some(text), _) => {
                let _ = write!(out, "\n{text}");
            }
            (None, _) => out.push_str("\n(not text)"),
        }
        if preview.more {
            let _ = write!(out, "\n… xebec queue show {} --body writes all of it", message.id);
        }
    }
    out.trim_end().to_owned()
}

fn state(state: &EntryState) -> String {
    match state {
        EntryState::Waiting { due } => format!("waiting, due {}", output::moment(*due)),
        EntryState::Running { until, cancelled } => {
            let stopping = if *cancelled { ", told to stop" } else { "" };
            format!("running{stopping}; its lease ends {}", output::away(*until))
        }
        EntryState::Dead { since, death } => format!("dead ({death}) since {}", output::moment(*since)),
    }
}
