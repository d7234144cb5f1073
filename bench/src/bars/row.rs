//! One line of the result.

use crate::report::human;
use serde::Serialize;
use std::time::Duration;

/// A path, what was measured, what it stands beside, and what it is to reach.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) path: String,
    pub(crate) measured: String,
    pub(crate) baseline: String,
    pub(crate) bar: String,
    /// Whether the bar was reached; `None` where there is none, or it could not be measured.
    pub(crate) reached: Option<bool>,
}

impl Row {
    pub(crate) fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            measured: String::new(),
            baseline: String::new(),
            bar: String::new(),
            reached: None,
        }
    }

    pub(crate) fn measured(mut self, measured: impl Into<String>) -> Self {
        self.measured = measured.into();
        self
    }

    pub(crate) fn baseline(mut self, baseline: impl Into<String>) -> Self {
        self.baseline = baseline.into();
        self
    }

    pub(crate) fn bar(mut self, bar: impl Into<String>, reached: bool) -> Self {
        self.bar = bar.into();
        self.reached = Some(reached);
        self
    }

    pub(crate) fn skipped(path: &str, why: &str) -> Self {
        Self::new(path).measured(format!("skipped: {why}"))
    }
}

pub(crate) fn micros(duration: Duration) -> String {
    human(duration.as_secs_f64() * 1e6)
}

/// The median; `None` of nothing.
pub(crate) fn median(mut durations: Vec<Duration>) -> Option<Duration> {
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied()
}

pub(crate) fn print_markdown(rows: &[Row]) {
    println!("| path | measured | baseline, same run | bar | |");
    println!("|---|---|---|---|---|");
    for row in rows {
        let verdict = match row.reached {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "",
        };
        println!(
            "| {} | {} | {} | {} | {verdict} |",
            cell(&row.path),
            cell(&row.measured),
            cell(&row.baseline),
            cell(&row.bar)
        );
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
