//! Reads what `/metrics` shows: Prometheus' text format. It is the one source of all metrics, so that nothing is
//! counted twice.

use std::collections::HashMap;

/// What a family of series is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    #[default]
    Gauge,
    Histogram,
}

/// Names and values.
pub(crate) type Labels = Vec<(String, String)>;

/// Series of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) kind: Kind,
    /// Of counters and gauges.
    pub(crate) values: Vec<(Labels, f64)>,
    /// Of histograms.
    pub(crate) distributions: Vec<(Labels, Distribution)>,
}

/// One series of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Distribution {
    /// Upper edges and how many were at or below them; the last edge is infinite.
    pub(crate) buckets: Vec<(f64, u64)>,
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

/// The families in `text`. Lines that cannot be read are passed over.
pub(crate) fn read(text: &str) -> Vec<Family> {
    let mut reader = Reader::default();
    for line in text.lines() {
        // What is wrong with one line says nothing about the next.
        let _ = reader.line(line.trim());
    }
    reader.families
}

#[derive(Default)]
struct Reader {
    families: Vec<Family>,
    by_name: HashMap<String, usize>,
    current: usize,
}

impl Reader {
    fn line(&mut self, line: &str) -> Option<()> {
        if let Some(comment) = line.strip_prefix('#') {
            let (what, rest) = comment.trim_start().split_once(' ')?;
            let (name, rest) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
            match what {
                "HELP" => rest.trim().clone_into(&mut self.family(name).help),
                "TYPE" => {
                    self.family(name).kind = match rest.trim() {
                        "counter" => Kind::Counter,
                        "histogram" => Kind::Histogram,
                        _ => Kind::Gauge,
                    };
                }
                _ => {}
            }
            return Some(());
        }
        let (name, rest) = line.split_at(line.find(['{', ' '])?);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        // A timestamp may follow.
        let value: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
        self.sample(name, labels, value)
    }

    fn family(&mut self, name: &str) -> &mut Family {
        self.current = match self.by_name.get(name) {
            Some(known) => *known,
            None => {
                let place = self.families.len();
                self.families.push(Family { name: name.to_owned(), ..Family::default() });
                self.by_name.insert(name.to_owned(), place);
                place
            }
        };
        &mut self.families[self.current]
    }

    fn sample(&mut self, name: &str, mut labels: Labels, value: f64) -> Option<()> {
        let part = self.families.get(self.current).and_then(|family| {
            (family.kind == Kind::Histogram).then(|| name.strip_prefix(&*family.name)).flatten()
        });
        let Some(part @ ("_bucket" | "_sum" | "_count")) = part else {
            self.family(name).values.push((labels, value));
            return Some(());
        };
        let edge = match part {
            "_bucket" => {
                let at = labels.iter().position(|(name, _)| name == "le")?;
                Some(labels.remove(at).1.parse::<f64>().ok()?)
            }
            _ => None,
        };
        let family = &mut self.families[self.current];
        let distribution = match family.distributions.last_mut() {
            // The lines of one series follow each other.
            Some((known, distribution)) if *known == labels => distribution,
            _ => &mut family.distributions.push_mut((labels, Distribution::default())).1,
        };
        match (edge, part) {
            (Some(edge), _) => distribution.buckets.push((edge, value as u64)),
            (None, "_sum") => distribution.sum = value,
            _ => distribution.count = value as u64,
        }
        Some(())
    }
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut text: &str) -> Option<(Labels, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        text = loop {
            match characters.next()? {
                (at, '"') => break &rest[at + 1..],
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    escaped => value.push(escaped),
                },
                (_, character) => value.push(character),
            }
        };
        labels.push((name.trim().to_owned(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels_of(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn reads_values() {
        let text = "# HELP a_total What is counted.\n# TYPE a_total counter\na_total{x=\"1\\\"\\\\\\n,}\",y=\"\"} 3\n\
                    a_total 4 1700000000\n# TYPE g gauge\ng 0.5\nbare -1e3\nbroken{x=\"1} 5\nnonsense\n\n";
        let families = read(text);
        assert_eq!(families.len(), 3, "{families:?}");
        assert_eq!((&*families[0].name, &*families[0].help), ("a_total", "What is counted."));
        assert_eq!(families[0].kind, Kind::Counter);
        assert_eq!(
            families[0].values,
            [(labels_of(&[("x", "1\"\\\n,}"), ("y", "")]), 3.0), (Vec::new(), 4.0)]
        );
        assert_eq!((families[1].kind, families[1].values[0].1), (Kind::Gauge, 0.5));
        assert_eq!((&*families[2].name, families[2].values[0].1), ("bare", -1000.0));
    }

    #[test]
    fn reads_histograms() {
        let text = "# TYPE h histogram\nh_bucket{f=\"a\",le=\"0.1\"} 2\nh_bucket{f=\"a\",le=\"+Inf\"} 3\n\
                    h_sum{f=\"a\"} 1.5\nh_count{f=\"a\"} 3\nh_bucket{f=\"b\",le=\"+Inf\"} 1\nh_sum{f=\"b\"} 9\n\
                    h_count{f=\"b\"} 1\nh_other 5\n";
        let families = read(text);
        let expected = Distribution { buckets: vec![(0.1, 2), (f64::INFINITY, 3)], sum: 1.5, count: 3 };
        assert_eq!(families[0].distributions[0], (labels_of(&[("f", "a")]), expected));
        assert_eq!(families[0].distributions[1].1.count, 1);
        assert_eq!((&*families[1].name, families[1].values[0].1), ("h_other", 5.0));
    }

    #[test]
    fn one_name_is_one_family() {
        let families =
            read("# TYPE a counter\na{x=\"1\"} 1\n# TYPE b gauge\nb 2\n# TYPE a counter\na{x=\"2\"} 3\n");
        assert_eq!((families.len(), families[0].values.len()), (2, 2));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "([a-z_{}=\"\\\\ #,0-9]|\n|TYPE |HELP |histogram|_bucket|le=\"){0,60}") {
            let _ = read(&text);
        }
    }
}
