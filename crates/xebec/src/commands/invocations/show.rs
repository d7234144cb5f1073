//! One invocation.

use crate::{
    client::Client,
    commands::logs,
    failure::Failure,
    output::{self, Format},
};
use std::{fmt::Write as _, io::IsTerminal as _};
use xebec_api_native::wire::InvocationAnswer;
use xebec_core::{InvocationId, Outcome, outcome::FunctionFault};

/// Shows one, with what its function printed.
pub(super) async fn show(client: &Client, id: &InvocationId, format: Format) -> Result<(), Failure> {
    let answer: InvocationAnswer = client.get(&format!("invocations/{id}")).await?;
    if format == Format::Json {
        return output::print(format, &answer, String::new);
    }
    output::line(&text(&answer))?;
    if !answer.logs.is_empty() {
        output::line("\nLOGS")?;
    }
    let colour = std::io::stdout().is_terminal();
    answer.logs.iter().try_for_each(|line| logs::print(line, false, colour))
}

fn text(answer: &InvocationAnswer) -> String {
    let record = &answer.record;
    let mut out = String::new();
    let mut field = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:<13}{value}", format!("{name}:"));
    };
    field("Id", record.id.to_string());
    field("Function", record.function.name.to_string());
    field("Tenant", record.function.tenant.to_string());
    field("Received", output::moment(record.received));
    let outcome = match record.outcome {
        Outcome::FunctionError(FunctionFault::Timeout(clock)) => {
            let clock = serde_json::to_value(clock).unwrap_or_default();
            format!("timeout ({} clock)", clock.as_str().unwrap_or_default().replace('_', "-"))
        }
        outcome => outcome.to_string(),
    };
    field("Outcome", outcome);
    if let Some(message) = &record.message {
        field("Why", message.clone());
    }
    if let Some(status) = record.status {
        field("Status", status.to_string());
    }
    if record.attempt > 0 {
        field("Attempt", record.attempt.to_string());
    }
    let timing = &record.timing;
    let start = if timing.cold { ", for a start" } else { "" };
    field("Waited", format!("{}{start}", output::micros(timing.wait_us)));
    field("First byte", output::micros(timing.first_byte_us));
    field("Took", output::micros(timing.run_us));
    field("Request", format!("{} bytes", record.request_bytes));
    field("Answer", format!("{} bytes", record.response_bytes));
    if let Some(revision) = &record.revision {
        field("Revision", revision.short().to_string());
    }
    if let Some(instance) = &record.instance {
        field("Instance", instance.clone());
    }
    let replay = match answer.replayable {
        true => format!("xebec invocations replay {}", record.id),
        false => "not possible, its request was not kept".to_owned(),
    };
    field("Replay", replay);
    out.trim_end().to_owned()
}
