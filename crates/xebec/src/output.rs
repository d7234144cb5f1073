//! What commands print: tables for people, JSON for programs.

use crate::failure::Failure;
use comfy_table::{Table, presets};
use jiff::{Timestamp, tz::TimeZone};
use std::io::{IsTerminal as _, Write as _};

/// How to print results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences.
    #[default]
    Text,
    /// JSON.
    Json,
}

/// Prints JSON, or else what `text` makes.
pub(crate) fn print<T: serde::Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let printed = match format {
        Format::Text => text(),
        Format::Json => serde_json::to_string_pretty(value)
            .map_err(|error| Failure::new(format!("the result cannot be written as JSON: {error}")))?,
    };
    line(&printed)
}

/// Prints to standard output; a reader that closed it (`xebec ls | head`) ends the command in silence.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes to standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(unwritable)
}

/// Why standard output cannot be written; whoever closed it need not be told.
pub(crate) fn unwritable(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::silent(),
        _ => Failure::new(format!("cannot write to standard output: {error}")),
    }
}

/// A table without lines, as `kubectl` prints them.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    // The columns are padded on both sides; what begins a line needs no padding.
    let text = table.to_string();
    let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

/// How long ago, in one unit: `12s`, `5m`, `3h`, `9d`.
pub(crate) fn age(time: Timestamp) -> String {
    rough(Timestamp::now().duration_since(time).as_secs().max(0))
}

/// How long until then, or since then: `in 3m`, `3m ago`.
pub(crate) fn away(time: Timestamp) -> String {
    let ahead = time.duration_since(Timestamp::now()).as_millis();
    // What is due in 2.9 seconds is due in 3, not in 2.
    let seconds = i64::try_from((ahead + 500).div_euclid(1000)).unwrap_or(i64::MAX);
    if seconds > 0 { format!("in {}", rough(seconds)) } else { format!("{} ago", rough(-seconds)) }
}

/// Date and time in the local time zone, and how far away that is.
pub(crate) fn moment(time: Timestamp) -> String {
    let local = time.to_zoned(TimeZone::system());
    format!("{} ({})", local.strftime("%Y-%m-%d %H:%M:%S"), away(time))
}

fn rough(seconds: i64) -> String {
    match seconds {
        s if s < 120 => format!("{s}s"),
        s if s < 7200 => format!("{}m", s / 60),
        s if s < 172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// The time of day for log lines, in the local time zone.
pub(crate) fn clock(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

/// Microseconds, in the unit that reads best.
pub(crate) fn micros(us: u64) -> String {
    match us {
        us if us < 1_000 => format!("{us} µs"),
        us if us < 1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        us => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// A sign of life for steps that take long: a spinner on a terminal, lines elsewhere.
pub(crate) struct Steps {
    bar: Option<indicatif::ProgressBar>,
}

impl Steps {
    pub(crate) fn start(line: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: None };
        }
        let bar = indicatif::ProgressBar::new_spinner();
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        bar.set_message(line.to_owned());
        Self { bar: Some(bar) }
    }

    pub(crate) fn step(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(line.to_owned()),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
