//! One instance's lines: attributed, cut, held to a rate or to what their call may print, and the last ones
//! remembered.

mod allowance;
mod flood;
mod held;
mod owners;

use crate::shared::Shared;
use allowance::{Allowance, Room};
use flood::{Fate, Flood};
use held::{Held, HeldLine};
use jiff::Timestamp;
use owners::{Owner, Owners};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};
use xebec_core::{
    FunctionKey, InvocationId,
    log::{CUT_OFF, LogLine, LogStream, MAX_LINE_BYTES},
    ports::instance::LineSink,
};

/// How many of the last lines an error carries.
const TAIL_LINES: usize = 20;

/// The longest line that an error carries, in bytes.
const TAIL_LINE_BYTES: usize = 1024;

/// One instance's lines.
pub(crate) struct InstanceLines {
    shared: Arc<Shared>,
    function: FunctionKey,
    instance: String,
    mark: OnceLock<Mark>,
    inner: Mutex<Inner>,
}

/// What ends each call's lines.
struct Mark {
    text: &'static str,
    told: Box<dyn Fn(LogStream) + Send + Sync>,
}

struct Inner {
    tail: VecDeque<String>,
    owners: Owners,
    held: Held,
    flood: Flood,
    /// What a call may print, where that is limited.
    allowance: Option<Allowance>,
}

/// What becomes of a line.
enum Verdict {
    /// It is held until its call begins.
    Held,
    /// It is its call's, which may print so much more.
    OfCall { call: InvocationId, room: Room, most: u64 },
    /// It is held to a rate.
    OfInstance { call: Option<InvocationId>, fate: Fate },
}

impl InstanceLines {
    /// Nothing was printed yet. What a call prints is kept up to `log_bytes`; `None`: as long as it does not come
    /// too fast.
    pub(crate) fn new(
        shared: Arc<Shared>,
        function: FunctionKey,
        instance: String,
        log_bytes: Option<u64>,
    ) -> Self {
        let inner = Inner {
            tail: VecDeque::new(),
            owners: Owners::default(),
            held: Held::default(),
            flood: Flood::new(shared.options.log_lines_per_second, shared.now()),
            allowance: log_bytes.map(Allowance::new),
        };
        Self { shared, function, instance, mark: OnceLock::new(), inner: Mutex::new(inner) }
    }

    /// A call began: lines may belong to it.
    pub(crate) fn call_began(&self, id: InvocationId) {
        let first = {
            let mut inner = self.inner.lock();
            inner.owners.began(id);
            inner.held.take()
        };
        self.let_go(first, Some(id));
    }

    /// A call ended.
    pub(crate) fn call_ended(&self, id: InvocationId) {
        let now = self.shared.now();
        self.inner.lock().owners.ended(id, now);
    }

    /// There will be no call: what was held for it belongs to `call`, or to the instance alone.
    pub(crate) fn never_called(&self, call: Option<InvocationId>) {
        let held = self.inner.lock().held.take();
        self.let_go(held, call);
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.inner.lock().tail.iter().cloned().collect()
    }

    /// A line of the platform's own; it is never held back.
    pub(crate) fn platform(&self, text: String) {
        self.push(self.shared.clock.now(), LogStream::Platform, text, None);
    }

    fn take(&self, stream: LogStream, text: &str) {
        let (now, time) = (self.shared.now(), self.shared.clock.now());
        let verdict = {
            let mut inner = self.inner.lock();
            inner.remember(text);
            inner.judge(now, time, stream, text)
        };
        match verdict {
            Verdict::Held => {}
            Verdict::OfCall { call, room, most } => self.keep(time, stream, text, (call, room, most)),
            Verdict::OfInstance { call, fate } => self.keep_by_rate(time, stream, text, call, &fate),
        }
    }

    /// Hands on what was held.
    fn let_go(&self, held: Vec<HeldLine>, call: Option<InvocationId>) {
        for HeldLine { time, stream, text } in held {
            let room = call.and_then(|call| {
                let mut inner = self.inner.lock();
                let allowance = inner.allowance.as_mut()?;
                Some((call, allowance.take(call, &text), allowance.most()))
            });
            match room {
                Some(room) => self.keep(time, stream, &text, room),
                None => self.push(time, stream, text, call),
            }
        }
    }

    fn keep(&self, time: Timestamp, stream: LogStream, text: &str, room: (InvocationId, Room, u64)) {
        let (call, room, most) = room;
        match room {
            Room::All => self.push(time, stream, cut(text, MAX_LINE_BYTES), Some(call)),
            Room::Some(bytes) => {
                if bytes > 0 {
                    self.push(time, stream, text[..bytes].to_owned(), Some(call));
                }
                self.push(time, LogStream::Platform, format!("{CUT_OFF}{most}"), Some(call));
            }
            Room::None => {}
        }
    }

    fn keep_by_rate(
        &self,
        time: Timestamp,
        stream: LogStream,
        text: &str,
        call: Option<InvocationId>,
        fate: &Fate,
    ) {
        match fate {
            Fate::Kept { dropped_before } => {
                if *dropped_before > 0 {
                    self.platform(format!("{dropped_before} lines were dropped"));
                }
                self.push(time, stream, cut(text, MAX_LINE_BYTES), call);
            }
            Fate::FloodBegins => {
                self.shared.logs.count_flooded();
                let most = self.shared.options.log_lines_per_second;
                self.platform(format!("more than {most} lines per second: dropping lines for a moment"));
            }
            Fate::Dropped => self.shared.logs.count_flooded(),
        }
    }

    fn push(&self, time: Timestamp, stream: LogStream, text: String, invocation: Option<InvocationId>) {
        self.shared.logs.push(LogLine {
            time,
            function: self.function.clone(),
            instance: self.instance.clone(),
            invocation,
            stream,
            text,
        });
    }
}

impl Inner {
    fn judge(&mut self, now: Duration, time: Timestamp, stream: LogStream, text: &str) -> Verdict {
        let call = match self.owners.of(now) {
            Owner::FirstCall if self.held.has_room(text) => {
                self.held.hold(HeldLine { time, stream, text: cut(text, MAX_LINE_BYTES) });
                return Verdict::Held;
            }
            Owner::Call(call) => Some(call),
            Owner::FirstCall | Owner::Instance => None,
        };
        match (&mut self.allowance, call) {
            (Some(allowance), Some(call)) => {
                Verdict::OfCall { call, room: allowance.take(call, text), most: allowance.most() }
            }
            _ => Verdict::OfInstance { call, fate: self.flood.fate(now) },
        }
    }

    fn remember(&mut self, text: &str) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(cut(text, TAIL_LINE_BYTES));
    }
}

impl LineSink for InstanceLines {
    fn line(&self, stream: LogStream, text: &str) {
        let Some(mark) = self.mark.get() else { return self.take(stream, text) };
        match text.strip_suffix(mark.text) {
            None => self.take(stream, text),
            Some(before) => {
                // Whoever prints without an end of line leaves it to the mark to end the line.
                if !before.is_empty() {
                    self.take(stream, before);
                }
                (mark.told)(stream);
            }
        }
    }

    fn watch_for(&self, mark: &'static str, told: Box<dyn Fn(LogStream) + Send + Sync>) {
        // Set once: a second mark would be a defect of the contract's, and changes nothing.
        if self.mark.set(Mark { text: mark, told }).is_ok() {
            self.inner.lock().owners.marked = true;
        }
    }
}

impl Drop for InstanceLines {
    /// Nobody will be called any more, nobody waits for it.
    fn drop(&mut self) {
        self.never_called(None);
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
