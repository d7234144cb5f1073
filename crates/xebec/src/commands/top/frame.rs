//! One frame: what two samples say, as lines.

use super::{latency, sample::Sample};
use crate::{client::ServerArguments, commands::queue::Sum, output};
use std::time::Duration;
use xebec_api_native::wire::name_of;

/// Characters of a name at most.
const NAME: usize = 40;

/// What functions are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// By name
    Name,
    /// Most calls per second first
    #[default]
    Rate,
    /// Slowest first
    Latency,
    /// Most errors per second first
    Errors,
    /// Most calls in flight first
    InFlight,
    /// Most instances first
    Instances,
}

/// What is shown.
#[derive(Debug, serde::Serialize)]
pub(super) struct Frame {
    functions: Vec<Function>,
    queues: Vec<Lane>,
    #[serde(skip)]
    sort: Sort,
}

#[derive(Debug, serde::Serialize)]
struct Function {
    name: String,
    door: String,
    calls_per_second: f64,
    errors_per_second: f64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    in_flight: u32,
    waiting: u32,
    instances: u32,
    starting: u32,
    calls: u64,
    errors: u64,
}

#[derive(Debug, serde::Serialize)]
struct Lane {
    queue: String,
    target: String,
    #[serde(flatten)]
    sum: Sum,
}

/// A line, and how it is to stand out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) style: Style,
}

/// How a line stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Head,
    Faint,
    Alarm,
}

impl Frame {
    /// What happened between two moments.
    pub(super) fn new(before: &Sample, after: &Sample, sort: Sort) -> Self {
        let seconds = after.taken.duration_since(before.taken).as_secs_f64();
        let rate = |from: u64, to: u64| {
            // A server that was started again counts from nothing.
            let count = if to >= from { to - from } else { to };
            if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
        };
        let functions = after.functions.iter().map(|function| {
            let live = &function.live;
            // What came meanwhile began with nothing.
            let then =
                before.function(&function.name, &function.door).map(|then| then.live).unwrap_or_default();
            let key = (function.door.clone(), function.name.clone());
            let durations = after.durations.get(&key);
            let micros = |share| {
                let took = latency::quantile(before.durations.get(&key), durations?, share)?;
                u64::try_from(took.as_micros()).ok()
            };
            Function {
                name: function.name.clone(),
                door: function.door.clone(),
                calls_per_second: rate(then.invocations, live.invocations),
                errors_per_second: rate(then.failures, live.failures),
                p50_us: micros(0.5),
                p99_us: micros(0.99),
                in_flight: live.in_flight,
                waiting: live.waiting,
                instances: live.ready,
                starting: live.starting,
                calls: live.invocations,
                errors: live.failures,
            }
        });
        let mut functions: Vec<Function> = functions.collect();
        // Equals stay sorted by name.
        functions.sort_by(|a, b| match sort {
            Sort::Name => std::cmp::Ordering::Equal,
            Sort::Rate => b.calls_per_second.total_cmp(&a.calls_per_second),
            Sort::Latency => b.p99_us.cmp(&a.p99_us),
            Sort::Errors => b.errors_per_second.total_cmp(&a.errors_per_second),
            Sort::InFlight => b.in_flight.cmp(&a.in_flight),
            Sort::Instances => b.instances.cmp(&a.instances),
        });
        let lane = |stats: &xebec_core::ports::queue::LaneStats| Lane {
            queue: stats.lane.queue.to_string(),
            target: name_of(&stats.lane.target).to_owned(),
            sum: Sum::of(stats),
        };
        Self { functions, queues: after.lanes.iter().map(lane).collect(), sort }
    }

    /// All of it, as text.
    pub(super) fn text(&self, server: &ServerArguments) -> String {
        let mut lines = vec![self.title(server)];
        lines.extend(self.function_lines(usize::MAX));
        if !self.queues.is_empty() {
            lines.push(plain(String::new()));
            lines.extend(self.queue_lines(usize::MAX));
        }
        lines.iter().map(|line| line.text.trim_end()).collect::<Vec<_>>().join("\n")
    }

    /// As much of it as there is room for.
    pub(super) fn lines(
        &self,
        server: &ServerArguments,
        trouble: Option<&str>,
        columns: usize,
        rows: usize,
    ) -> Vec<Line> {
        let mut lines = vec![self.title(server)];
        if let Some(trouble) = trouble {
            lines.push(Line { text: trouble.to_owned(), style: Style::Alarm });
        }
        // A blank line and the line of keys below; queues get what they need, up to half.
        let room = rows.saturating_sub(lines.len() + 2);
        let wanted = if self.queues.is_empty() { 0 } else { self.queues.len() + 2 };
        let for_queues = wanted.min(room / 2);
        lines.extend(self.function_lines(room - for_queues));
        if for_queues > 1 {
            lines.push(plain(String::new()));
            lines.extend(self.queue_lines(for_queues - 1));
        }
        lines.resize(rows.saturating_sub(1), plain(String::new()));
        let keys = "q quit   sort by: n name  r rate  l latency  e errors  f in flight  i instances";
        lines.push(Line { text: keys.to_owned(), style: Style::Faint });
        for line in &mut lines {
            if let Some((end, _)) = line.text.char_indices().nth(columns) {
                line.text.truncate(end);
            }
        }
        lines
    }

