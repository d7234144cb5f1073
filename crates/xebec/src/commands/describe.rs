//! `xebec describe`

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format},
};
use std::fmt::Write as _;
use xebec_api_native::wire::{FunctionAnswer, RevisionAnswer};
use xebec_core::{
    policy::{Metric, Policy, Scaling},
    record::RecordPage,
};

/// Show one function
#[derive(Debug, clap::Args)]
pub(crate) struct Describe {
    /// The function
    name: String,
}

impl Describe {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        let function: FunctionAnswer = client.get(&format!("functions/{}", self.name)).await?;
        if format == Format::Json {
            return output::print(format, &function, String::new);
        }
        let path = format!("invocations?function={}&limit=5", self.name);
        let recent: RecordPage = client.get(&path).await?;
        output::line(&text(server, &function, &recent))
    }
}

fn text(server: &ServerArguments, answer: &FunctionAnswer, recent: &RecordPage) -> String {
    let (function, live) = (&answer.view.function, &answer.view.live);
    let mut out = String::new();
    let mut field = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:<13}{value}", format!("{name}:"));
    };
    field("Name", answer.name.clone());
    field("Tenant", answer.tenant.clone());
    field("Door", answer.door.clone());
    if let Some(manifest) = &answer.manifest {
        let runs = manifest.environment.clone().or_else(|| manifest.image.clone());
        field("Environment", runs.unwrap_or_default());
        if let Some(description) = &manifest.description {
            field("Description", description.clone());
        }
    }
    for address in &function.addresses {
        field("URL", format!("{}/{}/{}", server.url.trim_end_matches('/'), address.space, address.name));
    }
    field("Instances", format!("{} ready, {} starting, {} wanted", live.ready, live.starting, live.desired));
    if let Some(usage) = answer.usage.filter(|usage| usage.memory_bytes > 0) {
        let memory = usage.memory_bytes as f64 / f64::from(1 << 20);
        field("Usage", format!("{:.0}m of a core, {memory:.1} MiB", usage.cpu_millis));
    }
    field("In flight", format!("{} calls, {} waiting", live.in_flight, live.waiting));
    field(
        "Calls",
        format!("{}, {} failed, {} cold starts", live.invocations, live.failures, live.cold_starts),
    );
    let policy = &function.policy;
    field("Scale", scale(policy));
    let delivery = &policy.delivery;
    if *delivery != xebec_core::policy::Delivery::default() {
        field(
            "Async",
            format!(
                "queue {}, {} at a time, {} attempts",
                delivery.queue, delivery.concurrency, delivery.retry.attempts
            ),
        );
    }
    for queue in &delivery.consumes {
        field("Consumes", queue.to_string());
    }
    for schedule in &policy.schedules {
        field("Schedule", format!("{}: {}", schedule.name, super::schedule::when(&schedule.when)));
    }
    field("Deployed", format!("{} ago", output::age(function.updated)));
    if let Some(manifest) = &answer.manifest {
        for (name, value) in &manifest.env {
            field("Variable", format!("{name}={value}"));
        }
        for secret in &manifest.secrets {
            field("Secret", format!("{secret} (at /run/secrets/{secret})"));
        }
    }
    for (name, value) in &function.labels {
        field("Label", format!("{name}={value}"));
    }
    for revision in RevisionAnswer::list(&function.revisions, function.traffic.shares()) {
        if revision.percent > 0 {
            let entry = &revision.entry;
            field(
                "Traffic",
                format!("{} % to revision {} ({})", revision.percent, entry.number, entry.digest.short()),
            );
        }
    }
    if !recent.records.is_empty() {
        let rows = recent.records.iter().map(|record| {
            vec![
                record.id.to_string(),
                output::clock(record.received),
                record.outcome.to_string(),
                record.status.map(|status| status.to_string()).unwrap_or_default(),
                output::micros(record.timing.wait_us + record.timing.run_us),
                if record.timing.cold { "cold" } else { "" }.to_owned(),
            ]
        });
        let header = ["LAST CALLS", "TIME", "OUTCOME", "STATUS", "TOOK", ""];
        let _ = write!(out, "\n{}", output::table(&header, rows.collect()));
    }
    out.trim_end().to_owned()
}

/// How many instances there may be, and what decides that.
fn scale(policy: &Policy) -> String {
    let Scaling { metric, target, proportion, down_window_seconds } = policy.scaling;
    let each = match (metric, target) {
        (Metric::Concurrency, Some(calls)) => format!("{calls} calls"),
        (Metric::Rate, target) => format!("{} calls/s", target.unwrap_or_default()),
        (Metric::Cpu, target) => format!("{}m of a core", target.unwrap_or_default()),
        (Metric::Queue, Some(messages)) => format!("{messages} messages"),
        (Metric::Concurrency | Metric::Queue, None) => "its slots".to_owned(),
    };
    let window = match down_window_seconds {
        0 => String::new(),
        seconds => format!(", down after {seconds} s"),
    };
    format!(
        "{} to {} instances by {}, {:.0} % of {each} for each{window}",
        policy.min_instances,
        policy.max_instances,
        metric.name(),
        proportion * 100.0
    )
}
