//! A page of metrics, taken apart.

use std::collections::{BTreeMap, BTreeSet};

/// Everything on a page in Prometheus' text format, by family.
pub struct Page {
    pub families: BTreeMap<String, Family>,
}

/// A family: what the page says of it, and its samples.
#[derive(Debug, Default)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

/// One line of a family.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The family's name; with `_bucket`, `_sum` or `_count` for a histogram.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Page {
    pub fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                current = name.into();
                families.entry(current.clone()).or_default().help = help.into();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current, "the type stands behind the help");
                families.get_mut(name).unwrap().kind = kind.into();
            } else {
                let sample = sample(line);
                assert!(sample.name.starts_with(&current), "{line} stands below {current}");
                families.get_mut(&current).unwrap().samples.push(sample);
            }
        }
        Self { families }
    }

    /// The family that samples of that name belong to, with its name.
    pub fn family_of(&self, sample: &str) -> Option<(&str, &Family)> {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let (name, family) = self.families.get_key_value(sample.strip_suffix(end)?)?;
            (family.kind == "histogram").then_some((name, family))
        });
        let plain = || {
            let (name, family) = self.families.get_key_value(sample)?;
            (family.kind != "histogram").then_some((name, family))
        };
        histogram.or_else(plain).map(|(name, family)| (name.as_str(), family))
    }
}

impl Page {
    /// The sum of the samples of that name that have these labels.
    pub fn sum(&self, sample: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, family) = self.family_of(sample).unwrap_or_else(|| panic!("no {sample}"));
        let has = |one: &&Sample| {
            one.name == sample && labels.iter().all(|(name, value)| one.labels[*name] == *value)
        };
        family.samples.iter().filter(has).map(|one| one.value).sum()
    }
}

impl Family {
    /// Names of labels; without the `le` of buckets.
    pub fn labels(&self) -> BTreeSet<&str> {
        let names = self.samples.iter().flat_map(|sample| sample.labels.keys());
        names.map(String::as_str).filter(|&name| name != "le").collect()
    }

    /// The values that a label has.
    pub fn values(&self, label: &str) -> BTreeSet<&str> {
        let values = self.samples.iter().filter_map(|sample| sample.labels.get(label));
        values.map(String::as_str).collect()
    }

    /// The bounds of the buckets, without the last, in their order.
    pub fn bounds(&self) -> Vec<f64> {
        let mut bounds: Vec<f64> =
            self.values("le").iter().map(|bound| bound.parse().unwrap()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.retain(|bound| bound.is_finite());
        bounds
    }
}

/// `name{label="value",…} number`.
fn sample(line: &str) -> Sample {
    let (what, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
    let (name, mut rest) = what.split_once('{').unwrap_or((what, "}"));
    let mut labels = BTreeMap::new();
    while rest != "}" {
        let (label, behind) = rest.trim_start_matches(',').split_once("=\"").unwrap();
        let (text, behind) = quoted(behind);
        labels.insert(label.into(), text);
        rest = behind;
    }
    Sample { name: name.into(), labels, value }
}

/// What stands before the next quote, its escapes undone, and what stands behind.
fn quoted(text: &str) -> (String, &str) {
    let mut plain = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (plain, &text[at + 1..]),
            '\\' => match letters.next() {
                Some((_, 'n')) => plain.push('\n'),
                Some((_, other)) => plain.push(other),
                None => break,
            },
            other => plain.push(other),
        }
    }
    panic!("no end of the quote: {text}");
}
