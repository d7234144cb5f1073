//! One instance's lines: attributed, cut, held to a rate, and the last ones remembered.

use crate::shared::Shared;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use xebec_core::{
    FunctionKey, InvocationId,
    log::{LogLine, LogStream, MAX_LINE_BYTES},
    ports::instance::LineSink,
    rules::admission::TokenBucket,
};

/// How many of the last lines an error carries.
const TAIL_LINES: usize = 20;

/// The longest line that an error carries, in bytes.
const TAIL_LINE_BYTES: usize = 1024;

/// Once lines come too fast, nothing is kept for so long: dropping one here and one there would leave a log
/// that nobody can read, full of notes about what is missing.
const FLOOD_PAUSE: Duration = Duration::from_secs(1);

/// Pipes are read a moment after what went through them was answered: so long a line still belongs to the
/// call that just ended.
const LINGER: Duration = Duration::from_millis(100);

/// One instance's lines.
pub(crate) struct InstanceLines {
    shared: Arc<Shared>,
    function: FunctionKey,
    instance: String,
    inner: Mutex<Inner>,
}

struct Inner {
    tail: VecDeque<String>,
    bucket: TokenBucket,
    /// Lines not kept since the flood began.
    dropped: u64,
    /// Nothing is kept until then.
    flooded_until: Option<Duration>,
    calls: Vec<InvocationId>,
    ended: Option<(InvocationId, Duration)>,
}

impl InstanceLines {
    pub(crate) fn new(shared: Arc<Shared>, function: FunctionKey, instance: String) -> Self {
        let rate = f64::from(shared.options.log_lines_per_second);
        let bucket = TokenBucket::new(rate, rate * 2.0, shared.now());
        let inner = Inner {
            tail: VecDeque::new(),
            bucket,
            dropped: 0,
            flooded_until: None,
            calls: Vec::new(),
            ended: None,
        };
        Self { shared, function, instance, inner: Mutex::new(inner) }
    }

    /// A call began: lines may belong to it.
    pub(crate) fn call_began(&self, id: InvocationId) {
        self.inner.lock().calls.push(id);
    }

    /// A call ended.
    pub(crate) fn call_ended(&self, id: InvocationId) {
        let mut inner = self.inner.lock();
        let alone = inner.calls.len() == 1;
        if let Some(at) = inner.calls.iter().position(|call| *call == id) {
            inner.calls.swap_remove(at);
            inner.ended = alone.then(|| (id, self.shared.now()));
        }
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.inner.lock().tail.iter().cloned().collect()
    }

    /// A line of the platform's own; it is never held back.
    pub(crate) fn platform(&self, text: String) {
        self.push(LogStream::Platform, text, None);
    }

    fn push(&self, stream: LogStream, text: String, invocation: Option<InvocationId>) {
        self.shared.logs.push(LogLine {
            time: self.shared.clock.now(),
            function: self.function.clone(),
            instance: self.instance.clone(),
            invocation,
            stream,
            text,
        });
    }
}

impl Inner {
    fn invocation(&self, now: Duration) -> Option<InvocationId> {
        match self.calls.as_slice() {
            [only] => Some(*only),
            [] => self.ended.filter(|(_, at)| now.saturating_sub(*at) <= LINGER).map(|(id, _)| id),
            _ => None,
        }
    }

    fn remember(&mut self, text: &str) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(cut(text, TAIL_LINE_BYTES));
    }
}

/// What becomes of a line.
enum Fate {
    /// It is kept; so many before it were not.
    Kept { invocation: Option<InvocationId>, dropped_before: u64 },
    /// It is the first of a flood.
    FloodBegins,
    /// It is one of a flood.
    Dropped,
}

impl Inner {
    fn fate(&mut self, now: Duration) -> Fate {
        if self.flooded_until.is_some_and(|until| now < until) {
            self.dropped += 1;
            return Fate::Dropped;
        }
        if self.bucket.take(now).is_err() {
            self.flooded_until = Some(now + FLOOD_PAUSE);
            self.dropped += 1;
            return if self.dropped == 1 { Fate::FloodBegins } else { Fate::Dropped };
        }
        self.flooded_until = None;
        Fate::Kept { invocation: self.invocation(now), dropped_before: std::mem::take(&mut self.dropped) }
    }
}

impl LineSink for InstanceLines {
    fn line(&self, stream: LogStream, text: &str) {
        let now = self.shared.now();
        let fate = {
            let mut inner = self.inner.lock();
            inner.remember(text);
            inner.fate(now)
        };
        match fate {
            Fate::Kept { invocation, dropped_before } => {
                if dropped_before > 0 {
                    self.platform(format!("{dropped_before} lines were dropped"));
                }
                self.push(stream, cut(text, MAX_LINE_BYTES), invocation);
            }
            Fate::FloodBegins => {
                self.shared.logs.count_flooded();
                let most = self.shared.options.log_lines_per_second;
                self.platform(format!("more than {most} lines per second: dropping lines for a moment"));
            }
            Fate::Dropped => self.shared.logs.count_flooded(),
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mark = '…';
    let end = text.floor_char_boundary(most - mark.len_utf8());
    let mut cut = String::with_capacity(most);
    cut.push_str(&text[..end]);
    cut.push(mark);
    cut
}
