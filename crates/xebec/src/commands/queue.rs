//! `xebec queue`

mod messages;

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format},
};
use http::Method;
use std::collections::BTreeMap;
use xebec_api_native::wire::{Count, DeadLetterRequest, MessageAnswer, Paused, name_of};
use xebec_core::{
    InvocationId,
    ports::queue::{EntryState, LaneStats},
};

/// See and steer calls that wait to be made
///
/// A message waits, runs, and is gone; or it is a dead letter, which stays until it is redriven or discarded.
#[derive(Debug, clap::Args)]
pub(crate) struct Queue {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// What waits, runs and is dead, a line for each function's share of each queue
    #[command(alias = "list")]
    Ls {
        /// List dead letters instead
        #[arg(long)]
        dead: bool,
        /// List messages instead
        #[arg(long)]
        messages: bool,
        #[command(flatten)]
        filter: messages::Filter,
    },
    /// List messages, oldest first
    Messages {
        /// Only those in this state
        #[arg(long, value_enum)]
        state: Option<messages::State>,
        #[command(flatten)]
        filter: messages::Filter,
    },
    /// Show one message
    Show {
        /// Its id
        id: InvocationId,
        /// Write its body to standard output, and nothing else
        #[arg(long)]
        body: bool,
    },
    /// Totals, a line for each queue
    Stats,
    /// Make dead letters run again
    Redrive {
        #[command(flatten)]
        which: Which,
        /// At most so many a second
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        rate: Option<u32>,
    },
    /// Delete dead letters
    Discard {
        #[command(flatten)]
        which: Which,
    },
    /// Take back messages that wait, stop those that run
    Cancel {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<InvocationId>,
    },
    /// Begin no more messages of a queue or for a function; those that run go on
    Pause {
        #[command(flatten)]
        place: Place,
    },
    /// End a pause
    Resume {
        #[command(flatten)]
        place: Place,
    },
}

/// Which dead letters are meant: those that meet every condition.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// Those with these ids
    #[arg(conflicts_with = "all")]
    ids: Vec<InvocationId>,
    /// Those in this queue
    #[arg(long, conflicts_with = "all")]
    queue: Option<String>,
    /// Those for this function
    #[arg(long, conflicts_with = "all")]
    function: Option<String>,
    /// All there are
    #[arg(long)]
    all: bool,
}

impl Which {
    fn request(self, rate: Option<u32>) -> DeadLetterRequest {
        let ids = (!self.ids.is_empty()).then_some(self.ids);
        DeadLetterRequest { ids, queue: self.queue, function: self.function, all: self.all, rate }
    }
}

/// What is paused.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The queue
    queue: Option<String>,
    /// A function's messages, in all queues
    #[arg(long)]
    function: Option<String>,
}

impl Queue {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        match self.action {
            Action::Ls { dead: true, filter, .. } => {
                messages::list(&client, filter, Some(messages::State::Dead), format).await
            }
            Action::Ls { messages: true, filter, .. } => messages::list(&client, filter, None, format).await,
            Action::Ls { filter, .. } => lanes(&client, &filter, format).await,
            Action::Messages { state, filter } => messages::list(&client, filter, state, format).await,
            Action::Show { id, body: true } => {
                let request = client.request(Method::GET, &format!("messages/{id}/body"));
                let body = client.send(request).await?.bytes().await;
                let broke = |error| Failure::new(format!("the body broke off: {error}"));
                output::bytes(&body.map_err(broke)?)
            }
            Action::Show { id, body: false } => {
                let message: MessageAnswer = client.get(&format!("messages/{id}")).await?;
                output::print(format, &message, || messages::text(&message))
            }
            Action::Stats => stats(&client, format).await,
            Action::Redrive { which, rate } => {
                let count = dead_letters(&client, "redrive", &which.request(rate)).await?;
                output::print(format, &count, || format!("{} run again", messages::letters(count.count)))
            }
            Action::Discard { which } => {
                let count = dead_letters(&client, "discard", &which.request(None)).await?;
                output::print(format, &count, || format!("discarded {}", messages::letters(count.count)))
            }
            Action::Cancel { ids } => cancel(&client, &ids, format).await,
            Action::Pause { place } => steer(&client, &place, "pause").await,
            Action::Resume { place } => steer(&client, &place, "resume").await,
        }
    }
}

async fn dead_letters(client: &Client, verb: &str, request: &DeadLetterRequest) -> Result<Count, Failure> {
    client.exchange(Method::POST, &format!("dead-letters/{verb}"), request).await
}