    fn title(&self, server: &ServerArguments) -> Line {
        let sum = |of: fn(&Function) -> f64| self.functions.iter().map(of).sum::<f64>();
        let text = format!(
            "{}   {} function{}, {} calls/s, {} errors/s   {}",
            server.url.trim_end_matches('/'),
            self.functions.len(),
            if self.functions.len() == 1 { "" } else { "s" },
            per_second(sum(|function| function.calls_per_second)),
            per_second(sum(|function| function.errors_per_second)),
            jiff::Zoned::now().strftime("%H:%M:%S"),
        );
        plain(text)
    }

    fn function_lines(&self, room: usize) -> Vec<Line> {
        let header = [
            "FUNCTION",
            "DOOR",
            "CALLS/S",
            "P50",
            "P99",
            "ERR/S",
            "IN FLIGHT",
            "WAITING",
            "INSTANCES",
            "CALLS",
            "ERRORS",
        ];
        let marked = match self.sort {
            Sort::Name => 0,
            Sort::Rate => 2,
            Sort::Latency => 4,
            Sort::Errors => 5,
            Sort::InFlight => 6,
            Sort::Instances => 8,
        };
        let row = |function: &Function| {
            let starting =
                if function.starting > 0 { format!("+{}", function.starting) } else { String::new() };
            let cells = vec![
                shortened(&function.name),
                function.door.clone(),
                per_second(function.calls_per_second),
                took(function.p50_us),
                took(function.p99_us),
                per_second(function.errors_per_second),
                function.in_flight.to_string(),
                function.waiting.to_string(),
                format!("{}{starting}", function.instances),
                function.calls.to_string(),
                function.errors.to_string(),
            ];
            (cells, function.errors_per_second > 0.0)
        };
        columns(&header, Some(marked), 2, self.functions.iter().map(row), room)
    }

    fn queue_lines(&self, room: usize) -> Vec<Line> {
        let header = ["QUEUE", "FOR", "WAITING", "DELAYED", "RUNNING", "DEAD", "OLDEST", ""];
        let row = |lane: &Lane| {
            let mut cells = vec![shortened(&lane.queue), shortened(&lane.target)];
            cells.extend(lane.sum.row());
            (cells, lane.sum.dead > 0)
        };
        columns(&header, None, 2, self.queues.iter().map(row), room)
    }
}

/// Rows under a header: the first `left` columns to the left, numbers to the right.
fn columns(
    header: &[&str],
    marked: Option<usize>,
    left: usize,
    rows: impl ExactSizeIterator<Item = (Vec<String>, bool)>,
    room: usize,
) -> Vec<Line> {
    let all = rows.len();
    let fits = if all < room { all } else { room.saturating_sub(2) };
    let rows: Vec<_> = rows.take(fits).collect();
    let titles = header
        .iter()
        .enumerate()
        .map(|(at, title)| if marked == Some(at) { format!("{title}▾") } else { (*title).to_owned() });
    let titles: Vec<String> = titles.collect();
    let width = |at: usize| {
        let widest = rows.iter().map(|(cells, _)| cells[at].chars().count()).max().unwrap_or(0);
        widest.max(titles[at].chars().count())
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if at < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    let mut lines = vec![Line { text: line(&titles), style: Style::Head }];
    lines.extend(rows.iter().map(|(cells, alarm)| Line {
        text: line(cells),
        style: if *alarm { Style::Alarm } else { Style::Plain },
    }));
    if fits < all {
        lines.push(Line { text: format!("… {} more", all - fits), style: Style::Faint });
    }
    lines.truncate(room);
    lines
}

fn plain(text: String) -> Line {
    Line { text, style: Style::Plain }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

fn took(micros: Option<u64>) -> String {
    micros.map_or_else(
        || "-".to_owned(),
        |micros| {
            // Estimates: three digits are more than enough.
            match Duration::from_micros(micros) {
                took if took < Duration::from_millis(1) => output::micros(micros),
                took if took < Duration::from_secs(1) => format!("{:.1} ms", took.as_secs_f64() * 1e3),
                took => format!("{:.1} s", took.as_secs_f64()),
            }
        },
    )
}

fn per_second(rate: f64) -> String {
    match rate {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, value: u32) -> (Vec<String>, bool) {
        (vec![name.to_owned(), value.to_string()], false)
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = [row("a", 5), row("long-name", 12345)];
        let lines = columns(&["NAME", "CALLS"], None, 1, rows.into_iter(), 10);
        let text: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(text, ["NAME       CALLS", "a              5", "long-name  12345"]);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let rows: Vec<_> = (0..10).map(|n| row("f", n)).collect();
        let lines = columns(&["NAME", "CALLS"], None, 1, rows.into_iter(), 5);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[4].text, "… 7 more");
        let rows: Vec<_> = (0..4).map(|n| row("f", n)).collect();
        let lines = columns(&["NAME", "CALLS"], None, 1, rows.into_iter(), 5);
        assert_eq!(lines.len(), 5);
        assert!(lines[4].text.starts_with('f'));
        for room in 0..4 {
            let rows: Vec<_> = (0..10).map(|n| row("f", n)).collect();
            assert!(columns(&["NAME", "CALLS"], None, 1, rows.into_iter(), room).len() <= room);
        }
    }
}
