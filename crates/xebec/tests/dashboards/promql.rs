//! What a query in PromQL asks for, held against what a server exposes.
#![allow(unreachable_pub, reason = "a module of one test")]

use promql_parser::{
    label::Matchers,
    parser::{self, Call, Expr, LabelModifier},
};
use std::collections::{BTreeMap, BTreeSet};

/// Labels that a Prometheus adds when it scrapes.
const SCRAPED: [&str; 2] = ["instance", "job"];

/// What a server exposes: the kind of each family, and the labels of each series' name.
#[derive(Default)]
pub struct Exposed {
    kinds: BTreeMap<String, String>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Exposed {
    /// Reads Prometheus' text format.
    pub fn read(text: &str) -> Self {
        let mut exposed = Self::default();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                exposed.kinds.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') && !line.is_empty() {
                // A sample is a selector and a number: what reads queries reads it.
                let (series, value) = line.rsplit_once(' ').unwrap();
                value.parse::<f64>().unwrap_or_else(|error| panic!("{line}: {error}"));
                let parsed = parser::parse(series).unwrap_or_else(|error| panic!("{line}: {error}"));
                let Expr::VectorSelector(selector) = parsed else { panic!("{line} is no sample") };
                let labels = exposed.labels.entry(selector.name.unwrap()).or_default();
                labels.extend(selector.matchers.matchers.into_iter().map(|matcher| matcher.name));
            }
        }
        exposed
    }

    /// What is wrong with a query; the labels of its results.
    pub fn check(&self, query: &str) -> Result<BTreeSet<String>, String> {
        self.labels_of(&parser::parse(query)?)
    }

    /// Whether there are series of that name with that label.
    pub fn has(&self, name: &str, label: &str) -> Result<(), String> {
        let labels = self.labels.get(name).ok_or_else(|| format!("nothing is exposed as {name}"))?;
        if labels.contains(label) || SCRAPED.contains(&label) {
            return Ok(());
        }
        Err(format!("{name} has no label {label}, but {labels:?}"))
    }

    fn selected(&self, name: Option<&String>, matchers: &Matchers) -> Result<BTreeSet<String>, String> {
        let name = name.ok_or("a selector names no metric")?;
        for matcher in matchers.matchers.iter().chain(matchers.or_matchers.iter().flatten()) {
            self.has(name, &matcher.name)?;
        }
        let labels = self.labels.get(name).ok_or_else(|| format!("nothing is exposed as {name}"))?;
        Ok(labels.iter().cloned().chain(SCRAPED.map(str::to_owned)).collect())
    }

    /// The labels that the results of an expression have.
    fn labels_of(&self, expression: &Expr) -> Result<BTreeSet<String>, String> {
        match expression {
            Expr::VectorSelector(selector) => self.selected(selector.name.as_ref(), &selector.matchers),
            Expr::MatrixSelector(selector) => self.selected(selector.vs.name.as_ref(), &selector.vs.matchers),
            Expr::Aggregate(aggregate) => {
                let inner = self.labels_of(&aggregate.expr)?;
                // Those that pick series keep them as they are.
                let keeps = ["topk", "bottomk"].contains(&aggregate.op.to_string().as_str());
                match &aggregate.modifier {
                    None if keeps => Ok(inner),
                    None => Ok(BTreeSet::new()),
                    Some(LabelModifier::Include(by)) => {
                        let by: BTreeSet<String> = by.labels.iter().cloned().collect();
                        match by.difference(&inner).next() {
                            Some(missing) => Err(format!("by {missing}, of what has only {inner:?}")),
                            None => Ok(by),
                        }
                    }
                    Some(LabelModifier::Exclude(without)) => {
                        Ok(inner.into_iter().filter(|label| !without.labels.contains(label)).collect())
                    }
                }
            }
            Expr::Call(call) => self.called(call),
            Expr::Binary(binary) => {
                let (left, right) = (self.labels_of(&binary.lhs)?, self.labels_of(&binary.rhs)?);
                let number = |side: &Expr| matches!(side, Expr::NumberLiteral(_));
                let on = binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
                match on {
                    Some(LabelModifier::Include(on)) => {
                        let lacks =
                            on.labels.iter().find(|label| !left.contains(*label) || !right.contains(*label));
                        lacks.map_or_else(
                            || Ok(left.clone()),
                            |label| Err(format!("on {label}, which a side lacks")),
                        )
                    }
                    // Nothing would match.
                    None if !number(&binary.lhs) && !number(&binary.rhs) && left != right => {
                        Err(format!("{left:?} never match {right:?}"))
                    }
                    _ => Ok(if number(&binary.lhs) { right } else { left }),
                }
            }
            Expr::Paren(inner) => self.labels_of(&inner.expr),
            Expr::Unary(inner) => self.labels_of(&inner.expr),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(BTreeSet::new()),
            other => Err(format!("this test does not know {other:?}")),
        }
    }

    fn called(&self, call: &Call) -> Result<BTreeSet<String>, String> {
        let mut labels = BTreeSet::new();
        for argument in &call.args.args {
            labels.extend(self.labels_of(argument)?);
        }
        match call.func.name {
            "rate" | "increase" => {
                let Expr::MatrixSelector(selector) = &*call.args.args[0] else {
                    return Err(format!("{} of what is no selector", call.func.name));
                };
                self.must_count(selector.vs.name.as_deref().unwrap_or_default())?;
            }
            "histogram_quantile" => {
                if !labels.remove("le") {
                    return Err("a quantile needs the label le".to_owned());
                }
                let text = call.args.args[1].to_string();
                if !text.contains("_bucket") {
                    return Err(format!("{text} has no buckets"));
                }
            }
            _ => {}
        }
        Ok(labels)
    }

    /// Rates are of what only grows.
    fn must_count(&self, name: &str) -> Result<(), String> {
        let parts = ["_bucket", "_sum", "_count"];
        let family = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        match (self.kinds.get(name).map(String::as_str), self.kinds.get(family).map(String::as_str)) {
            (Some("counter"), _) | (None, Some("histogram")) => Ok(()),
            (kind, _) => Err(format!("{name} is no counter, but {kind:?}")),
        }
    }
}
