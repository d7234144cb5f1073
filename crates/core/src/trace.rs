//! W3C trace context, and what is told of a span.

use crate::ports::tracer::Tracer;
use compact_str::CompactString;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// The header that carries a [`TraceContext`].
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What the participants of a trace say to their own kind; it goes wherever `traceparent` goes.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longer values of attributes are cut: what waits to be exported must be bounded in bytes, too.
const VALUE_BYTES: usize = 1024;

/// Which span work belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace: u128,
    /// The span; never 0.
    pub span: u64,
    /// The flags; bit 0 says that the trace is recorded.
    pub flags: u8,
}

impl TraceContext {
    /// The flag of what is recorded.
    pub const SAMPLED: u8 = 1;

    /// Whether the trace is recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// Reads `version-trace-parent-flags`, in lower-case hexadecimal. Later versions may append to it.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() < 55 || text[2] != b'-' || text[35] != b'-' || text[52] != b'-' {
            return None;
        }
        let known = match hex(&text[..2])? {
            0 => text.len() == 55,
            0xff => false,
            _ => text.len() == 55 || text[55] == b'-',
        };
        let context = Self {
            trace: hex(&text[3..35])?,
            span: u64::try_from(hex(&text[36..52])?).ok()?,
            flags: u8::try_from(hex(&text[53..55])?).ok()?,
        };
        (known && context.trace != 0 && context.span != 0).then_some(context)
    }

    /// The context that headers carry: exactly one, and valid.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(only), None) => Self::parse(only.as_bytes()),
            _ => None,
        }
    }

    /// The context of a span below this one.
    #[must_use]
    pub const fn with_span(self, span: u64) -> Self {
        Self { span, ..self }
    }

    /// Writes it into headers, in place of what they carried.
    pub fn put(&self, headers: &mut HeaderMap) {
        // Digits and hyphens, which every header value may hold.
        if let Ok(value) = HeaderValue::try_from(self.to_string()) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// A number in lower-case hexadecimal, of 32 digits at most.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// What a span is to the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside.
    Internal,
    /// Answers a request.
    Server,
    /// Makes a request.
    Client,
    /// Puts a message into a queue.
    Producer,
    /// Takes a message from a queue.
    Consumer,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text; what is very long is cut.
    Text(CompactString),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text[..text.floor_char_boundary(VALUE_BYTES)].into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

macro_rules! from_number {
    ($($number:ty),*) => {$(
        impl From<$number> for Value {
            fn from(number: $number) -> Self {
                Self::Number(i64::from(number))
            }
        }
    )*};
}
from_number!(u8, u16, u32, i32, i64);

/// Name and value of something that is told of a span.
pub type Attribute = (&'static str, Value);

/// All that is told of a span that has ended.
#[derive(Clone, Debug)]
pub struct SpanData {
    /// Which it is.
    pub context: TraceContext,
    /// The span above it, in the same trace.
    pub parent: Option<u64>,
    /// The one above it is another program's.
    pub remote: bool,
    /// What participants said of the trace.
    pub state: Option<CompactString>,
    /// Its name; few different ones.
    pub name: CompactString,
    /// What it is to the one above it.
    pub kind: SpanKind,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What is told of it.
    pub attributes: Vec<Attribute>,
    /// Spans that it has to do with beside the one above it.
    pub links: Vec<TraceContext>,
    /// It failed, and why.
    pub error: Option<CompactString>,
}

/// A span that has not ended. It ends when it is dropped.
pub struct Span {
    tracer: Arc<dyn Tracer>,
    clock: Instant,
    /// `None` once it has ended.
    data: Option<Box<SpanData>>,
    notes: Option<Notes>,
}

impl Span {
    pub(crate) fn begin(tracer: Arc<dyn Tracer>, data: SpanData) -> Self {
        Self { tracer, clock: Instant::now(), data: Some(Box::new(data)), notes: None }
    }

    /// Which it is; `None` once it has ended, which nobody who holds it sees.
    pub fn context(&self) -> Option<TraceContext> {
        self.data.as_ref().map(|data| data.context)
    }

    /// Tells something of it.
    pub fn tell(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(data) = &mut self.data {
            data.attributes.push((name, value.into()));
        }
    }

    /// It has to do with this one, too.
    pub fn link(&mut self, to: TraceContext) {
        if let Some(data) = &mut self.data {
            data.links.push(to);
        }
    }

    /// It failed, and why.
    pub fn fail(&mut self, why: &str) {
        if let Some(data) = &mut self.data {
            data.error = Some(why[..why.floor_char_boundary(VALUE_BYTES)].into());
        }
    }

    /// Where others may tell something of it until it ends.
    pub fn notes(&mut self) -> Notes {
        self.notes.get_or_insert_default().clone()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut data) = self.data.take() else { return };
        data.took = self.clock.elapsed();
        if let Some(notes) = &self.notes {
            data.attributes.append(&mut notes.0.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.tracer.end(data);
    }
}

/// What is told of a span by those who do not hold it: the gateway puts it into the extensions of a request
/// whose span it records, and the engine says there what it called.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Vec<Attribute>>>);

impl Notes {
    /// Tells something of the span.
    pub fn tell(&self, name: &'static str, value: impl Into<Value>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name, value.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_what_is_valid() {
        let context = TraceContext::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(context.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((context.span, context.flags), (0x00f0_67aa_0ba9_02b7, 1));
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), GOOD);
        let later = format!("cc{}-what-will-be", &GOOD[2..]);
        assert_eq!(TraceContext::parse(later.as_bytes()), Some(context));
    }

    #[test]
    fn refuses_what_is_broken() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let zero_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let upper = GOOD.to_uppercase();
        let longer = format!("{GOOD}-x");
        let version = format!("ff{}", &GOOD[2..]);
        for bad in ["", "x", &GOOD[..54], &upper, &longer, &version, zero_trace, zero_span] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn headers_carry_one() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceContext::of(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        let context = TraceContext::of(&headers).unwrap();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(TraceContext::of(&headers), None, "two are none");
        context.with_span(7).put(&mut headers);
        assert_eq!(TraceContext::of(&headers), Some(context.with_span(7)));
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = "\u{20ac}".repeat(1000);
        let Value::Text(text) = Value::from(long.as_str()) else { panic!("it is text") };
        assert_eq!((text.len(), text.chars().count()), (1023, 341));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(text in proptest::collection::vec(any::<u8>(), 0..70)) {
            let _ = TraceContext::parse(&text);
        }

        #[test]
        fn what_is_written_is_read(trace in 1u128.., span in 1u64.., flags: u8) {
            let context = TraceContext { trace, span, flags };
            prop_assert_eq!(TraceContext::parse(context.to_string().as_bytes()), Some(context));
        }
    }
}
