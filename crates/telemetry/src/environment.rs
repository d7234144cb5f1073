//! The standard variables of OpenTelemetry. An empty one is none; a wrong one is an error, since a server that
//! exports less than it was told to is found out too late.

use crate::{
    options::{MetricOptions, SpanOptions, Target, TelemetryOptions},
    sampler::Sampler,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use std::{fmt::Display, path::PathBuf, str::FromStr, time::Duration};
use xebec_core::Error;

/// Where a local collector listens.
const LOCAL: &str = "http://localhost:4318";

/// What somebody said for a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The value.
    pub value: String,
    /// Where it was said, for errors: the variable's name, or a place in a file.
    pub by: String,
}

/// Reads variables.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<Said>;

/// Decides by the standard variables what is exported: something is where an endpoint is named, or an exporter.
///
/// # Errors
/// `XB6060`, naming the variable.
pub fn decide(lookup: Lookup<'_>) -> Result<TelemetryOptions, Error> {
    let lookup = &|name: &str| lookup(name).filter(|said| !said.value.trim().is_empty());
    if flag(lookup, "OTEL_SDK_DISABLED")? {
        return Ok(TelemetryOptions::default());
    }
    let spans = match target(lookup, "TRACES", "v1/traces")? {
        Some(to) => Some(span_options(lookup, to)?),
        None => None,
    };
    let metrics = match target(lookup, "METRICS", "v1/metrics")? {
        Some(to) => Some(MetricOptions {
            to,
            every: millis(lookup, "OTEL_METRIC_EXPORT_INTERVAL", 60_000)?,
            deadline: millis(lookup, "OTEL_METRIC_EXPORT_TIMEOUT", 30_000)?,
        }),
        None => None,
    };
    if spans.is_none() && metrics.is_none() {
        return Ok(TelemetryOptions::default());
    }
    Ok(TelemetryOptions { resource: resource(lookup)?, spans, metrics })
}

fn span_options(lookup: Lookup<'_>, to: Target) -> Result<SpanOptions, Error> {
    let queue = count(lookup, "OTEL_BSP_MAX_QUEUE_SIZE", 2048, 1 << 20)?;
    let batch = lookup("OTEL_BSP_MAX_EXPORT_BATCH_SIZE");
    let batch = match batch {
        Some(said) => match parse::<usize>(&said, "a number")? {
            size if (1..=queue).contains(&size) => size,
            _ => return Err(wrong(&said, "must be at least 1, and no more than OTEL_BSP_MAX_QUEUE_SIZE")),
        },
        None => 512.min(queue),
    };
    Ok(SpanOptions {
        to,
        sampler: sampler(lookup)?,
        queue,
        batch,
        delay: millis(lookup, "OTEL_BSP_SCHEDULE_DELAY", 5000)?,
        deadline: millis(lookup, "OTEL_BSP_EXPORT_TIMEOUT", 30_000)?,
    })
}

/// The collector of a signal, if there is one.
fn target(lookup: Lookup<'_>, signal: &str, path: &str) -> Result<Option<Target>, Error> {
    let own = |name: &str| {
        lookup(&format!("OTEL_EXPORTER_OTLP_{signal}_{name}"))
            .or_else(|| lookup(&format!("OTEL_EXPORTER_OTLP_{name}")))
    };
    let exporter = lookup(&format!("OTEL_{signal}_EXPORTER"));
    match exporter.as_ref().map(|said| said.value.trim()) {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(_) => {
            return Err(exporter.as_ref().map_or_else(nothing, |said| wrong(said, "must be otlp or none")));
        }
    }
    let of_signal = lookup(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
    let url = match (of_signal, lookup("OTEL_EXPORTER_OTLP_ENDPOINT")) {
        (Some(said), _) => url(&said, "")?,
        (None, Some(said)) => url(&said, path)?,
        (None, None) if exporter.is_some() => {
            url(&Said { value: LOCAL.to_owned(), by: "the local collector".to_owned() }, path)?
        }
        (None, None) => return Ok(None),
    };
    if let Some(said) = own("PROTOCOL")
        && said.value.trim() != "http/protobuf"
    {
        return Err(wrong(&said, "must be http/protobuf, the only one that this server speaks")
            .with_hint("collectors take it on port 4318, where 4317 is for grpc"));
    }
    let gzip = match own("COMPRESSION") {
        None => false,
        Some(said) => match said.value.trim() {
            "gzip" => true,
            "none" => false,
            _ => return Err(wrong(&said, "must be gzip or none")),
        },
    };
    let timeout = match own("TIMEOUT") {
        Some(said) => span(&said)?,
        None => Duration::from_secs(10),
    };
    let headers = own("HEADERS").map_or_else(|| Ok(HeaderMap::new()), |said| headers(&said))?;
    let path = |name: &str| own(name).map(|said| PathBuf::from(said.value));
    let identity = match (path("CLIENT_CERTIFICATE"), path("CLIENT_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            return Err(Error::invalid(
                "XB6060",
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY go together",
            ));
        }
    };
    Ok(Some(Target { url, headers, timeout, gzip, authorities: path("CERTIFICATE"), identity }))
}

