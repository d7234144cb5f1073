//! The names that OpenTelemetry's conventions have for what Xebec measures.

use crate::exposition::{Family, Kind, Labels};

/// Families under their conventional names: of HTTP servers in place of our own, of FaaS beside them.
pub(crate) fn apply(families: &mut Vec<Family>) {
    let faas: Vec<Family> = families.iter().flat_map(of_faas).collect();
    for family in families.iter_mut() {
        if family.name == "http_server_request_duration_seconds" {
            "http.server.request.duration".clone_into(&mut family.name);
            family.distributions.iter_mut().for_each(|(labels, _)| rename_http(labels));
        }
    }
    families.extend(faas);
}

fn rename_http(labels: &mut Labels) {
    for (name, _) in labels {
        let conventional = match name.as_str() {
            "http_request_method" => "http.request.method",
            "http_route" => "http.route",
            "http_response_status_code" => "http.response.status_code",
            "url_scheme" => "url.scheme",
            "error_type" => "error.type",
            _ => continue,
        };
        conventional.clone_into(name);
    }
}

fn of_faas(family: &Family) -> Vec<Family> {
    match family.name.as_str() {
        "xebec_invocation_duration_seconds" => vec![durations("faas.invoke_duration", family)],
        "xebec_cold_start_seconds" => {
            let started = family.distributions.iter().map(|(labels, of)| (rename(labels), of.count as f64));
            let cold = counter("faas.coldstarts", "Instances that were started.", started.collect());
            vec![durations("faas.init_duration", family), cold]
        }
        "xebec_invocations_total" => vec![
            of_outcomes("faas.invocations", "Calls that succeeded.", family, |outcome| outcome == "success"),
            of_outcomes("faas.errors", "Calls that did not succeed.", family, |outcome| outcome != "success"),
            of_outcomes("faas.timeouts", "Calls that took too long.", family, |outcome| outcome == "timeout"),
        ],
        _ => Vec::new(),
    }
}

fn durations(name: &str, family: &Family) -> Family {
    let distributions = family.distributions.iter().map(|(labels, of)| (rename(labels), of.clone()));
    Family {
        name: name.to_owned(),
        distributions: distributions.collect(),
        values: Vec::new(),
        ..family.clone()
    }
}

fn counter(name: &str, help: &str, values: Vec<(Labels, f64)>) -> Family {
    Family { name: name.to_owned(), help: help.to_owned(), kind: Kind::Counter, values, ..Family::default() }
}

/// Sums over the outcomes that are `wanted`.
fn of_outcomes(name: &str, help: &str, family: &Family, wanted: fn(&str) -> bool) -> Family {
    let mut sums: Vec<(Labels, f64)> = Vec::new();
    for (labels, value) in &family.values {
        let of =
            |wanted: &str| labels.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let is_function = of("function").is_some_and(|function| !function.is_empty());
        if !is_function || !of("outcome").is_some_and(wanted) {
            continue;
        }
        let labels = rename(labels);
        match sums.last_mut() {
            // Those of one function follow each other.
            Some((known, sum)) if *known == labels => *sum += value,
            _ => sums.push((labels, *value)),
        }
    }
    counter(name, help, sums)
}

/// A function's labels under their conventional names, without the outcome.
fn rename(labels: &Labels) -> Labels {
    let labels = labels.iter().filter(|(name, _)| name != "outcome");
    labels
        .map(|(name, value)| {
            let name = match name.as_str() {
                "function" => "faas.name",
                "tenant" => "xebec.tenant",
                "door" => "xebec.door",
                other => other,
            };
            (name.to_owned(), value.clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition;

    fn applied(text: &str) -> Vec<Family> {
        let mut families = exposition::read(text);
        apply(&mut families);
        families
    }

    fn named<'f>(families: &'f [Family], name: &str) -> &'f Family {
        families
            .iter()
            .find(|family| family.name == name)
            .unwrap_or_else(|| panic!("no {name}: {families:?}"))
    }

    #[test]
    fn http_is_renamed() {
        let families = applied(
            "# TYPE http_server_request_duration_seconds histogram\n\
             http_server_request_duration_seconds_bucket{http_route=\"/a\",error_type=\"\",le=\"+Inf\"} 1\n",
        );
        assert_eq!(families.len(), 1);
        let labels = &named(&families, "http.server.request.duration").distributions[0].0;
        assert_eq!(labels[0], ("http.route".to_owned(), "/a".to_owned()));
    }

    #[test]
    fn outcomes_are_added_up() {
        let series = |function: &str, outcome: &str, count: u32| {
            format!(
                "xebec_invocations_total{{tenant=\"t\",door=\"d\",function=\"{function}\",outcome=\"{outcome}\"}} {count}\n"
            )
        };
        let text = [
            "# TYPE xebec_invocations_total counter\n".to_owned(),
            series("f", "success", 5),
            series("f", "crash", 2),
            series("f", "timeout", 3),
            series("g", "crash", 7),
            series("", "not_found", 11),
        ];
        let families = applied(&text.concat());
        let values =
            |name: &str| named(&families, name).values.iter().map(|(_, value)| *value).collect::<Vec<_>>();
        assert_eq!(values("faas.invocations"), [5.0]);
        assert_eq!(values("faas.errors"), [5.0, 7.0]);
        assert_eq!(values("faas.timeouts"), [3.0]);
        let labels = &named(&families, "faas.errors").values[0].0;
        assert_eq!(labels[2], ("faas.name".to_owned(), "f".to_owned()));
        assert_eq!(labels.len(), 3);
        assert_eq!(named(&families, "xebec_invocations_total").values.len(), 5, "our own stay");
    }
}
