//! `xebec invocations`

mod follow;
mod show;

use super::later;
use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format},
};
use futures_util::StreamExt as _;
use http::{Method, header};
use jiff::Timestamp;
use reqwest::RequestBuilder;
use std::{io::Write as _, str::FromStr};
use xebec_api_native::wire::{ReplayAnswer, Span};
use xebec_core::{
    InvocationId,
    record::{InvocationRecord, RecordPage},
};

const EXAMPLES: &str = "\
Examples:
  xebec invocations --function hello --since 1h
  xebec invocations --outcome timeout --limit 200
  xebec invocations -f
  xebec invocations show 0199c2f0-7a3e-7d10-8a5e-3b1f0c9d2e4a
  xebec invocations export --since 7d > week.ndjson
  xebec invocations replay 0199c2f0-7a3e-7d10-8a5e-3b1f0c9d2e4a --wait";

/// The most records that the server sends in a page.
const PAGE: u32 = 1000;

/// See what was called and how it ended; make calls again
///
/// Every call is recorded when it has ended, for a week unless the server is told otherwise. Without a
/// subcommand the newest are listed.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Invocations {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List them, newest first
    #[command(alias = "ls")]
    List(List),
    /// Show one, with what its function printed
    Show {
        /// Its id
        id: InvocationId,
    },
    /// Write all that match to standard output, newest first, as one JSON object a line
    Export {
        #[command(flatten)]
        filter: Filter,
        /// At most so many; left out, all
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Make a call again, with the same request and an id of its own
    ///
    /// It is made without waiting, as with `xebec invoke --async`. Requests are at hand of messages in the
    /// queue, dead letters among them, and of calls whose requests the server was told to keep: keep-requests
    /// in `[records]` of `xebec.toml`.
    Replay {
        /// The id of the call that is made again
        id: InvocationId,
        /// Wait until it is over, and say how it ended
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    filter: Filter,
    /// At most so many [default: 50; with --follow, 10 that were before]
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,
    /// Go on with new ones as they end
    #[arg(short, long, conflicts_with = "until")]
    follow: bool,
}

/// Which invocations are meant: those that meet every condition.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Of this function
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// That ended so: success, application_error, timeout, crash, out_of_memory, failed_init, bad_response,
    /// overloaded, …
    #[arg(long)]
    outcome: Option<String>,
    /// Not before: so long ago as `1h` or `7d`, or a time as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    since: Option<Moment>,
    /// Before that
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,
    /// Of at least this attempt: with 1 all that nobody waited for, with 2 those that were tried again
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
}

/// A point in time.
#[derive(Clone, Copy, Debug)]
struct Moment(Timestamp);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self(time));
        }
        let wrong = |_| {
            format!(
                "{text:?} is neither a length of time such as 1h or 7d nor a time such as 2026-01-31T12:00:00Z"
            )
        };
        let Span(ago) = text.parse().map_err(wrong)?;
        let then = Timestamp::now().checked_sub(ago).map_err(|_| format!("{text:?} is too long ago"))?;
        Ok(Self(then))
    }
}

impl Filter {
    fn request(&self, client: &Client) -> RequestBuilder {
        let time = |moment: &Option<Moment>| moment.map(|Moment(time)| time.to_string());
        let terms = [
            ("function", self.function.clone()),
            ("outcome", self.outcome.clone()),
            ("since", time(&self.since)),
            ("until", time(&self.until)),
            ("attempt", self.attempt.map(|attempt| attempt.to_string())),
        ];
        let terms = terms.into_iter().filter_map(|(name, value)| Some((name, value?)));
        client.request(Method::GET, "invocations").query(&terms.collect::<Vec<_>>())
    }
}

impl Invocations {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        match self.action.unwrap_or(Action::List(self.list)) {
            Action::List(list) if list.follow => {
                let limit = list.limit.unwrap_or(10);
                let request = list.filter.request(&client).query(&[("limit", limit)]);
                follow::follow(&client, request, format).await
            }
            Action::List(list) => self::list(&client, &list, format).await,
            Action::Show { id } => show::show(&client, &id, format).await,
            Action::Export { filter, limit } => export(&client, &filter, limit).await,
            Action::Replay { id, wait } => replay(&client, &id, wait, format).await,
        }
    }
}

async fn list(client: &Client, list: &List, format: Format) -> Result<(), Failure> {
    let limit = list.limit.unwrap_or(50);
    let mut records: Vec<InvocationRecord> = Vec::new();
    let mut cursor: Option<String> = None;
    let more = loop {
        let left = limit.saturating_sub(u32::try_from(records.len()).unwrap_or(u32::MAX));
        if left == 0 {
            break cursor.is_some();
        }
        let mut request = list.filter.request(client).query(&[("limit", left.min(PAGE))]);
        if let Some(cursor) = &cursor {
            request = request.query(&[("cursor", cursor)]);
        }
        let page: RecordPage = client.json(request).await?;
        records.extend(page.records);
        cursor = page.cursor;
        if cursor.is_none() {
            break false;
        }
    };
    output::print(format, &records, || match records.is_empty() {
        true => "no invocations match".to_owned(),
        false => output::table(&HEADER, records.iter().map(row).collect()),
    })?;
    if more && format == Format::Text {
        eprintln!("there are more; --limit shows further ones");
    }
    Ok(())
}

const HEADER: [&str; 9] =
    ["AGE", "FUNCTION", "OUTCOME", "STATUS", "WAITED", "TOOK", "START", "ATTEMPT", "ID"];

fn row(record: &InvocationRecord) -> Vec<String> {
    let columns = follow::columns(record);
    [output::age(record.received)].into_iter().chain(columns).chain([record.id.to_string()]).collect()
}

/// Passes on what the server streams. An answer that breaks off is a failure: nobody shall take a part for all.
async fn export(client: &Client, filter: &Filter, limit: Option<u32>) -> Result<(), Failure> {
    let mut request = filter.request(client).header(header::ACCEPT, "application/x-ndjson");
    if let Some(limit) = limit {
        request = request.query(&[("limit", limit)]);
    }
    let mut chunks = client.send(request).await?.bytes_stream();
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut lines = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            Failure::new(format!("the export broke off after {lines} invocations: {error}"))
        })?;
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        out.write_all(&chunk).map_err(output::unwritable)?;
    }
    out.flush().map_err(output::unwritable)?;
    eprintln!("{lines} invocations exported");
    Ok(())
}

async fn replay(client: &Client, id: &InvocationId, wait: bool, format: Format) -> Result<(), Failure> {
    let request = client.request(Method::POST, &format!("invocations/{id}/replay"));
    let replay: ReplayAnswer = client.json(request).await?;
    if wait {
        return later::wait(client, replay.id, format).await;
    }
    output::print(format, &replay, || replay.id.to_string())?;
    if format == Format::Text {
        eprintln!("xebec invocations show {} tells how it ended, once it has", replay.id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_so_long_ago() {
        let at = |text: &str| text.parse::<Moment>().map(|Moment(time)| time);
        assert_eq!(at("2026-01-31T12:00:00Z").unwrap().to_string(), "2026-01-31T12:00:00Z");
        let then = at("1d").unwrap();
        let day = Timestamp::now().duration_since(then).as_secs();
        assert!((86_400..86_410).contains(&day), "{day}");
        assert!(at("yesterday").unwrap_err().contains("1h"));
    }
}
