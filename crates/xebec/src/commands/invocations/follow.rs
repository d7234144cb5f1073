//! Invocations as they end.

use crate::{
    client::{Client, lines},
    failure::Failure,
    output::{self, Format},
};
use futures_util::StreamExt as _;
use reqwest::RequestBuilder;
use xebec_core::record::{Followed, InvocationRecord};

/// Prints what comes, a line each, until the server stops or nobody reads any more.
pub(super) async fn follow(client: &Client, request: RequestBuilder, format: Format) -> Result<(), Failure> {
    let response = client.send(request.query(&[("follow", true)])).await?;
    let mut lines = std::pin::pin!(lines(response));
    if format == Format::Text {
        let [function, outcome, status, waited, took, start, attempt] =
            ["FUNCTION", "OUTCOME", "STATUS", "WAITED", "TOOK", "START", "ATTEMPT"].map(str::to_owned);
        let columns = [function, outcome, status, waited, took, start, attempt];
        output::line(&text("TIME", &columns, "ID"))?;
    }
    while let Some(line) = lines.next().await {
        let json = line?;
        if format == Format::Json {
            output::line(&String::from_utf8_lossy(&json))?;
            continue;
        }
        let followed: Followed = serde_json::from_slice(&json)
            .map_err(|error| Failure::new(format!("the server sent a line that cannot be read: {error}")))?;
        match followed {
            Followed::Record(record) => {
                let time = output::clock(record.received);
                output::line(&text(&time, &columns(&record), &record.id.to_string()))?;
            }
            Followed::Missed { missed } => {
                eprintln!("invocations end faster than they are read: up to {missed} are not shown here");
            }
        }
    }
    Ok(())
}

/// What tables and lines have in common.
pub(super) fn columns(record: &InvocationRecord) -> [String; 7] {
    [
        record.function.name.to_string(),
        record.outcome.to_string(),
        record.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
        output::micros(record.timing.wait_us),
        output::micros(record.timing.run_us),
        if record.timing.cold { "cold" } else { "warm" }.to_owned(),
        if record.attempt == 0 { "-".to_owned() } else { record.attempt.to_string() },
    ]
}

/// A line of columns that stand below each other as far as can be, since the next is not known yet.
fn text(time: &str, columns: &[String; 7], id: &str) -> String {
    let [function, outcome, status, waited, took, start, attempt] = columns;
    format!(
        "{time:<12}  {function:<20}  {outcome:<17}  {status:<6}  {waited:>9}  {took:>9}  {start:<5}  {attempt:<7}  {id}"
    )
}
