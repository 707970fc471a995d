//! Reads `/metrics` as strictly as a scraper may: every line is what the format allows, and the numbers agree.

use std::collections::{BTreeMap, BTreeSet};

/// A time series: its name and labels.
type Series = (String, BTreeMap<String, String>);

/// Panics at the first thing that is wrong.
pub fn check(text: &str) {
    let body = text.strip_suffix("# EOF\n").expect("it ends with EOF");
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let mut values: BTreeMap<Series, f64> = BTreeMap::new();
    let mut family = String::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let what = words.next().unwrap();
            let name = words.next().expect(line);
            let rest = words.next().expect(line);
            match what {
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                    let before = types.insert(name.to_owned(), rest.to_owned());
                    assert_eq!(before, None, "a family is described once: {line}");
                }
                "HELP" => assert!(!rest.is_empty(), "{line}"),
                "UNIT" => assert!(name.ends_with(rest), "{line}"),
                other => panic!("{other:?} is no description: {line}"),
            }
            name.clone_into(&mut family);
            continue;
        }
        let (series, value) = sample(line);
        assert!(
            series.0.starts_with(&family),
            "outside of its family: {line}"
        );
        assert!(series.0.starts_with("berth_"), "{line}");
        let suffix = &series.0[family.len()..];
        let allowed: &[&str] = match types[&family].as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            _ => &["_bucket", "_sum", "_count"],
        };
        assert!(allowed.contains(&suffix), "{line}");
        assert!(value >= 0.0, "{line}");
        assert_eq!(values.insert(series, value), None, "twice: {line}");
    }
    assert!(!values.is_empty());
    for (name, kind) in &types {
        if kind == "histogram" {
            histogram(name, &values);
        }
    }
}

/// How many different values the label has over all series.
pub fn cardinality(text: &str, label: &str) -> usize {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let values = samples.filter_map(|line| sample(line).0.1.remove(label));
    values.collect::<BTreeSet<_>>().len()
}

fn sample(line: &str) -> (Series, f64) {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let value = value.parse().expect(line);
    let Some((name, labels)) = series.split_once('{') else {
        return ((series.to_owned(), BTreeMap::new()), value);
    };
    assert!(
        name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
        "{line}"
    );
    let mut rest = labels.strip_suffix('}').expect(line);
    let mut found = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").expect(line);
        // No value of ours holds a quote or an escape.
        let (text, after) = after.split_once('"').expect(line);
        assert!(!text.contains('\\'), "{line}");
        let before = found.insert(label.to_owned(), text.to_owned());
        assert_eq!(before, None, "{line}");
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    ((name.to_owned(), found), value)
}

/// Buckets rise, and the last holds all that was counted.
fn histogram(name: &str, values: &BTreeMap<Series, f64>) {
    let bucket = format!("{name}_bucket");
    let mut buckets: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for ((_, labels), value) in values.iter().filter(|((name, _), _)| *name == bucket) {
        let mut labels = labels.clone();
        let bound = labels.remove("le").expect("a bucket has a bound");
        let bound = bound.replace("+Inf", "inf").parse().unwrap();
        buckets.entry(labels).or_default().push((bound, *value));
    }
    for (labels, mut rising) in buckets {
        rising.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(
            rising.is_sorted_by(|one, other| one.1 <= other.1),
            "{rising:?}"
        );
        let count = values[&(format!("{name}_count"), labels)];
        assert_eq!(rising.last(), Some(&(f64::INFINITY, count)), "{name}");
    }
}

#[test]
#[should_panic(expected = "twice")]
fn a_series_that_stands_there_twice_is_found() {
    let line = "berth_x{a=\"b\"} 1\n";
    check(&format!(
        "# HELP berth_x X.\n# TYPE berth_x gauge\n{line}{line}# EOF\n"
    ));
}