fn url(said: &Said, below: &str) -> Result<Url, Error> {
    const FORM: &str = "must be a URL such as http://collector:4318";
    let mut url = Url::parse(said.value.trim()).map_err(|_| wrong(said, FORM))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong(said, FORM));
    }
    if !below.is_empty() {
        let path = format!("{}/{below}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(url)
}

fn headers(said: &Said) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(said)? {
        let name: HeaderName =
            name.parse().map_err(|_| wrong(said, "holds a name that no header may have"))?;
        let mut value =
            HeaderValue::try_from(value).map_err(|_| wrong(said, "holds a value that no header may have"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// `name=value,name=value`, values percent-encoded.
fn pairs(said: &Said) -> Result<Vec<(String, String)>, Error> {
    let form = || wrong(said, "must be of the form name=value,name=value, values percent-encoded");
    let parts = said.value.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').ok_or_else(form)?;
            let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(String::from);
            match (decode(name), decode(value)) {
                (Ok(name), Ok(value)) if !name.is_empty() => Ok((name, value)),
                _ => Err(form()),
            }
        })
        .collect()
}

fn resource(lookup: Lookup<'_>) -> Result<Vec<(String, String)>, Error> {
    let mut all = match lookup("OTEL_RESOURCE_ATTRIBUTES") {
        Some(said) => pairs(&said)?,
        None => Vec::new(),
    };
    let name = "service.name";
    if let Some(said) = lookup("OTEL_SERVICE_NAME") {
        all.retain(|(known, _)| known != name);
        all.push((name.to_owned(), said.value.trim().to_owned()));
    } else if !all.iter().any(|(known, _)| known == name) {
        all.push((name.to_owned(), "xebec".to_owned()));
    }
    Ok(all)
}

fn sampler(lookup: Lookup<'_>) -> Result<Sampler, Error> {
    let ratio = || match lookup("OTEL_TRACES_SAMPLER_ARG") {
        None => Ok(1.0),
        Some(said) => match parse::<f64>(&said, "a number from 0 to 1")? {
            ratio if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            _ => Err(wrong(&said, "must be a number from 0 to 1")),
        },
    };
    let Some(said) = lookup("OTEL_TRACES_SAMPLER") else { return Ok(Sampler::parent_based(1.0)) };
    Ok(match said.value.trim() {
        "always_on" => Sampler::regardless(1.0),
        "always_off" => Sampler::regardless(0.0),
        "traceidratio" => Sampler::regardless(ratio()?),
        "parentbased_always_on" => Sampler::parent_based(1.0),
        "parentbased_always_off" => Sampler::parent_based(0.0),
        "parentbased_traceidratio" => Sampler::parent_based(ratio()?),
        _ => {
            return Err(wrong(
                &said,
                "must be always_on, always_off, traceidratio, or one of these after parentbased_",
            ));
        }
    })
}

fn flag(lookup: Lookup<'_>, name: &str) -> Result<bool, Error> {
    let Some(said) = lookup(name) else { return Ok(false) };
    match said.value.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong(&said, "must be true or false")),
    }
}

fn count(lookup: Lookup<'_>, name: &str, built_in: usize, most: usize) -> Result<usize, Error> {
    let Some(said) = lookup(name) else { return Ok(built_in) };
    match parse::<usize>(&said, "a number")? {
        number if (1..=most).contains(&number) => Ok(number),
        _ => Err(wrong(&said, &format!("must be 1 to {most}"))),
    }
}

fn millis(lookup: Lookup<'_>, name: &str, built_in: u64) -> Result<Duration, Error> {
    lookup(name).map_or_else(|| Ok(Duration::from_millis(built_in)), |said| span(&said))
}

/// A length of time in milliseconds, up to a day.
fn span(said: &Said) -> Result<Duration, Error> {
    match parse::<u64>(said, "a number of milliseconds")? {
        millis @ 1..=86_400_000 => Ok(Duration::from_millis(millis)),
        _ => Err(wrong(said, "must be 1 to 86400000 milliseconds")),
    }
}

fn parse<T: FromStr>(said: &Said, what: impl Display) -> Result<T, Error> {
    said.value.trim().parse().map_err(|_| wrong(said, &format!("must be {what}")))
}

/// Credentials may be in a value: errors do not repeat it.
fn wrong(said: &Said, why: &str) -> Error {
    Error::invalid("XB6060", format!("{} {why}", said.by))
}

