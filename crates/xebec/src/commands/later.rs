//! `xebec invoke --async`

use crate::{
    client::Client,
    failure::Failure,
    output::{self, Format},
};
use reqwest::{RequestBuilder, header};
use std::time::Duration;
use xebec_api_native::wire::{MessageAnswer, Span};
use xebec_core::{InvocationId, message::Receipt, ports::queue::EntryState, record::InvocationRecord};

/// How often to look what became of a call, at first and at last.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How often to look for the record of a call that has ended: it is written behind the call.
const RECORD_LOOKS: u32 = 20;

/// What a call that is not waited for may wish.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Without waiting")]
pub(crate) struct Later {
    /// Do not wait: the server keeps the call, makes it, and tries again what fails
    #[arg(long = "async")]
    pub(crate) asynchronous: bool,
    /// Not before so long from now, e.g. `30s`
    #[arg(long, value_name = "SPAN", requires = "asynchronous")]
    delay: Option<Span>,
    /// Give up if it has not begun so long after it was due
    #[arg(long, value_name = "SPAN", requires = "asynchronous")]
    expiry: Option<Span>,
    /// The queue; left out, as the function says
    #[arg(long, requires = "asynchronous")]
    queue: Option<String>,
    /// From 0 to 9; higher ones go first
    #[arg(long, requires = "asynchronous", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Calls with the same key are made one at a time, in order
    #[arg(long, requires = "asynchronous")]
    key: Option<String>,
    /// A second call with the same idempotency key is the first one
    #[arg(long, value_name = "KEY", requires = "asynchronous")]
    idempotency_key: Option<String>,
    /// For how long that is remembered; left out: 24h
    #[arg(long, value_name = "SPAN", requires = "idempotency_key")]
    idempotency_window: Option<Span>,
    /// Where the result goes: a URL, `function:NAME` or `queue:NAME`
    #[arg(long, value_name = "RECEIVER", requires = "asynchronous")]
    callback: Option<String>,
    /// Never run it a second time, whatever happens to the first
    #[arg(long, requires = "asynchronous")]
    at_most_once: bool,
    /// Attempts in all; left out, as the function says
    #[arg(long, value_name = "NUMBER", requires = "asynchronous")]
    attempts: Option<u32>,
    /// Wait after all, and say how it ended
    #[arg(long, requires = "asynchronous")]
    wait: bool,
}

impl Later {
    /// Sends the call.
    pub(crate) async fn run(
        self,
        client: &Client,
        mut request: RequestBuilder,
        format: Format,
    ) -> Result<(), Failure> {
        request = request.header("x-xebec-async", "true");
        for (name, value) in self.headers() {
            let value = header::HeaderValue::try_from(&value)
                .map_err(|_| Failure::misuse(format!("{value:?} cannot be sent in a header")))?;
            request = request.header(name, value);
        }
        let receipt: Receipt = client.json(request).await?;
        if self.wait {
            return wait(client, receipt.id, format).await;
        }
        output::print(format, &receipt, || receipt.id.to_string())?;
        if format == Format::Text {
            if receipt.duplicate {
                eprintln!("it was accepted before");
            }
            tell_how_to_follow(&receipt);
        }
        Ok(())
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let text = |value: &Option<String>| value.clone();
        let span = |value: &Option<Span>| value.map(|span| span.to_string());
        [
            ("x-xebec-delay", span(&self.delay)),
            ("x-xebec-expiry", span(&self.expiry)),
            ("x-xebec-queue", text(&self.queue)),
            ("x-xebec-priority", self.priority.map(|priority| priority.to_string())),
            ("x-xebec-key", text(&self.key)),
            ("idempotency-key", text(&self.idempotency_key)),
            ("x-xebec-idempotency-window", span(&self.idempotency_window)),
            ("x-xebec-callback", text(&self.callback)),
            ("x-xebec-at-most-once", self.at_most_once.then(|| "true".to_owned())),
            ("x-xebec-attempts", self.attempts.map(|attempts| attempts.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// Beside the id, which alone goes to standard output.
pub(super) fn tell_how_to_follow(receipt: &Receipt) {
    let id = receipt.id;
    eprintln!("where it stands: xebec queue show {id}\nhow it ended:    xebec invocations show {id}");
}

/// Waits until a call is over, and says how it ended.
pub(super) async fn wait(client: &Client, id: InvocationId, format: Format) -> Result<(), Failure> {
    let (mut pause, longest) = LOOK;
    loop {
        let message: Option<MessageAnswer> = client.find(&format!("messages/{id}")).await?;
        let Some(message) = message else { break };
        if let EntryState::Dead { death, .. } = message.state {
            if format == Format::Json {
                output::print(format, &message, String::new)?;
                return Err(Failure::silent());
            }
            let why = message.why.unwrap_or_default();
            return Err(Failure::new(format!("{id} is a dead letter ({death}): {why}"))
                .with_hint(format!("xebec queue redrive {id} makes it run again")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
    for _ in 0..RECORD_LOOKS {
        let record: Option<InvocationRecord> = client.find(&format!("records/{id}")).await?;
        if let Some(record) = record {
            return ended(&record, format);
        }
        tokio::time::sleep(pause.max(Duration::from_millis(100))).await;
    }
    Err(Failure::new(format!("{id} is over, but no record tells how it ended")))
}

fn ended(record: &InvocationRecord, format: Format) -> Result<(), Failure> {
    let status = record.status.map(|status| format!(", status {status}")).unwrap_or_default();
    let told = format!(
        "{}{status}, {}, attempt {}",
        record.outcome,
        output::micros(record.timing.wait_us + record.timing.run_us),
        record.attempt.max(1)
    );
    output::print(format, record, || format!("{}\n{told}", record.id))?;
    if record.outcome.is_success() {
        return Ok(());
    }
    if format == Format::Json {
        return Err(Failure::silent());
    }
    Err(Failure::new(record.message.clone().unwrap_or_else(|| format!("it ended as {}", record.outcome))))
}