async fn steer(client: &Client, place: &Place, verb: &str) -> Result<(), Failure> {
    let (kind, name) = match (&place.queue, &place.function) {
        (Some(queue), None) => ("queue", queue),
        (None, Some(function)) => ("function", function),
        // The group makes it exactly one of them.
        _ => return Err(Failure::misuse("name a queue, or a function with --function")),
    };
    client.send(client.request(Method::POST, &format!("{kind}s/{name}/{verb}"))).await?;
    let done = if verb == "pause" { "paused" } else { "resumed" };
    output::line(&match kind {
        "queue" => format!("{done} queue {name}"),
        _ => format!("{done} messages for {name}"),
    })
}

async fn cancel(client: &Client, ids: &[InvocationId], format: Format) -> Result<(), Failure> {
    for id in ids {
        let request = client.request(Method::DELETE, &format!("messages/{id}"));
        let message: MessageAnswer = client.json(request).await?;
        output::print(format, &message, || match message.state {
            EntryState::Waiting { .. } => format!("cancelled {id}"),
            EntryState::Running { .. } => format!("{id} runs; it is told to stop"),
            EntryState::Dead { .. } => format!("discarded {id}"),
        })?;
    }
    Ok(())
}

async fn lanes(client: &Client, filter: &messages::Filter, format: Format) -> Result<(), Failure> {
    let mut lanes: Vec<LaneStats> = client.get("queues").await?;
    lanes.retain(|stats| {
        filter.queue.as_ref().is_none_or(|queue| *queue == *stats.lane.queue)
            && filter.function.as_ref().is_none_or(|name| name == name_of(&stats.lane.target))
    });
    let pauses: Vec<Paused> = client.get("pauses").await?;
    output::print(format, &lanes, || {
        if lanes.is_empty() && pauses.is_empty() {
            return "nothing waits, runs or is dead; `xebec invoke NAME --async` makes a call that waits here"
                .to_owned();
        }
        let mut lines: Vec<String> = pauses.iter().map(paused).collect();
        if lanes.is_empty() {
            return lines.join("\n");
        }
        let row = |stats: &LaneStats| {
            let mut row = vec![stats.lane.queue.to_string(), name_of(&stats.lane.target).to_owned()];
            row.extend(Sum::of(stats).row());
            row
        };
        let header = ["QUEUE", "FOR", "WAITING", "DELAYED", "RUNNING", "DEAD", "OLDEST", ""];
        lines.insert(0, output::table(&header, lanes.iter().map(row).collect()));
        lines.join("\n")
    })
}

fn paused(place: &Paused) -> String {
    match place {
        Paused::Queue(name) => format!("the queue {name} is paused; `xebec queue resume {name}` ends that"),
        Paused::Function(name) => {
            format!("messages of {name} are paused; `xebec queue resume --function {name}` ends that")
        }
    }
}

async fn stats(client: &Client, format: Format) -> Result<(), Failure> {
    let lanes: Vec<LaneStats> = client.get("queues").await?;
    let mut queues: BTreeMap<String, Sum> = BTreeMap::new();
    for lane in &lanes {
        queues.entry(lane.lane.queue.to_string()).or_default().add(&Sum::of(lane));
    }
    output::print(format, &queues, || {
        if queues.is_empty() {
            return "nothing waits, runs or is dead".to_owned();
        }
        let mut total = Sum::default();
        queues.values().for_each(|sum| total.add(sum));
        // The total is nobody's pause.
        total.paused = false;
        let named = queues.iter().map(|(name, sum)| (name.as_str(), sum));
        let rows = named.chain((queues.len() > 1).then_some(("TOTAL", &total))).map(|(name, sum)| {
            let mut row = vec![name.to_owned()];
            row.extend(sum.row());
            row
        });
        let header = ["QUEUE", "WAITING", "DELAYED", "RUNNING", "DEAD", "OLDEST", ""];
        output::table(&header, rows.collect())
    })
}

/// What is in one or several lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Sum {
    pub(crate) waiting: u64,
    pub(crate) delayed: u64,
    pub(crate) running: u64,
    pub(crate) dead: u64,
    /// When the oldest that waits, and is due, was due.
    pub(crate) oldest_due: Option<jiff::Timestamp>,
    /// All of it, or a part, is paused.
    pub(crate) paused: bool,
}

impl Sum {
    pub(crate) fn of(stats: &LaneStats) -> Self {
        let LaneStats { lane: _, waiting, delayed, running, dead, oldest_due, paused } = *stats;
        Self { waiting, delayed, running, dead, oldest_due, paused }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.delayed += other.delayed;
        self.running += other.running;
        self.dead += other.dead;
        self.oldest_due = match (self.oldest_due, other.oldest_due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.paused |= other.paused;
    }

    pub(crate) fn row(&self) -> [String; 6] {
        [
            self.waiting.to_string(),
            self.delayed.to_string(),
            self.running.to_string(),
            self.dead.to_string(),
            self.oldest_due.map(output::age).unwrap_or_default(),
            if self.paused { "paused" } else { "" }.to_owned(),
        ]
    }
}