fn nothing() -> Error {
    Error::internal("XB6060", "nobody said which exporter")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decided(variables: &[(&str, &str)]) -> Result<TelemetryOptions, Error> {
        decide(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(name, value)| Said { value: (*value).to_owned(), by: (*name).to_owned() })
        })
    }

    fn refused(variables: &[(&str, &str)]) -> String {
        let error = decided(variables).unwrap_err();
        assert_eq!(error.code, "XB6060");
        error.message
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/");

    #[test]
    fn nothing_is_exported_unless_somebody_says_where() {
        for variables in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "x")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")],
        ] {
            let options = decided(variables).unwrap();
            assert!(options.spans.is_none() && options.metrics.is_none(), "{variables:?}");
        }
        let local = decided(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap();
        assert_eq!(local.spans.unwrap().to.url.as_str(), "http://localhost:4318/v1/traces");
        assert!(local.metrics.is_none());
    }

    #[test]
    fn signals_have_paths_of_their_own() {
        let both = decided(&[ENDPOINT]).unwrap();
        let (spans, metrics) = (both.spans.unwrap(), both.metrics.unwrap());
        assert_eq!(spans.to.url.as_str(), "http://collector:4318/base/v1/traces");
        assert_eq!(metrics.to.url.as_str(), "http://collector:4318/base/v1/metrics");
        assert_eq!((spans.to.timeout, metrics.every), (Duration::from_secs(10), Duration::from_secs(60)));
        assert_eq!((spans.queue, spans.batch), (2048, 512));
        assert_eq!(spans.sampler, Sampler::parent_based(1.0));
        let own = decided(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://other/in"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "3000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20a%2Cb, x-a = 1"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ])
        .unwrap();
        let (spans, metrics) = (own.spans.unwrap(), own.metrics.unwrap());
        assert_eq!(spans.to.url.as_str(), "https://other/in", "used as it is");
        assert_eq!((spans.to.timeout.as_secs(), metrics.to.timeout.as_secs()), (3, 2));
        assert!(spans.to.gzip && metrics.to.gzip);
        assert_eq!(spans.to.headers["authorization"], "Bearer a,b");
        assert_eq!(spans.to.headers["x-a"], "1");
        assert!(!format!("{:?}", spans.to).contains("Bearer"), "credentials are not printed");
        assert_eq!((spans.queue, spans.batch), (10, 10));
    }

    #[test]
    fn the_service_has_a_name() {
        let resource =
            |variables: &[(&str, &str)]| decided(&[&[ENDPOINT], variables].concat()).unwrap().resource;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(resource(&[]), [pair("service.name", "xebec")]);
        let given = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,deployment.environment=p%C3%A9");
        assert_eq!(resource(&[given]), [pair("service.name", "a"), pair("deployment.environment", "pé")]);
        let named = resource(&[given, ("OTEL_SERVICE_NAME", "b")]);
        assert_eq!(named, [pair("deployment.environment", "pé"), pair("service.name", "b")]);
    }

    #[test]
    fn samplers_have_their_standard_names() {
        let of = |sampler: &str, ratio: &str| {
            let variables = [ENDPOINT, ("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", ratio)];
            decided(&variables).unwrap().spans.unwrap().sampler
        };
        assert_eq!(of("always_on", ""), Sampler::regardless(1.0));
        assert_eq!(of("always_off", ""), Sampler::regardless(0.0));
        assert_eq!(of("traceidratio", "0.25"), Sampler::regardless(0.25));
        assert_eq!(of("parentbased_always_off", ""), Sampler::parent_based(0.0));
        assert_eq!(of("parentbased_traceidratio", "0.5"), Sampler::parent_based(0.5));
        assert_eq!(of("parentbased_traceidratio", ""), Sampler::parent_based(1.0));
    }

    #[test]
    fn what_is_wrong_is_refused_by_name_and_without_its_value() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "not a url"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0a"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a"),
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "-1"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
        ] {
            let message = refused(&[ENDPOINT, (name, value)]);
            assert!(message.contains(name), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
        let ratio = [ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert!(refused(&ratio).contains("from 0 to 1"));
    }

    proptest! {
        #[test]
        fn any_text_is_judged(name in 0..8usize, value in ".{0,40}") {
            let names = ["HEADERS", "ENDPOINT", "TIMEOUT", "PROTOCOL", "COMPRESSION", "TRACES_ENDPOINT",
                "CERTIFICATE", "METRICS_HEADERS"];
            let _ = decided(&[ENDPOINT, (&format!("OTEL_EXPORTER_OTLP_{}", names[name]), &value),
                ("OTEL_RESOURCE_ATTRIBUTES", &value)]);
        }
    }
}
