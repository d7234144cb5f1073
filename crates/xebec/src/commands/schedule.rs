//! `xebec schedule`

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format},
};
use http::{Method, header};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::{collections::BTreeMap, fmt::Write as _};
use xebec_api_native::wire::{ManifestSchedule, ScheduleRequest, Span};
use xebec_core::{
    message::Receipt,
    schedule::{Firing, Missed, ScheduleView, ScheduledCall, When},
};

/// Have functions called at certain times
///
/// Schedules of a function's own manifest (`[[schedule]]`) are listed here, too, as FUNCTION.NAME; deploying the
/// function changes them.
#[derive(Debug, clap::Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List schedules, with their next and last times
    #[command(alias = "list")]
    Ls,
    /// Make a schedule
    Create(Box<Create>),
    /// Show one schedule
    Show {
        /// Which
        name: String,
    },
    /// Delete schedules
    #[command(alias = "remove")]
    Rm {
        /// Which
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Stop schedules from firing
    Pause {
        /// Which
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Let schedules fire again; what passed meanwhile is not made up for
    Resume {
        /// Which
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Fire a schedule now, beside its times
    Fire {
        /// Which
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Its name
    name: String,
    /// The function that it calls
    #[arg(long)]
    function: String,
    #[command(flatten)]
    times: Times,
    /// The time zone of --cron, e.g. `Europe/Berlin`; left out: UTC
    #[arg(long, requires = "cron")]
    zone: Option<String>,
    /// Not before this moment, written as for --at
    #[arg(long, value_name = "TIME", value_parser = moment)]
    not_before: Option<Timestamp>,
    /// Not after this moment, written as for --at
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// So many times at most
    #[arg(long = "times", value_name = "NUMBER")]
    most: Option<u64>,
    /// What becomes of times that passed while no server ran
    #[arg(long, value_enum, default_value_t = MissedName::Once)]
    missed: MissedName,
    /// The body; `@file` reads it from a file
    #[arg(short = 'd', long = "body", alias = "data", default_value = "", hide_default_value = true)]
    body: String,
    /// The method
    #[arg(short = 'X', long, default_value = "POST")]
    method: Method,
    /// The path below the function, with its query
    #[arg(short, long, default_value = "/")]
    path: String,
    /// A header, `Name: value`; may be given several times
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Make it, but do not let it fire yet
    #[arg(long)]
    paused: bool,
    /// Change it if there is one of that name
    #[arg(long)]
    replace: bool,
}

/// When it fires.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Times {
    /// A cron expression: five fields, six with seconds first, or e.g. `@daily`
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// A steady interval, e.g. `5m`
    #[arg(long, value_name = "SPAN")]
    every: Option<String>,
    /// Once: `2026-12-24T18:00:00+01:00`, `2026-12-24 18:00` (local time), or `+10m` from now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum MissedName {
    /// They are gone
    Skip,
    /// It fires once for all of them
    Once,
    /// It fires for each, up to a hundred of the latest
    All,
}

/// A moment as people write it: with an offset, in local time, or from now.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Some(span) = text.strip_prefix('+') {
        let then = Timestamp::now().checked_add(span.parse::<Span>()?.0);
        let whole = then.and_then(|then| then.round(jiff::Unit::Second));
        return whole.map_err(|_| format!("{text:?} is too far away"));
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let local = text.parse::<DateTime>().ok().and_then(|local| local.to_zoned(TimeZone::system()).ok());
    local.map(|local| local.timestamp()).ok_or_else(|| {
        "write 2026-12-24T18:00:00+01:00, \"2026-12-24 18:00\" in local time, or +10m from now".to_owned()
    })
}

impl Schedule {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        match self.action {
            Action::Ls => {
                let schedules: Vec<ScheduleView> = client.get("schedules").await?;
                output::print(format, &schedules, || list(&schedules))
            }
            Action::Create(create) => create.run(&client, format).await,
            Action::Show { name } => {
                let view: ScheduleView = client.get(&format!("schedules/{name}")).await?;
                output::print(format, &view, || text(&view))
            }
            Action::Rm { names } => {
                for name in names {
                    client.delete(&format!("schedules/{name}")).await?;
                    output::line(&format!("deleted {name}"))?;
                }
                Ok(())
            }
            Action::Pause { names } => steer(&client, names, "pause", format).await,
            Action::Resume { names } => steer(&client, names, "resume", format).await,
            Action::Fire { name } => {
                let request = client.request(Method::POST, &format!("schedules/{name}/fire"));
                let receipt: Receipt = client.json(request).await?;
                output::print(format, &receipt, || receipt.id.to_string())?;
                if format == Format::Text {
                    super::later::tell_how_to_follow(&receipt);
                }
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        let body = match self.body.strip_prefix('@') {
            Some(file) => std::fs::read_to_string(file).map_err(Failure::io(file))?,
            None => self.body,
        };
        let mut headers = BTreeMap::new();
        for header in &self.headers {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                Failure::misuse(format!("{header:?} is not a header")).with_hint("write -H 'Name: value'")
            })?;
            headers.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        let request = ScheduleRequest {
            function: self.function,
            schedule: ManifestSchedule {
                name: self.name.as_str().into(),
                cron: self.times.cron,
                zone: self.zone,
                every: self.times.every,
                from: None,
                at: self.times.at.map(|at| at.to_string()),
                not_before: self.not_before.map(|at| at.to_string()),
                until: self.until.map(|at| at.to_string()),
                times: self.most,
                missed: match self.missed {
                    MissedName::Skip => Missed::Skip,
                    MissedName::Once => Missed::Once,
                    MissedName::All => Missed::All,
                },
                paused: self.paused,
                call: ScheduledCall { method: self.method.as_str().into(), path: self.path, headers, body },
            },
        };
        let mut sent = client.request(Method::PUT, &format!("schedules/{}", self.name)).json(&request);
        if !self.replace {
            sent = sent.header(header::IF_NONE_MATCH, "*");
        }
        let view: ScheduleView = client.json(sent).await?;
        output::print(format, &view, || match view.next {
            Some(next) => format!("{} fires {}", self.name, output::moment(next)),
            None => format!("{} does not fire: it is paused, or its time has passed", self.name),
        })
    }
}

async fn steer(client: &Client, names: Vec<String>, verb: &str, format: Format) -> Result<(), Failure> {
    for name in names {
        let request = client.request(Method::POST, &format!("schedules/{name}/{verb}"));
        let view: ScheduleView = client.json(request).await?;
        output::print(format, &view, || match view.next {
            _ if view.schedule.paused => format!("paused {name}"),
            Some(next) => format!("{name} fires {}", output::moment(next)),
            None => format!("{name} does not fire any more"),
        })?;
    }
    Ok(())
}

/// When it fires, as it was written.
pub(super) fn when(when: &When) -> String {
    match when {
        When::Cron { cron, zone: None } => format!("cron {cron}"),
        When::Cron { cron, zone: Some(zone) } => format!("cron {cron} ({zone})"),
        When::Every { every, .. } => format!("every {every}"),
        When::At { at } => format!("at {}", at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S")),
    }
}

fn next(view: &ScheduleView) -> String {
    match view.next {
        _ if view.schedule.paused => "paused".to_owned(),
        Some(next) => output::moment(next),
        None => "never".to_owned(),
    }
}

fn last(firing: &Firing) -> String {
    let failed = if firing.error.is_some() { ", not accepted" } else { "" };
    format!("{}{failed}", output::moment(firing.at))
}

fn list(schedules: &[ScheduleView]) -> String {
    if schedules.is_empty() {
        return "no schedules; `xebec schedule create NAME --function F --every 5m` makes one".to_owned();
    }
    let row = |view: &ScheduleView| {
        vec![
            view.schedule.name.to_string(),
            view.function.name.to_string(),
            when(&view.schedule.when),
            next(view),
            view.last.as_ref().map_or_else(|| "never".to_owned(), last),
        ]
    };
    output::table(&["NAME", "FUNCTION", "WHEN", "NEXT", "LAST"], schedules.iter().map(row).collect())
}

/// One schedule, for people.
fn text(view: &ScheduleView) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:<13}{value}", format!("{name}:"));
    };
    let schedule = &view.schedule;
    field("Name", schedule.name.to_string());
    field("Function", view.function.name.to_string());
    if view.of_function {
        field("Part of", format!("the manifest of {}", view.function.name));
    }
    field("When", when(&schedule.when));
    field("Missed", format!("{:?}", schedule.missed).to_lowercase());
    field("Next", next(view));
    match &view.last {
        None => field("Last", "never".to_owned()),
        Some(firing) => {
            field("Last", output::moment(firing.at));
            field("Due", output::moment(firing.due));
            if let Some(call) = firing.call {
                field("Call", call.to_string());
            }
            if let Some(error) = &firing.error {
                field("Error", error.clone());
            }
        }
    }
    let call = &schedule.call;
    field("Request", format!("{} {}", call.method, call.path));
    for (name, value) in &call.headers {
        field("Header", format!("{name}: {value}"));
    }
    if !call.body.is_empty() {
        let _ = write!(out, "\n{}", call.body);
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_people_write_them() {
        let fixed: Timestamp = "2026-12-24T17:00:00Z".parse().unwrap();
        assert_eq!(moment("2026-12-24T18:00:00+01:00"), Ok(fixed));
        let local = moment("2026-12-24 18:00").unwrap().to_zoned(TimeZone::system());
        assert_eq!(local.strftime("%Y-%m-%d %H:%M").to_string(), "2026-12-24 18:00");
        let soon = moment("+10m").unwrap().duration_since(Timestamp::now()).as_secs();
        assert!((595..=601).contains(&soon), "{soon}");
        assert!(moment("tomorrow").is_err() && moment("+soon").is_err());
    }
}
