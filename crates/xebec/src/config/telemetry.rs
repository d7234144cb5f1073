//! What is exported to an OpenTelemetry collector: the standard variables, over `[telemetry]` of the file.

use crate::failure::Failure;
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};
use xebec_api_native::wire::Span;
use xebec_telemetry::{Said, TelemetryOptions, decide};

/// `[telemetry]` in `xebec.toml`. Every key says what a standard variable says, which goes before it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileTelemetry {
    disabled: Option<bool>,
    endpoint: Option<String>,
    protocol: Option<String>,
    headers: BTreeMap<String, String>,
    timeout: Option<Span>,
    compression: Option<String>,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    traces: Option<bool>,
    metrics: Option<bool>,
    sampler: Option<String>,
    sampler_arg: Option<f64>,
    service_name: Option<String>,
    resource: BTreeMap<String, String>,
    metrics_interval: Option<Span>,
}

impl FileTelemetry {
    /// Puts the variables of this process over the file.
    pub(super) fn decide(&self) -> Result<TelemetryOptions, Failure> {
        self.decide_under(&|name| std::env::var(name).ok())
    }

    fn decide_under(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<TelemetryOptions, Failure> {
        let lookup = |name: &str| {
            let said = variable(name).filter(|value| !value.trim().is_empty());
            said.map(|value| Said { value, by: name.to_owned() }).or_else(|| self.said(name))
        };
        decide(&lookup).map_err(|error| {
            let failure = Failure::misuse(format!("{} [{}]", error.message, error.code));
            match error.hint {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            }
        })
    }

    /// What the file says for a variable.
    fn said(&self, name: &str) -> Option<Said> {
        let millis = |span: &Option<Span>| span.map(|span| span.0.as_millis().to_string());
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let exporter = |on: Option<bool>| on.map(|on| if on { "otlp" } else { "none" }.to_owned());
        let (key, value) = match name {
            "OTEL_SDK_DISABLED" => ("disabled", self.disabled.map(|disabled| disabled.to_string())),
            "OTEL_EXPORTER_OTLP_ENDPOINT" => ("endpoint", self.endpoint.clone()),
            "OTEL_EXPORTER_OTLP_PROTOCOL" => ("protocol", self.protocol.clone()),
            "OTEL_EXPORTER_OTLP_HEADERS" => ("headers", pairs(&self.headers)),
            "OTEL_EXPORTER_OTLP_TIMEOUT" => ("timeout", millis(&self.timeout)),
            "OTEL_EXPORTER_OTLP_COMPRESSION" => ("compression", self.compression.clone()),
            "OTEL_EXPORTER_OTLP_CERTIFICATE" => ("authorities", path(&self.authorities)),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" => ("certificate", path(&self.certificate)),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY" => ("key", path(&self.key)),
            "OTEL_TRACES_EXPORTER" => ("traces", exporter(self.traces)),
            "OTEL_METRICS_EXPORTER" => ("metrics", exporter(self.metrics)),
            "OTEL_TRACES_SAMPLER" => ("sampler", self.sampler.clone()),
            "OTEL_TRACES_SAMPLER_ARG" => ("sampler-arg", self.sampler_arg.map(|arg| arg.to_string())),
            "OTEL_SERVICE_NAME" => ("service-name", self.service_name.clone()),
            "OTEL_RESOURCE_ATTRIBUTES" => ("resource", pairs(&self.resource)),
            "OTEL_METRIC_EXPORT_INTERVAL" => ("metrics-interval", millis(&self.metrics_interval)),
            _ => return None,
        };
        value.map(|value| Said { value, by: format!("[telemetry] {key}, which is {name},") })
    }
}

/// As the variables have them: `name=value,name=value`, percent-encoded.
fn pairs(map: &BTreeMap<String, String>) -> Option<String> {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |mut encoded, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
            encoded
        })
    };
    let pairs: Vec<String> =
        map.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    (!pairs.is_empty()).then(|| pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn decided(file: &str, variables: &[(&str, &str)]) -> Result<TelemetryOptions, Failure> {
        let file: FileTelemetry = toml::from_str(file).unwrap();
        file.decide_under(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const ALL: &str = r#"
endpoint = "https://collector"
protocol = "http/protobuf"
headers = { authorization = "Bearer a,b=c", x-team = "é" }
timeout = "3s"
compression = "gzip"
authorities = "/ca.pem"
certificate = "/client.pem"
key = "/client.key"
sampler = "parentbased_traceidratio"
sampler-arg = 0.25
service-name = "here"
resource = { "deployment.environment" = "test" }
metrics-interval = "15s"
"#;

    #[test]
    fn the_file_says_what_variables_say() {
        let options = decided(ALL, &[]).unwrap();
        let (spans, metrics) = (options.spans.unwrap(), options.metrics.unwrap());
        assert_eq!(spans.to.url.as_str(), "https://collector/v1/traces");
        assert_eq!(spans.to.headers["authorization"], "Bearer a,b=c");
        assert_eq!(spans.to.headers["x-team"].as_bytes(), "é".as_bytes());
        assert_eq!((spans.to.timeout, metrics.every), (Duration::from_secs(3), Duration::from_secs(15)));
        assert!(spans.to.gzip && spans.to.identity.is_some() && spans.to.authorities.is_some());
        assert_eq!(spans.sampler, xebec_telemetry::Sampler::parent_based(0.25));
        assert!(options.resource.contains(&("service.name".to_owned(), "here".to_owned())));
        assert!(options.resource.contains(&("deployment.environment".to_owned(), "test".to_owned())));
    }

    #[test]
    fn variables_go_before_the_file() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:4318"),
            ("OTEL_SERVICE_NAME", "there"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_TRACES_SAMPLER", ""),
        ];
        let options = decided(ALL, &variables).unwrap();
        assert!(options.metrics.is_none());
        assert_eq!(options.spans.unwrap().to.url.as_str(), "http://other:4318/v1/traces");
        assert!(options.resource.contains(&("service.name".to_owned(), "there".to_owned())));
        assert!(decided(ALL, &[("OTEL_SDK_DISABLED", "true")]).unwrap().spans.is_none());
        assert!(decided("disabled = true\nendpoint = \"http://x\"", &[]).unwrap().spans.is_none());
        assert!(decided("endpoint = \"http://x\"\ntraces = false", &[]).unwrap().spans.is_none());
    }

    #[test]
    fn the_example_in_the_documentation_holds() {
        let page = include_str!("../../../../docs/telemetry.md");
        let (_, rest) = page.split_once("```toml\n[telemetry]\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let spans = decided(example, &[]).unwrap().spans.unwrap();
        assert_eq!(spans.to.url.as_str(), "https://collector.example:4318/v1/traces");
        assert_eq!(spans.sampler, xebec_telemetry::Sampler::parent_based(0.1));
        assert!(spans.to.gzip && spans.to.headers.contains_key("authorization"));
    }

    #[test]
    fn what_is_wrong_is_named_as_it_was_written() {
        let failure = decided("endpoint = \"collector\"", &[]).unwrap_err();
        assert_eq!(failure.exit, 2);
        assert!(failure.message.starts_with("[telemetry] endpoint"), "{}", failure.message);
        let failure = decided(ALL, &[("OTEL_TRACES_SAMPLER_ARG", "all")]).unwrap_err();
        assert!(failure.message.starts_with("OTEL_TRACES_SAMPLER_ARG must be"), "{}", failure.message);
    }
}
